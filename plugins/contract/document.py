"""Read the text of webops.yml or webops.json into plain nodes: no tags, no aliases, bounds on size and depth.

A scalar stays the text that the author wrote: `python: 3.10` is "3.10" and never 3.1, `no` is no boolean by chance.
What it means is decided by the schema.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

LIMIT = 64 * 1024
DEPTH = 8
NODES = 4000
# Ten times as fast as the one in Python, where libyaml is there; as safe: it is asked for events alone.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Unreadable(Exception):
    """The text is no document: why, and on which line (0: unknown)."""

    def __init__(self, reason: str, line: int = 0) -> None:
        super().__init__(reason)
        self.line = line


@dataclass(frozen=True)
class Node:
    """A part of a document: a text, a list of nodes or a map of nodes. `plain`: written without quotes."""

    value: str | list[Node] | dict[str, Node]
    line: int = 0
    plain: bool = False

    def is_nothing(self) -> bool:
        return self.plain and self.value in ("", "~", "null", "Null", "NULL")


def read(name: str, text: str) -> Node:
    """The document in a file of this name. Raises Unreadable."""
    if len(text.encode("utf-8", "surrogatepass")) > LIMIT:
        raise Unreadable(f"The file is larger than {LIMIT // 1024} KB. Keep what WebOps does not read elsewhere.")
    if "\ufffd" in text or "\0" in text:
        raise Unreadable("The file is not UTF-8 text. Save it as UTF-8.")
    text = text.removeprefix("\ufeff")
    return _json(text) if name.endswith(".json") else _Yaml(text).document()


class _Yaml:
    """A document built from YAML's events, which hold nothing that could be constructed."""

    def __init__(self, text: str) -> None:
        self.events: Iterator[Any] = iter(yaml.parse(text, Loader=LOADER))
        self.count = 0

    def document(self) -> Node:
        try:
            found = self._first()
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            reason = getattr(error, "problem", None) or getattr(error, "reason", "it cannot be read")
            raise Unreadable(f"This is not YAML: {reason}.", mark.line + 1 if mark else 0) from None
        return found

    def _first(self) -> Node:
        root: Node | None = None
        for event in self.events:
            if isinstance(event, yaml.DocumentStartEvent):
                if root is not None:
                    raise Unreadable(
                        "The file holds a second document after '---'. Leave one.", event.start_mark.line + 1
                    )
                root = self._node(next(self.events), 0)
        return root or Node({})

    def _node(self, event: Any, depth: int) -> Node:
        line = event.start_mark.line + 1
        self._refuse_power(event, line, depth)
        if isinstance(event, yaml.ScalarEvent):
            return Node(event.value, line, plain=not event.style)
        if isinstance(event, yaml.SequenceStartEvent):
            items = []
            while not isinstance(inner := next(self.events), yaml.SequenceEndEvent):
                items.append(self._node(inner, depth + 1))
            return Node(items, line)
        return Node(self._map(depth), line)

    def _map(self, depth: int) -> dict[str, Node]:
        found: dict[str, Node] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            line = event.start_mark.line + 1
            if not isinstance(event, yaml.ScalarEvent):
                raise Unreadable("A key must be a word.", line)
            self._refuse_power(event, line, depth)
            if event.value in found:
                raise Unreadable(f"'{event.value[:60]}' stands here twice. Leave one.", line)
            found[event.value] = self._node(next(self.events), depth + 1)
        return found

    def _refuse_power(self, event: Any, line: int, depth: int) -> None:
        """What YAML can do beyond data, and what would take too long."""
        self.count += 1
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise Unreadable(
                "Anchors and aliases (& and *) are not read. Write the value out, in quotes where it "
                "begins with such a sign.",
                line,
            )
        if getattr(event, "tag", None):
            raise Unreadable(
                f"Tags such as {event.tag[:40]} are not read. Write the plain value, in quotes where it "
                "begins with '!'.",
                line,
            )
        if depth > DEPTH:
            raise Unreadable(f"This is nested deeper than {DEPTH} levels.", line)
        if self.count > NODES:
            raise Unreadable(f"The file holds more than {NODES} values.", line)


def _json(text: str) -> Node:
    try:
        found = json.loads(
            text, object_pairs_hook=_pairs, parse_int=_Number, parse_float=_Number, parse_constant=_constant
        )
    except json.JSONDecodeError as error:
        raise Unreadable(f"This is not JSON: {error.msg}.", error.lineno) from None
    except RecursionError:
        raise Unreadable(f"This is nested deeper than {DEPTH} levels.") from None
    return _from_json(found, 0, [0])


class _Number(str):
    """A number as the author wrote it."""


def _constant(text: str) -> Any:
    raise Unreadable(f"{text} is no value in JSON.")


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise Unreadable(f"'{key[:60]}' stands there twice. Leave one.")
        found[key] = value
    return found


def _from_json(value: Any, depth: int, count: list[int]) -> Node:
    count[0] += 1
    if depth > DEPTH:
        raise Unreadable(f"This is nested deeper than {DEPTH} levels.")
    if count[0] > NODES:
        raise Unreadable(f"The file holds more than {NODES} values.")
    if isinstance(value, dict):
        return Node({key: _from_json(item, depth + 1, count) for key, item in value.items()})
    if isinstance(value, list):
        return Node([_from_json(item, depth + 1, count) for item in value])
    if value is None or isinstance(value, bool):
        return Node({None: "null", True: "true", False: "false"}[value], plain=True)
    return Node(str(value), plain=isinstance(value, _Number))
