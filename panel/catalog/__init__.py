"""The catalog: kinds read from roles/ and addons/*/roles/, and the values that they accept."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

from panel.catalog.kinds import Action, BrokenRole, Include, Kind, Parameter, read_kind
from panel.catalog.presets import Preset, Presets
from panel.catalog.values import Cleaned, Problem, Refused, clean, merge_secrets, overlay, part_values
from panel.settings import ROOT, settings

__all__ = ["Action", "BrokenRole", "Catalog", "Cleaned", "Include", "Kind", "NoSuchKind", "Parameter", "Preset",
           "Presets", "Problem", "Refused", "catalog", "clean", "merge_secrets", "overlay", "part_values"]


class NoSuchKind(LookupError):
    """Nobody brought a role of that name; the message names those there are."""


@dataclass(frozen=True)
class Catalog:
    """All kinds of this installation; `broken` names the roles that cannot be offered, and why."""

    all: Mapping[str, Kind]
    broken: Mapping[str, str]

    @property
    def kinds(self) -> dict[str, Kind]:
        """What can be asked for: all but `server`, a Server's own kind, and `panel`, which is WebOps itself."""
        return {name: kind for name, kind in self.all.items() if name not in ("server", "panel")}

    def kind(self, name: str) -> Kind:
        """NoSuchKind: no role of that name."""
        if name in self.all:
            return self.all[name]
        if name in self.broken:
            raise NoSuchKind(f"The kind '{name}' cannot be used: {self.broken[name]}")
        close = difflib.get_close_matches(name, self.kinds, n=1)
        hint = f" Did you mean '{close[0]}'?" if close else ""
        raise NoSuchKind(f"There is no kind '{name}'.{hint} There are: {', '.join(sorted(self.kinds))}.")


def catalog() -> Catalog:
    """The kinds as the folders are now; read again only where a file changed."""
    sources = tuple(_sources())
    return _read(sources, tuple(_age(role) for role, _, _ in sources))


def _sources() -> list[tuple[Path, Path, str]]:
    """(role, playbook, add-on) for every folder that brings a role."""
    found = [(role, ROOT / "playbooks" / f"{role.name}.yml", "") for role in sorted((ROOT / "roles").glob("*"))]
    for role in sorted(settings().addons.glob("*/roles/*")):
        addon = role.parent.parent
        found.append((role, addon / f"{role.name}.yml", addon.name))
    return [one for one in found if (one[0] / "meta" / "argument_specs.yml").exists()]


def _age(role: Path) -> tuple[int, ...]:
    return tuple(file.stat().st_mtime_ns for file in sorted((role / "meta").glob("*.yml")))


@lru_cache(maxsize=4)
def _read(sources: tuple[tuple[Path, Path, str], ...], _ages: tuple[tuple[int, ...], ...]) -> Catalog:
    kinds: dict[str, Kind] = {}
    broken: dict[str, str] = {}
    for role, playbook, addon in sources:
        try:
            if role.name in kinds:
                raise BrokenRole(f"'{role.name}' is brought by {kinds[role.name].path} already.")
            if not playbook.exists():
                raise BrokenRole(f"its playbook {playbook} is missing.")
            kinds[role.name] = read_kind(role, playbook, addon)
        except BrokenRole as wrong:
            broken.setdefault(role.name, str(wrong))
    return Catalog(MappingProxyType(kinds), MappingProxyType(broken))
