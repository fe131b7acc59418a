"""Check a document against the schema: clean values, or a problem with path, line and reason each."""

from __future__ import annotations

import difflib
import importlib.util
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from .document import Node
from .schema import SCHEMA
from .shown import SHELL, flow

TRUE, FALSE = {"true", "yes", "on"}, {"false", "no", "off"}
MOST_PROBLEMS = 20


def _formats() -> ModuleType:
    name = "webops_contract_formats"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).resolve().parents[1] / "test" / "formats.py")
        assert spec and spec.loader
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


formats = _formats()


@dataclass(frozen=True)
class Problem:
    """Why something in a file is refused: its path in the file, the reason with what to write instead."""

    path: str
    reason: str
    file: str = "webops.yml"
    line: int = 0

    def __str__(self) -> str:
        place = f"{self.file}, line {self.line}" if self.line else self.file
        return f"{place}: {self.path}: {self.reason}" if self.path else f"{place}: {self.reason}"


class Check:
    """One pass over a document."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []

    def document(self, root: Node) -> dict[str, Any]:
        """The values that are given, by the schema's types. What is refused is in `problems`."""
        if not isinstance(root.value, dict):
            self._refuse(root, "", "The file must begin with keys, such as 'processes:'.")
            return {}
        values = self._object(root, SCHEMA, "")
        self._refuse_other_kinds(root.value, values)
        return values

    def _refuse(self, node: Node, path: str, reason: str) -> None:
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(Problem(path, reason, self.file, node.line))

    def _value(self, node: Node, schema: dict[str, Any], path: str) -> Any:
        if schema.get("format") == "command":
            return self._command(node, schema, path)
        return getattr(self, f"_{schema['type']}")(node, schema, path)

    def _object(self, node: Node, schema: dict[str, Any], path: str) -> dict[str, Any]:
        if not isinstance(node.value, dict):
            self._refuse(node, path, f"Write keys with values here{_such_as(schema)}.")
            return {}
        known, free = schema.get("properties", {}), schema.get("additionalProperties")
        if len(node.value) > schema.get("maxProperties", 200):
            self._refuse(node, path, f"At most {schema.get('maxProperties', 200)} are possible.")
            return {}
        found = {}
        for key, inner in node.value.items():
            part, here = known.get(key, free), f"{path}.{_seen(key)}" if path else _seen(key)
            if part is None:
                self._refuse(inner, here, _unknown(key, known))
            elif not self._bad_name(inner, schema, key, here) and not inner.is_nothing():
                found[key] = self._value(inner, part, here)
        for key in schema.get("required", []):
            if key not in node.value or node.value[key].is_nothing():
                self._refuse(node, path, f"'{key}' is missing{_such_as(known[key], key)}.")
        return found

    def _bad_name(self, node: Node, schema: dict[str, Any], key: str, path: str) -> bool:
        wanted = schema.get("propertyNames", {}).get("format")
        bad = formats.problem(wanted, key) if wanted else None
        if bad:
            self._refuse(node, path, bad.message)
        return bool(bad)

    def _array(self, node: Node, schema: dict[str, Any], path: str) -> list[Any]:
        items = node.value
        if isinstance(items, str) and node.value and schema["items"].get("type") != "object":
            items = [node]  # one value where several are possible: what is meant is clear
        if not isinstance(items, list):
            self._refuse(node, path, f"Write a list here{_such_as(schema)}.")
            return []
        if not schema.get("minItems", 0) <= len(items) <= schema["maxItems"]:
            self._refuse(node, path, f"Write {schema.get('minItems', 0)} to {schema['maxItems']} of them.")
            return []
        found = [self._value(item, schema["items"], f"{path}[{place}]") for place, item in enumerate(items, 1)]
        self._refuse_twice(node, found, path)
        return found

    def _refuse_twice(self, node: Node, found: list[Any], path: str) -> None:
        names = [item.get("name") for item in found if isinstance(item, dict) and item.get("name")]
        for name in sorted({name for name in names if names.count(name) > 1}):
            self._refuse(node, path, f"The name '{name}' is there twice. Give each its own.")

    def _string(self, node: Node, schema: dict[str, Any], path: str) -> str:
        if not isinstance(node.value, str):
            self._refuse(node, path, f"Write text here{_such_as(schema)}.")
            return ""
        if "enum" in schema and node.value not in schema["enum"]:
            self._refuse(node, path, _unknown_choice(node.value, schema["enum"]))
        elif "format" in schema and (bad := formats.problem(schema["format"], node.value)):
            self._refuse(node, path, bad.message)
        elif len(node.value) > schema.get("maxLength", 2000) or formats.line(node.value):
            self._refuse(node, path, f"Write one line of at most {schema.get('maxLength', 2000)} characters.")
        return node.value

    def _integer(self, node: Node, schema: dict[str, Any], path: str) -> int:
        low, high = schema["minimum"], schema["maximum"]
        if isinstance(node.value, str) and re.fullmatch(r"[0-9]{1,9}", node.value) and low <= int(node.value) <= high:
            return int(node.value)
        self._refuse(node, path, f"Write a whole number from {low} to {high}{_such_as(schema)}.")
        return low

    def _boolean(self, node: Node, schema: dict[str, Any], path: str) -> bool:
        word = node.value.lower() if isinstance(node.value, str) else ""
        if word not in TRUE | FALSE:
            self._refuse(node, path, "Write true or false.")
        return word in TRUE

    def _command(self, node: Node, schema: dict[str, Any], path: str) -> list[str]:
        """Words as they are, or one line that the shell reads; as the app's own user, like a line of a Procfile."""
        if isinstance(node.value, list):
            words = [
                self._string(item, schema["items"], f"{path}[{place}]") for place, item in enumerate(node.value, 1)
            ]
            if words and words[0] and len(words) <= schema["maxItems"]:
                return words
        elif isinstance(node.value, str) and node.value.strip():
            reason = command_line(node.value)
            if not reason:
                return [*SHELL, node.value.strip()]
            self._refuse(node, path, reason)
            return []
        self._refuse(node, path, f"Write a command: one line, or a list of words{_such_as(schema)}.")
        return []

    def _refuse_other_kinds(self, given: dict[str, Node], values: dict[str, Any]) -> None:
        kind = values.get("kind")
        for key in values if kind in SCHEMA["properties"]["kind"]["enum"] else ():
            kinds = SCHEMA["properties"][key].get("kinds", [kind])
            if kind not in kinds:
                self._refuse(
                    given[key], key, f"This is for {' and '.join(kinds)}, and 'kind' says {kind}. Take one of them out."
                )


def command_line(text: str) -> str:
    """Why a text is no command on one line, or nothing."""
    text = text.strip()
    if "\n" in text:
        return "A command is one line. Write several as a list, or put them into a script of the repository."
    if len(text) > COMMAND_LENGTH:
        return f"A command has at most {COMMAND_LENGTH} characters. Put it into a script of the repository."
    return "Remove the invisible characters from this command." if formats.line(text.replace("\t", " ")) else ""


COMMAND_LENGTH = 2000


def did_you_mean(word: str, possible: Iterable[str]) -> str:
    close = difflib.get_close_matches(word.lower().replace("-", "_"), list(possible), n=1, cutoff=0.6)
    return f" Did you mean '{close[0]}'?" if close else ""


def _unknown(key: str, known: dict[str, Any]) -> str:
    """No such key: the one that was meant, or all there are."""
    word = key.lower().replace("-", "_")
    meant = next((name for name, part in known.items() if word == name or word in part.get("also", [])), None)
    hint = f" Did you mean '{meant}'?" if meant else did_you_mean(key, known)
    return f"There is no '{_seen(key)}' here." + (hint or f" Possible: {', '.join(known)}.")


def _unknown_choice(value: str, possible: list[str]) -> str:
    return f"'{_seen(value)}' is not possible." + (did_you_mean(value, possible) or f" Write {' or '.join(possible)}.")


def _seen(word: str) -> str:
    """A word of the file, fit for a message."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in word[:60])


def _such_as(schema: dict[str, Any], key: str = "") -> str:
    examples = schema.get("examples")
    return f", such as {key + ': ' if key else ''}{flow(examples[0])}" if examples else ""
