"""Values to begin with: what a role knows to work, with its reasons and where its figures come from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Fact:
    """One figure. `source` is an address, or `computed`; where nobody knows it, there is none."""

    label: str
    value: str
    source: str = ""


@dataclass(frozen=True)
class Preset:
    """Values for the form, the API and the command line, by full parameter name."""

    name: str
    label: str
    summary: str
    why: str
    values: Mapping[str, Any]
    facts: tuple[Fact, ...] = ()


@dataclass(frozen=True)
class Presets:
    """All that a kind offers, what they are called together, and the day of which their figures are."""

    all: tuple[Preset, ...] = ()
    label: str = ""
    dated: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """Parameters that any of them decides."""
        return tuple(dict.fromkeys(name for one in self.all for name in one.values))

    def find(self, name: str) -> Preset | None:
        return next((one for one in self.all if one.name == name), None)

    def begin(self, values: Mapping[str, Any], preset: Preset) -> dict[str, Any]:
        """These values with the preset's; what another preset might have decided goes back to its default."""
        return {**{name: value for name, value in values.items() if name not in self.names}, **preset.values}


def read_presets(data: Mapping[str, Any], full_name: Callable[[str], str | None]) -> Presets:
    """The file that kind.yml names under `presets:`. ValueError: one of them cannot be offered, and why."""
    try:
        found = tuple(_preset(one, full_name) for one in data["presets"])
    except (KeyError, TypeError, AttributeError) as wrong:
        raise ValueError(f"a preset needs name, label and values ({wrong!r})") from wrong
    names = [one.name for one in found]
    if twice := {one for one in names if names.count(one) > 1}:
        raise ValueError(f"two presets are called '{min(twice)}'")
    return Presets(found, str(data.get("label", "Begin with")), str(data.get("dated", "")))


def _preset(one: Mapping[str, Any], full_name: Callable[[str], str | None]) -> Preset:
    values = {}
    for key, value in one["values"].items():
        name = full_name(key)
        if name is None:
            raise ValueError(f"the preset '{one['name']}' has a value for '{key}', which is no parameter")
        values[name] = value
    facts = tuple(Fact(str(fact["label"]), str(fact["value"]), str(fact.get("source", "")))
                  for fact in one.get("facts", []))
    return Preset(str(one["name"]), str(one["label"]), str(one.get("summary", "")), str(one.get("why", "")), values,
                  facts)
