"""`webops drift`: whether servers still are as they were applied."""

from __future__ import annotations

from typing import Any

import click

from cli import changes, tables
from cli.doors import Remote, panel_door
from cli.exits import Exit, Stop
from cli.panel import Panel, part
from cli.progress import clean

#: State of drift -> how `webops drift NAME --check` ends.
_OF_STATE = {"in_sync": Exit.OK, "drifted": Exit.CHANGES}


@click.command()
@click.argument("name", required=False)
@click.option("--check", is_flag=True, help="Look now. Ends with 0 in sync, 8 drifted, 1 the check failed.")
@click.option("--every", metavar="INTERVAL", type=click.Choice(["off", "hourly", "daily"]),
              help="How often it is looked at by itself: off, hourly, daily.")
@click.option("--reconcile", is_flag=True, help="Make it again what was applied; the commit stays.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def drift(ctx: click.Context, name: str | None, check: bool, every: str | None, reconcile: bool, as_json: bool) -> None:
    """Whether servers still are as they were applied: all of them, or NAME with what differs.

    A look touches nothing and deploys nothing; a newer commit of the branch is told and is no drift.
    """
    source = panel_door(ctx, "Drift is looked at by a panel.", "webops plan NAME --local")
    if name is None:
        if check or every or reconcile:
            raise Stop("Say of which resource.", Exit.USAGE, next_step="webops drift NAME …")
        _show_all(source, as_json)
        return
    panel, path = source.panel, f"/resources/{part(name)}/drift"
    if every:
        panel.put(path, {"interval": every})
    if reconcile:
        from cli.follow import follow

        ctx.exit(int(follow(panel, panel.post(f"{path}/reconciliation")["run"], as_json=as_json)))
    code = _look(panel, path, as_json) if check else Exit.OK
    found = panel.get(path)
    if as_json:
        tables.as_json(found)
    else:
        _show(found)
    ctx.exit(int(_OF_STATE.get(found["state"], Exit.FAILED) if check and code is Exit.OK else code))


def _look(panel: Panel, path: str, as_json: bool) -> Exit:
    from cli.follow import watch

    state = watch(panel, panel.post(f"{path}/runs")["run"], as_json)["state"]
    return Exit.CANCELED if state == "canceled" else Exit.OK


def _show_all(source: Remote, as_json: bool) -> None:
    rows = [one for one in source.resources() if not one["parent"]]
    if as_json:
        tables.as_json([{**{key: one[key] for key in ("name", "server", "group")}, **(one["drift"] or {})}
                        for one in rows])
        return
    tables.table(("NAME", "SERVER", "DRIFT", "SEEN", "EVERY", ""), [_row(one) for one in rows], "Nothing yet.")


def _row(one: dict[str, Any]) -> tuple[Any, ...]:
    known = one["drift"] or {"state": "unknown", "at": None, "interval": "daily", "text": ""}
    words = known["text"] if known["state"] in ("drifted", "check_failed") else ""
    return (one["name"], tables.where(one), tables.state(known["state"].replace("_", " ")), tables.ago(known["at"]),
            known["interval"], words)


def _show(found: dict[str, Any]) -> None:
    newer = found["newer"]
    tables.facts([("Name", found["name"]), ("Part of", found["of"] if found["of"] != found["name"] else None),
                  ("Drift", tables.state(found["state"].replace("_", " "))), ("", found["text"]),
                  ("Seen", tables.ago(found["at"])), ("Every", found["interval"]),
                  ("Newer commit", f"{newer['short']} {newer['subject']}".strip() if newer else None)])
    if found["changes"]:
        click.echo()
        changes.show(found["changes"])
        click.echo(f"Next: webops drift {clean(found['of'])} --reconcile")
