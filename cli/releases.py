"""`webops releases`: what a server keeps of a resource, and what differs between two of them."""

from __future__ import annotations

from typing import Any

import click

from cli import tables
from cli.doors import panel_door
from cli.panel import part
from cli.progress import clean

_SIGNS = (("added", "+", "green"), ("removed", "-", "red"), ("changed", "~", "yellow"))


@click.command()
@click.argument("name")
@click.argument("pair", required=False, metavar="[A..B]")
@click.option("--on", metavar="SERVER", help="On which of its servers, where it is on several.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def releases(ctx: click.Context, name: str, pair: str | None, on: str | None, as_json: bool) -> None:
    """The releases of NAME that its server keeps; with A..B what B has that A has not.

    A and B are ids of releases, or beginnings of commits (7 letters or more).
    """
    source = panel_door(ctx, "Releases are read by a panel.", "ls /srv/webops/NAME/live/releases on the server")
    path = f"/resources/{part(name)}/releases"
    found = source.panel.get(f"{path}/{part(pair)}" if pair else path, server=on)
    if as_json:
        tables.as_json(found)
    elif pair:
        _show_difference(found)
    else:
        _show_list(found)


def _show_list(found: dict[str, Any]) -> None:
    tables.table(("RELEASE", "", "LIVE SINCE", "TOOK", "BY", "WHAT"), [_row(one) for one in found["releases"]],
                 "None were seen on the server yet.")
    if found["rolled_back"]:
        click.secho(clean(found["rolled_back"]["text"]), fg="yellow")


def _row(one: dict[str, Any]) -> tuple[Any, ...]:
    state = tables.state("live") if one["live"] else "kept" if one["served"] else "never served"
    last = one["back"] if one["live"] and one["back"] else {"at": one["went_live"], **one}
    took = f"{one['seconds']:.1f} s" if one["seconds"] is not None else ""
    by = (last["actor"] or "") + (f", run {last['run']}" if last["run"] else "")
    return one["id"], state, tables.ago(last["at"]), took, by, one["subject"]


def _show_difference(found: dict[str, Any]) -> None:
    click.echo(f"{found['a']['id']} → {found['b']['id']}")
    if found["commits_unknown"]:
        click.secho(clean(found["commits_unknown"]), fg="yellow")
    for key, sign, colour in (("commits", "+", "green"), ("commits_gone", "-", "red")):
        for one in found[key]:
            click.secho(f"{sign} {one['short']} {clean(one['subject'])} ({clean(one['author'])})", fg=colour)
        if found[f"{key}_more"]:
            click.secho(f"{sign} and {found[f'{key}_more']} more", fg=colour)
    for title, names in (("Environment", found["environment"]), ("Migrations", found["migrations"])):
        for key, sign, colour in _SIGNS:
            for one in names.get(key, []):
                click.secho(f"{sign} {title.lower()}: {clean(one)}", fg=colour)
    if not any((found["commits"], found["commits_gone"], found["commits_unknown"], *found["environment"].values(),
                *found["migrations"].values())):
        click.echo("The same commit, the same environment, the same migrations.")
