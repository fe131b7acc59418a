"""An action's parameters as form fields, and a sent form as values for the catalog. No kind is known here by name."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from panel.catalog import Action, Parameter, Problem

#: What a form holds: text per parameter, or the rows of a table; no row for a secret that is to be taken away.
Entered = dict[str, str | list[dict[str, str]]]
#: Names of secrets that are stored already (panel.web.shown.secret_names).
Kept = Mapping[str, Any]

_LONG_FORMATS = ("pem", "ssh_public_key", "deploy_key")
_MOST_ROWS = 500
#: The cell of a row that says: this is the stored secret of that name.
KEPT = "kept"
#: The box that says: take the stored secret away.
GONE = "gone"


@dataclass(frozen=True)
class Option:
    value: str
    label: str
    is_default: bool = False


@dataclass(frozen=True)
class Cell:
    """One input in a row."""

    name: str
    parameter: Parameter
    value: str
    problem: str = ""


@dataclass(frozen=True)
class Row:
    number: int
    cells: list[Cell]
    kept: str = ""                  # the name of the stored secret that this row stands for
    problem: str = ""


@dataclass(frozen=True)
class Field:
    """One parameter of a form; `control` says how it is asked for: line number secret long choice switch lines rows."""

    parameter: Parameter
    control: str
    value: str = ""
    placeholder: str = ""
    options: list[Option] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    blank: Row | None = None        # the row that "Add" copies
    is_kept: bool = False
    is_gone: bool = False           # a stored secret that is to be taken away
    problem: str = ""
    public: str = ""                # of a key that is kept: its public half

    @property
    def name(self) -> str:
        return self.parameter.name

    @property
    def needs_attention(self) -> bool:
        return bool(self.problem or any(row.problem or any(cell.problem for cell in row.cells) for row in self.rows))

    @property
    def is_set(self) -> bool:
        return bool(self.value or self.rows or self.is_kept)


@dataclass(frozen=True)
class Group:
    label: str
    fields: list[Field]
    is_open: bool


def groups(action: Action, entered: Entered, kept: Kept, problems: Sequence[Problem] = (),
           public: Mapping[str, str] | None = None) -> list[Group]:
    """The fields of an action as its form shows them: groups in the order of the kind, the rest behind them, closed."""
    by_label: dict[str, list[Field]] = {}
    for parameter in action.parameters:
        one = replace(_field(parameter, entered, kept, problems), public=(public or {}).get(parameter.name, ""))
        by_label.setdefault(parameter.group, []).append(one)
    rest = by_label.pop("", [])
    found = [Group(label, fields, is_open=True) for label, fields in by_label.items()]
    if rest and not found:
        # A kind without groups: what must be said comes first, the rest may stay closed when it is long.
        first = [one for one in rest if one.parameter.required] if len(rest) > 8 else rest
        rest = [one for one in rest if one not in first]
        found = [Group("Values", first, is_open=True)] if first else []
    if rest:
        found.append(Group("More options", rest, any(one.needs_attention for one in rest)))
    return found


def _field(parameter: Parameter, entered: Entered, kept: Kept, problems: Sequence[Problem]) -> Field:
    given, control = entered.get(parameter.name, ""), _control(parameter, entered)
    own = [one for one in problems if re.match(rf"{re.escape(parameter.key)}(?:\[|\.|\Z)", one.parameter)]
    if control == "rows":
        listed = given if isinstance(given, list) else []
        rows = [_row(parameter, number, one, own) for number, one in enumerate(listed)]
        whole = " ".join(one.message for one in own if one.parameter == parameter.key)
        return Field(parameter, control, rows=rows, blank=_row(parameter, None, {}, ()), problem=whole)
    return Field(
        parameter, control, value=given if isinstance(given, str) else "", placeholder=_placeholder(parameter.default),
        options=_options(parameter, control), is_kept=parameter.name in kept, is_gone=given == [],
        problem=" ".join(dict.fromkeys(one.message for one in own)))


def _control(parameter: Parameter, entered: Entered) -> str:
    if parameter.suboptions:
        return "rows"
    if parameter.type == "bool":
        return "switch"
    if parameter.choices and parameter.type != "list":
        return "choice"
    if parameter.type == "list":
        return "lines"
    given = entered.get(parameter.name, "")
    if parameter.format in _LONG_FORMATS or parameter.type in ("dict", "raw") or "\n" in given:
        return "long"
    if parameter.secret:
        return "secret"
    return "number" if parameter.type in ("int", "float") else "line"


def _row(parameter: Parameter, number: int | None, given: Mapping[str, str], problems: Sequence[Problem]) -> Row:
    here = f"{parameter.key}[{number}]"
    place = "__" if number is None else str(number)
    cells = [Cell(f"{parameter.name}-{place}-{one.key}", one, given.get(one.key, ""),
                  " ".join(found.message for found in problems if found.parameter.startswith(f"{here}.{one.key}")))
             for one in parameter.suboptions]
    return Row(number or 0, cells, given.get(KEPT, ""),
               " ".join(one.message for one in problems if one.parameter == here))


def _placeholder(default: Any) -> str:
    if default in (None, "", [], {}) or isinstance(default, bool) or (isinstance(default, str) and "{{" in default):
        return ""
    return "\n".join(map(str, default)) if isinstance(default, list) else str(default)


def _options(parameter: Parameter, control: str) -> list[Option]:
    """A default is the empty value: what nobody decided stays with the role."""
    if control == "switch" and parameter.default is None:
        return [Option("", "As it is"), Option("yes", "Yes"), Option("no", "No")]
    if control == "switch":
        usual = bool(parameter.default)
        return [Option("" if usual else "yes", "Yes", usual), Option("no" if usual else "", "No", not usual)]
    if control != "choice":
        return []
    listed = [Option("" if one == parameter.default else str(one), _choice(one), one == parameter.default)
              for one in parameter.choices]
    return listed if parameter.default in parameter.choices else [Option("", "Not set"), *listed]


def _choice(value: Any) -> str:
    return str(value).replace("_", " ")


def from_values(action: Action, values: Mapping[str, Any], kept: Kept) -> Entered:
    """A form filled with what is stored; secrets only by name."""
    entered: Entered = {}
    for one in action.parameters:
        if one.secret and one.suboptions:
            entered[one.name] = [{"name": name, KEPT: name} for name in kept.get(one.name, [])]
        elif one.name in values and not one.secret:
            entered[one.name] = _entered(one, values[one.name])
    return entered


def _entered(parameter: Parameter, value: Any) -> str | list[dict[str, str]]:
    if parameter.suboptions and isinstance(value, list):
        return [{key: _text(cell) for key, cell in item.items()} for item in value if isinstance(item, dict)]
    if parameter.type == "bool" and parameter.default is not None and bool(value) == bool(parameter.default):
        return ""
    if parameter.choices and value == parameter.default:
        return ""
    return "\n".join(map(_text, value)) if isinstance(value, list) else _text(value)


def _text(value: Any) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def from_form(action: Action, form: Mapping[str, str]) -> Entered:
    """What was sent, as it was typed; rows that hold nothing are dropped."""
    entered: Entered = {}
    for one in action.parameters:
        if one.suboptions:
            entered[one.name] = [row for row in _rows(one, form) if any(row.values())]
        else:
            text = form.get(one.name, "").replace("\r\n", "\n")
            if one.secret and not text and form.get(f"{one.name}-{GONE}"):
                entered[one.name] = []
                continue
            entered[one.name] = text if one.secret or one.type in ("dict", "raw") else text.strip()
    return entered


def _rows(parameter: Parameter, form: Mapping[str, str]) -> list[dict[str, str]]:
    pattern = re.compile(rf"{re.escape(parameter.name)}-([0-9]{{1,6}})-[a-z_]+")
    numbers = sorted({int(found[1]) for key in form if (found := pattern.fullmatch(key))})
    keys = (KEPT, *(column.key for column in parameter.suboptions))
    return [{key: form.get(f"{parameter.name}-{number}-{key}", "").replace("\r\n", "\n") for key in keys}
            for number in numbers[:_MOST_ROWS + 1]]


def with_rows_changed(entered: Entered, what: str) -> Entered:
    """The same form after "Add" (`add:<parameter>`) or "Remove" (`remove:<parameter>:<number>`)."""
    verb, _, rest = what.partition(":")
    name, _, number = rest.partition(":")
    rows = entered.get(name)
    if not isinstance(rows, list):
        return entered
    if verb == "add":
        return {**entered, name: [*rows, {}]}
    return {**entered, name: [row for place, row in enumerate(rows) if str(place) != number]}


def given(action: Action, entered: Entered) -> dict[str, Any]:
    """Values for the catalog, by full name; an empty secret is left out or None: keep the old one. []: take it away."""
    values: dict[str, Any] = {}
    for one in action.parameters:
        value = entered.get(one.name, "")
        if isinstance(value, list):
            values[one.name] = [_item(one, row) for row in value]
        elif value or not one.secret:
            values[one.name] = value
    return values


def _item(parameter: Parameter, row: Mapping[str, str]) -> dict[str, Any]:
    cells: dict[str, Any] = {}
    for column in parameter.suboptions:
        text = row.get(column.key, "")
        if text or column.type == "str":
            cells[column.key] = text
    if row.get(KEPT) and row.get(KEPT) == cells.get("name") and not cells.get("value"):
        cells["value"] = None
    return cells
