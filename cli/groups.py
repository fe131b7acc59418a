"""`webops group …`: servers that a resource can live on together."""

from __future__ import annotations

from typing import Any

import click

from cli import tables
from cli.doors import Remote, panel_door
from cli.panel import part

_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_BATCH = click.option("--batch", metavar="N", help="How many servers are worked on at a time: a number, or 25%.")


@click.group()
def group() -> None:
    """Servers that a resource can live on together: `webops apply KIND NAME --group GROUP …`."""


def _panel(ctx: click.Context) -> Remote:
    return panel_door(ctx, "Groups are kept by a panel.",
                      "by hand a resource on several servers is several hosts: --limit 'NAME@*'")


@group.command("add")
@click.argument("name")
@click.option("--server", "servers", multiple=True, metavar="NAME", help="One of its servers. May be repeated.")
@_BATCH
@_JSON
@click.pass_context
def add(ctx: click.Context, name: str, servers: tuple[str, ...], batch: str | None, as_json: bool) -> None:
    """Make a group of these servers. In the order given they are worked on, one at a time unless --batch says more."""
    _show(_panel(ctx).panel.post("/groups", {"name": name, "servers": list(servers), "batch": batch}), as_json)


@group.command("change")
@click.argument("name")
@click.option("--server", "servers", multiple=True, metavar="NAME", help="A server that comes in. May be repeated.")
@click.option("--without", multiple=True, metavar="NAME", help="A server that leaves. May be repeated.")
@_BATCH
@_JSON
@click.pass_context
def change(ctx: click.Context, name: str, servers: tuple[str, ...], without: tuple[str, ...], batch: str | None,
           as_json: bool) -> None:
    """Put servers into a group, take others out.

    What lives on the group comes to a new server with its next Apply. A server may leave when nothing of the group is
    on it any more: `webops remove NAME --on SERVER`.
    """
    body = {"add": list(servers), "remove": list(without), "batch": batch}
    panel = _panel(ctx).panel
    _show(panel.patch(f"/groups/{part(name)}", body), as_json)


@group.command("list")
@_JSON
@click.pass_context
def list_groups(ctx: click.Context, as_json: bool) -> None:
    """All groups."""
    rows = _panel(ctx).everything("/groups", "groups")
    if as_json:
        tables.as_json(rows)
        return
    tables.table(("NAME", "SERVERS", "AT A TIME", "RESOURCES"),
                 [(one["name"], " ".join(one["servers"]), one["batch"], " ".join(one["resources"])) for one in rows],
                 "No group yet. Next: webops group add NAME --server S --server T")


@group.command("show")
@click.argument("name")
@_JSON
@click.pass_context
def show(ctx: click.Context, name: str, as_json: bool) -> None:
    """One group: its servers in their order, what lives on it."""
    _show(_panel(ctx).panel.get(f"/groups/{part(name)}"), as_json)


@group.command("remove")
@click.argument("name")
@click.pass_context
def remove(ctx: click.Context, name: str) -> None:
    """Remove a group. Its servers stay as they are. Refused while something lives on it."""
    _panel(ctx).panel.delete(f"/groups/{part(name)}")
    click.echo(f"Removed the group {name}. Its servers are as they were.")


def _show(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        tables.as_json(found)
        return
    tables.facts([("Name", found["name"]), ("Servers", ", ".join(found["servers"]) or "none yet"),
                  ("At a time", found["batch"]), ("Resources", ", ".join(found["resources"])), ("Page", found["url"])])
