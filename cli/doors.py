"""Through which door a command works: a panel's API, or (--local) this checkout's playbooks. Same words at both."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

import click

from cli.exits import Exit, Stop
from cli.panel import Panel, part

if TYPE_CHECKING:
    from cli.terminal import Line


@dataclass(frozen=True)
class Wish:
    """What a person wants done to a resource."""

    kind: str
    name: str
    action: str
    values: Mapping[str, Any]
    secrets: Mapping[str, Any] = field(default_factory=dict, repr=False)
    #: Parameters (or items of a list, "environment.NAME") that go back to the role's default.
    unset: tuple[str, ...] = ()
    #: Where it lives: a server, or a group of them.
    server: str | None = None
    group: str | None = None
    #: Only these of its servers; how many of them at a time.
    on: tuple[str, ...] = ()
    batch: str | None = None
    check: bool = False
    timeout: int | None = None


@dataclass(frozen=True)
class Logs:
    """Which lines of a resource's log a person wants."""

    lines: int = 100
    follow: bool = False
    process: str = ""
    since: str = ""
    until: str = ""
    grep: str = ""
    on: str = ""


class Desk(Protocol):
    """What a resource offers beside its actions, where its kind does: keys of clients, a chat, a measurement."""

    def keys(self) -> dict[str, Any]: ...
    def add_key(self, given: dict[str, Any]) -> dict[str, Any]: ...
    def revoke_key(self, key: str) -> None: ...
    def spread_keys(self) -> int: ...
    def chat(self, asked: dict[str, Any]) -> Iterator[tuple[str, Any]]: ...
    def measure(self, wanted: dict[str, Any]) -> Iterator[tuple[str, Any]]: ...


class Door(Protocol):
    """What every door can do. Everything it answers is plain data, as the API writes it."""

    def kinds(self) -> list[dict[str, Any]]: ...
    def kind(self, name: str) -> dict[str, Any]: ...
    def resources(self) -> list[dict[str, Any]]: ...
    def resource(self, name: str) -> dict[str, Any]: ...
    def values(self, name: str, secrets: bool) -> dict[str, Any]: ...
    def make_key(self, name: str, kind: str, server: str) -> str: ...
    def logs(self, name: str, wanted: Logs) -> Iterator[str]: ...
    def terminal(self, name: str, wanted: dict[str, Any]) -> Line: ...
    def desk(self, name: str) -> Desk: ...
    def carry_out(self, wish: Wish, *, wait: bool, as_json: bool) -> Exit: ...


def door(ctx: click.Context | None = None) -> Door:
    """The door that this command line asks for."""
    ctx = ctx or click.get_current_context()
    if ctx.find_root().meta.get("webops.local"):
        from cli.local.door import Local

        return Local()
    from cli import panel

    return Remote(panel.panel())


def panel_door(ctx: click.Context, why: str, next_step: str = "") -> Remote:
    """The same where only a panel will do. Stop: the command line asks for none, and `why` it is needed."""
    found = door(ctx)
    if not isinstance(found, Remote):
        raise Stop(why, Exit.USAGE, next_step=next_step)
    return found


class Remote:
    """A panel."""

    def __init__(self, panel: Panel) -> None:
        self.panel = panel

    def kinds(self) -> list[dict[str, Any]]:
        return list(self.panel.get("/kinds")["kinds"])

    def kind(self, name: str) -> dict[str, Any]:
        return dict(self.panel.get(f"/kinds/{part(name)}"))

    def resources(self) -> list[dict[str, Any]]:
        return self.everything("/resources", "resources")

    def everything(self, path: str, key: str) -> list[dict[str, Any]]:
        """All pages of a list."""
        rows: list[dict[str, Any]] = []
        after = None
        while True:
            page = self.panel.get(path, after=after, limit=500)
            rows += page[key]
            after = page.get("next")
            if after is None:
                return rows

    def resource(self, name: str) -> dict[str, Any]:
        return dict(self.panel.get(f"/resources/{part(name)}"))

    def values(self, name: str, secrets: bool) -> dict[str, Any]:
        return dict(self.panel.get(f"/resources/{part(name)}/values", secrets=1 if secrets else None))

    def make_key(self, name: str, kind: str, server: str) -> str:
        """Its public half. Where the resource is new, `kind` and `server` say what it will be."""
        body = {key: value for key, value in (("kind", kind), ("server", server)) if value}
        return str(self.panel.post(f"/resources/{part(name)}/keys", body)["public_key"])

    def logs(self, name: str, wanted: Logs) -> Iterator[str]:
        return self.panel.lines(f"/resources/{part(name)}/logs", lines=wanted.lines,
                                follow=1 if wanted.follow else None, since=wanted.since or None,
                                until=wanted.until or None, grep=wanted.grep or None, process=wanted.process or None,
                                server=wanted.on or None)

    def terminal(self, name: str, wanted: dict[str, Any]) -> Line:
        from cli.far import FarLine

        return FarLine(self.panel, name, wanted)

    def desk(self, name: str) -> Desk:
        from cli.far import FarDesk

        return FarDesk(self.panel, name)

    def carry_out(self, wish: Wish, *, wait: bool, as_json: bool) -> Exit:
        """Ask for it; wait for the run's end and show it, unless told not to."""
        from cli.follow import follow

        run = self._apply(wish) if wish.action == "main" else self._act(wish)
        return follow(self.panel, run, wait=wait, as_json=as_json)

    def look(self, wish: Wish) -> dict[str, Any]:
        """Ask what Apply would do: the check run, of which nothing but its page is kept."""
        return self._apply(replace(wish, check=True))

    def plan(self, wish: Wish) -> dict[str, Any]:
        """Ask for a plan of it: {"plan": …, "run": the check that makes it}."""
        if wish.action == "main":
            body = self._wanted(wish)
        else:
            body = {"action": wish.action, "values": {**wish.values, **wish.secrets}, "timeout": wish.timeout}
        return dict(self.panel.post(f"/resources/{part(wish.name)}/plans", body))

    def _apply(self, wish: Wish) -> dict[str, Any]:
        body = {**self._wanted(wish), "mode": _mode(wish), "batch": wish.batch}
        return dict(self.panel.put(f"/resources/{part(wish.name)}", body)["run"])

    def _wanted(self, wish: Wish) -> dict[str, Any]:
        there = self._there(wish.name)
        if there is None and not (wish.server or wish.group):
            raise Stop(f"{wish.name} is new: say on which server it shall be.", Exit.USAGE,
                       next_step="--server NAME (webops server list names them), or --group NAME")
        return {"kind": wish.kind, "server": wish.server, "group": wish.group,
                "values": _laid_over(there or {}, wish, self.kind(wish.kind)), "timeout": wish.timeout}

    def _there(self, name: str) -> dict[str, Any] | None:
        try:
            return self.resource(name)
        except Stop as stop:
            if stop.code == "not_found":
                return None
            raise

    def _act(self, wish: Wish) -> dict[str, Any]:
        body = {"action": wish.action, "values": {**wish.values, **wish.secrets}, "mode": _mode(wish),
                "timeout": wish.timeout, "on": list(wish.on), "batch": wish.batch}
        return dict(self.panel.post(f"/resources/{part(wish.name)}/runs", body)["run"])


def _mode(wish: Wish) -> str:
    return "check" if wish.check else "apply"


def _laid_over(there: Mapping[str, Any], wish: Wish, kind: Mapping[str, Any]) -> dict[str, Any]:
    """The resource's values with the wish over them: NAME=VALUE lists item by item, all else as a whole."""
    from cli.overlay import laid_over

    return laid_over(kind["actions"]["main"], there.get("values", {}), there.get("secrets", {}), wish.values,
                     wish.secrets, wish.unset)
