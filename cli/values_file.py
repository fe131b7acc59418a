"""Files with values: for `ansible-playbook -e @FILE` and for `--values FILE`.

Ansible runs templates that it finds in such a file. The tag `!unsafe` on the whole mapping, with every text in
double quotes, makes all of it plain text for Ansible, and keeps "yes", "0123" and "" what they are.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from cli.exits import Exit, Stop


class _Text(yaml.SafeDumper):
    """Every text in double quotes, no anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _quoted(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"')


_Text.add_representer(str, _quoted)


class _Plain(yaml.SafeLoader):
    """Reads the tags of our own files as what they hold, and no other tag."""


def _untagged(loader: yaml.SafeLoader, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    assert isinstance(node, yaml.ScalarNode)
    return loader.construct_scalar(node)


_Plain.add_constructor("!unsafe", _untagged)


def text(values: Mapping[str, Any], title: str) -> str:
    """The file's text. Values hold text, numbers, yes/no, lists and mappings; names are parameters of a role."""
    # A carriage return or NEL in a name would end the comment and begin YAML of its own.
    comment = "".join(char if char.isprintable() else " " for char in title)
    if not values:
        return f"# {comment}\n---\n{{}}\n"
    body = yaml.dump(dict(values), Dumper=_Text, allow_unicode=False, width=10**9, sort_keys=False)
    return f"# {comment}\n--- !unsafe\n{body}"


def write(path: Path, content: str, *, private: bool) -> None:
    """Write it in one step; `private` (it holds secrets): readable by its owner alone, from its first byte."""
    half = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        half.unlink(missing_ok=True)
        mode = 0o600 if private else 0o644
        with os.fdopen(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as out:
            out.write(content)
        half.replace(path)
    except OSError as wrong:
        raise Stop(f"{path} cannot be written: {wrong.strerror}.", Exit.FAILED) from None


def read(path: Path) -> dict[str, Any]:
    """The values in a file, by full or short name. Stop: it cannot be read, or holds no mapping."""
    try:
        values = yaml.load(path.read_bytes(), Loader=_Plain)  # noqa: S506  a SafeLoader that knows one tag more
    except OSError as wrong:
        raise Stop(f"{path} cannot be read: {wrong.strerror}.", Exit.USAGE) from None
    except yaml.YAMLError as wrong:
        raise Stop(f"{path} is not YAML: {wrong}", Exit.USAGE) from None
    values = {} if values is None else _without_marks(values)
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise Stop(f"{path} must hold a mapping of parameter: value.", Exit.USAGE)
    return values


def _without_marks(value: Any) -> Any:
    """JSON's form of untrusted text, {"__ansible_unsafe": "…"}, as the text."""
    if isinstance(value, dict):
        if set(value) == {"__ansible_unsafe"}:
            return value["__ansible_unsafe"]
        return {key: _without_marks(one) for key, one in value.items()}
    return [_without_marks(one) for one in value] if isinstance(value, list) else value
