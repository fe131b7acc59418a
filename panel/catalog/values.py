"""Cleans what a person gave for an action, or says per parameter why it is refused. Nothing is started here."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from panel.catalog import formats
from panel.catalog.kinds import Action, Include, Kind, Parameter

_MAX_TEXT = 32 * 1024
_MAX_ITEMS = 500
_TYPE_WORDS = {"int": "a whole number", "float": "a number", "bool": "yes or no", "list": "a list",
               "dict": "a mapping", "str": "text", "path": "text"}


class Problem(NamedTuple):
    """Why a parameter is refused: `parameter` by its short name (with [place].column inside lists)."""

    parameter: str
    code: str
    message: str


class Refused(ValueError):
    """Values that cannot be used; `problems` says why, each with what is allowed."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__(" · ".join(f"{one.parameter}: {one.message}" for one in problems))
        self.problems = problems


@dataclass(frozen=True)
class Cleaned:
    """By full parameter name, only what was given. A secret that was left empty is absent: keep the old one.

    A secret that was given as [] is to be taken away: it is here as "" or [], as its type is.
    """

    values: dict[str, Any]
    secrets: dict[str, Any] = field(default_factory=dict, repr=False)


def clean(kind: Kind, action: str, given: Mapping[str, Any], *, partial: bool = False,
          known_secrets: Mapping[str, Any] | None = None) -> Cleaned:
    """Values by full name from values by full or short name.

    Empty means "not given". `partial`: required parameters may be missing. `known_secrets`: names of secrets that
    exist already and count as given. Refused: one Problem per thing that is wrong, all at once.
    """
    spec = kind.actions[action]
    problems: list[Problem] = []
    values: dict[str, Any] = {}
    secrets: dict[str, Any] = {}
    for name, value in overlay(spec, {}, given, problems).items():
        parameter = spec.parameter(name)
        assert parameter
        if value == []:  # of a secret: taken away, where "" would keep it
            cleaned: Any = [] if parameter.type == "list" else ""
        else:
            cleaned = _clean_one(parameter, value, parameter.key, problems)
        (secrets if parameter.secret else values)[name] = cleaned
    if not partial:
        there = {**(known_secrets or {}), **values, **secrets}
        problems += [Problem(one.key, "required", f"{one.label} is needed.") for one in spec.parameters
                     if one.required and there.get(one.name) in (None, "", [])
                     and one.key not in {problem.parameter for problem in problems}]
    if problems:
        raise Refused(problems)
    return Cleaned(values, secrets)


def overlay(action: Action, old: Mapping[str, Any], given: Mapping[str, Any],
            problems: list[Problem] | None = None) -> dict[str, Any]:
    """`given` laid over `old`, by full name; what is given empty goes back to the role's default.

    Unknown names are added to `problems`, or raise Refused where none is passed.
    """
    found: list[Problem] = []
    result = dict(old)
    for name, value in given.items():
        parameter = action.parameter(str(name))
        if parameter is None:
            found.append(_unknown(action, str(name)))
        elif name == parameter.name and parameter.key != name and parameter.key in given:
            found.append(Problem(parameter.key, "duplicate_parameter",
                                 f"'{parameter.key}' and '{name}' are the same parameter. Give it once."))
        elif value == [] and parameter.secret:
            result[parameter.name] = []  # a secret that is left out is kept, so this is how it, or its last item, goes
        elif value is None or value in ("", [], {}):
            result.pop(parameter.name, None)
        else:
            result[parameter.name] = value
    if found and problems is None:
        raise Refused(found)
    if problems is not None:
        problems += found
    return result


def merge_secrets(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Secrets after an edit: absent ones are kept, and so is an item of a {name, value} list whose value is None."""
    result = dict(old)
    for name, value in new.items():
        if isinstance(value, list):
            before = {item["name"]: item.get("value") for item in old.get(name) or [] if isinstance(item, dict)}
            value = [{**item, "value": before.get(item["name"]) if item.get("value") is None else item["value"]}
                     if isinstance(item, dict) and "name" in item else item for item in value]
            value = [item for item in value if not (isinstance(item, dict) and item.get("value", "") is None)]
        if value in ("", []):
            result.pop(name, None)
        else:
            result[name] = value
    return result


def part_values(parent: Kind, include: Include, values: Mapping[str, Any]) -> dict[str, Any] | None:
    """The values of a part as its parent's values make them; None: with these values there is no such part."""
    defaults = {one.name: one.default for one in parent.main.parameters}
    if not all(values.get(name, defaults.get(name)) for name in include.when):
        return None
    result: dict[str, Any] = {}
    for name, source in include.values.items():
        value = source.get("value") if isinstance(source, Mapping) else values.get(source, defaults.get(source))
        if value not in (None, "", []):
            result[name] = value
    return result


def _unknown(action: Action, name: str) -> Problem:
    close = difflib.get_close_matches(name, [one.key for one in action.parameters], n=1)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    return Problem(name, "unknown_parameter", f"There is no parameter '{name}' here.{hint}")


def _clean_one(parameter: Parameter, value: Any, path: str, problems: list[Problem]) -> Any:
    """The value in its type; what is wrong with it is added to `problems`."""
    if parameter.type == "list" and isinstance(value, str):
        value = [line.strip() for line in value.splitlines() if line.strip()]
    wrong = _wrong_shape(parameter, value, path)
    if wrong:
        problems.append(wrong)
        return value
    if parameter.suboptions and isinstance(value, list):
        return list(_clean_items(parameter, value, path, problems))
    value, wrong = _convert(parameter, value, path)
    problems += [wrong] if wrong else list(_broken(parameter, value, path))
    return value


def _clean_items(parameter: Parameter, items: list[Any], path: str, problems: list[Problem]) -> Iterator[Any]:
    seen: set[str] = set()
    for place, item in enumerate(items):
        here = f"{path}[{place}]"
        if not isinstance(item, Mapping):
            problems.append(Problem(here, "invalid_item", "Write this as a mapping of "
                                    + ", ".join(one.key for one in parameter.suboptions) + "."))
            continue
        yield _clean_item(parameter, item, here, problems)
        name = item.get("name")
        if isinstance(name, str) and name in seen:
            problems.append(Problem(f"{here}.name", "duplicate_env", f"'{name}' is there twice. Keep one."))
        seen.add(str(name))


def _clean_item(parameter: Parameter, item: Mapping[str, Any], here: str, problems: list[Problem]) -> dict[str, Any]:
    columns = {one.key: one for one in parameter.suboptions}
    problems += [Problem(f"{here}.{key}", "unknown_parameter", f"There is no '{key}' here; there are: "
                         f"{', '.join(columns)}.") for key in item if key not in columns]
    result: dict[str, Any] = {}
    for key, column in columns.items():
        value = item.get(key)
        if value is None and parameter.secret:
            result[key] = None  # "keep": the old value of this item stays
        elif value is None or (value == "" and column.required and key == "name"):
            if column.required:
                problems.append(Problem(f"{here}.{key}", "required", f"{column.label} is needed."))
        elif value != "" or column.type == "str":  # an empty text may be meant; an empty number is none
            result[key] = _clean_one(column, value, f"{here}.{key}", problems)
    return result


def _wrong_shape(parameter: Parameter, value: Any, path: str) -> Problem | None:
    """What Ansible's converter would turn into something nobody meant (True into "True", a mapping into text)."""
    kind = parameter.type
    is_text, is_bool = isinstance(value, str), isinstance(value, bool)
    fits = {"str": is_text or (isinstance(value, int | float) and not is_bool), "path": is_text,
            "int": (isinstance(value, int) and not is_bool) or is_text, "bool": is_bool or is_text,
            "float": (isinstance(value, int | float) and not is_bool) or is_text,
            "list": isinstance(value, list), "dict": isinstance(value, Mapping)}
    if not fits.get(kind, True):
        return Problem(path, "invalid_type", f"{parameter.label} must be {_TYPE_WORDS.get(kind, kind)}.")
    if isinstance(value, list) and len(value) > _MAX_ITEMS:
        return Problem(path, "too_many", f"At most {_MAX_ITEMS} entries are possible.")
    return None


def _convert(parameter: Parameter, value: Any, path: str) -> tuple[Any, Problem | None]:
    spec = {key: parameter.spec[key] for key in ("type", "elements") if key in parameter.spec}
    result = ArgumentSpecValidator({"value": spec}).validate({"value": value})
    if result.error_messages:
        words = _TYPE_WORDS.get(parameter.elements if parameter.type == "list" else parameter.type, parameter.type)
        return value, Problem(path, "invalid_type", f"{parameter.label} must be {words}.")
    value = result.validated_parameters["value"]
    wrong = [one for one in (value if isinstance(value, list) else [value])
             if parameter.choices and one not in parameter.choices]
    if wrong:
        return value, Problem(path, "invalid_choice",
                              f"{parameter.label} must be one of: {', '.join(map(str, parameter.choices))}.")
    return value, None


def _broken(parameter: Parameter, value: Any, path: str) -> Iterator[Problem]:
    """Formats and what no text may hold, item by item."""
    for place, one in enumerate(value if isinstance(value, list) else [value]):
        here = f"{path}[{place}]" if isinstance(value, list) else path
        if isinstance(one, str) and "\0" in one:
            yield Problem(here, "nul_byte", "NUL is not possible in a value.")
        elif isinstance(one, str) and any("\ud800" <= char <= "\udfff" for char in one):
            yield Problem(here, "invalid_text", "This is not valid Unicode text.")
        elif isinstance(one, str) and len(one.encode()) > _MAX_TEXT:
            yield Problem(here, "value_too_long", f"At most {_MAX_TEXT // 1024} KiB are possible.")
        elif parameter.format and (found := formats.problem(parameter.format, one)):
            yield Problem(here, found.code, found.message)
