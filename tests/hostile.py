"""Texts that something might take for code, and where a kind takes text."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from panel.catalog import Action, Parameter
from panel.settings import ROOT

#: A file of this name anywhere means: a text was run.
CANARY = "wo-canary-7d1e"
TEXTS = [one.replace("CANARY", f"/tmp/{CANARY}") for one in (
    "{{ lookup('pipe','touch CANARY') }}",
    "lookup('pipe','touch CANARY')",
    "{% set x = lookup('pipe','touch CANARY') %}",
    "$(touch CANARY)",
    "`touch CANARY`",
    '"; touch CANARY; "',
    "'; touch CANARY; '",
    "a\ntouch CANARY\nb",
    "; } location /x { alias /etc/; }",
    "../../..CANARY",
    "--upload-pack=touch CANARY",
    "ext::sh -c touch% CANARY",
    "file://CANARY",
)]


def takes_text(action: Action) -> list[Parameter]:
    """The parameters of an action into which a person can write text."""
    return [one for one in action.parameters if one.type in ("str", "path") or one.elements in ("str", "dict")]


def filled(parameter: Parameter, text: str, number: int = 0) -> Any:
    """A value for the parameter that is this text, wherever text is possible in it."""
    if parameter.suboptions:
        return [{column.key: filled(column, text) for column in parameter.suboptions if takes(column)}]
    return [text] if parameter.type == "list" else text


def takes(column: Parameter) -> bool:
    return column.type == "str" or column.elements == "str"


def named(parameter: Parameter, texts: list[str]) -> list[dict[str, str]]:
    """Items of a {name, value} list with good names and these values."""
    return [{"name": f"X-{place}" if "headers" in parameter.name else f"V{place}", "value": text}
            for place, text in enumerate(texts)]


def is_pairs(parameter: Parameter) -> bool:
    return {one.key for one in parameter.suboptions} == {"name", "value"}


def form_fields(parameter: Parameter, value: Any) -> dict[str, str]:
    """The same value as the fields of a form."""
    if parameter.suboptions:
        return {f"{parameter.name}-{row}-{key}": "\n".join(cell) if isinstance(cell, list) else str(cell)
                for row, item in enumerate(value) for key, cell in item.items()}
    return {parameter.name: "\n".join(value) if isinstance(value, list) else str(value)}


def words(parameter: Parameter, value: Any, place: Path) -> Iterator[str]:
    """The same value as words of a command line; secrets go through files in `place`."""
    flag = parameter.key.replace("_", "-")
    if parameter.secret:
        items = [(f".{_before(one['name'])}", one["value"]) for one in value] if parameter.suboptions else [("", value)]
        for number, (suffix, text) in enumerate(items):
            file = place / f"{parameter.name}-{number}"
            file.write_text(text)
            yield f"--secret-file={parameter.key}{suffix}={file}"
        return
    for one in value if isinstance(value, list) else [value]:
        if is_pairs(parameter):
            yield f"--{flag}={_before(one['name'])}={one['value']}"
        else:
            yield f"--{flag}={json.dumps(one) if parameter.suboptions else one}"


def _before(name: str) -> str:
    """A name in front of the '=' that ends it."""
    return name.replace("=", ":")


def canaries(*folders: Path) -> list[str]:
    """Files that a text made on this machine."""
    found = [str(path) for path in (Path("/tmp"), Path("/"), Path("/dev/shm"), Path.home(), ROOT)
             for path in path.glob(f"*{CANARY}*")]
    for folder in (*folders, *(ROOT / name for name in ("roles", "playbooks", "plugins", "panel", "cli", "examples"))):
        found += [str(path) for path in folder.rglob(f"*{CANARY}*")]
    return found


def canaries_in(pid: int) -> list[str]:
    """Files that a text made on the sandbox server whose first process this is."""
    root = f"/proc/{pid}/root"
    done = subprocess.run(["find", root, "-xdev", "-name", f"*{CANARY}*"], capture_output=True, text=True, check=False)
    assert os.path.isdir(f"{root}/etc")
    return done.stdout.split()
