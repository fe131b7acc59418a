"""`webops run …`."""

from __future__ import annotations

from typing import Any

import click

from cli import tables
from cli.doors import Remote, panel_door
from cli.exits import Exit, Stop


@click.group()
def run() -> None:
    """What was done, and what is being done."""


def _panel(ctx: click.Context) -> Remote:
    return panel_door(ctx, "Runs are kept by a panel; there are none with --local.")


_NUMBER = click.argument("number", type=click.IntRange(1, 2**31 - 1))
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@run.command("list")
@click.option("--resource", metavar="NAME", help="Only of this resource.")
@click.option("--state", metavar="STATE", help="queued, running, succeeded, failed, canceled or lost.")
@click.option("-n", "limit", default=20, show_default=True, type=click.IntRange(1, 1000), help="How many.")
@_JSON
@click.pass_context
def list_runs(ctx: click.Context, resource: str | None, state: str | None, limit: int, as_json: bool) -> None:
    """Newest first."""
    rows = _panel(ctx).panel.get("/runs", resource=resource, state=state, limit=limit)["runs"]
    if as_json:
        tables.as_json(rows)
        return
    tables.table(("RUN", "WHAT", "SERVER", "STATE", "TOOK", "WHEN", "BY"),
                 [(one["id"], _what(one), _servers(one),
                   tables.state(one["state"]), _took(one), tables.ago(one["created_at"]), one["actor"])
                  for one in rows], "No run yet.")


def _what(row: dict[str, Any]) -> str:
    return f"{row['action_label']} {row['resource']}" + (" (check)" if row["mode"] == "check" else "")


def _servers(row: dict[str, Any]) -> str:
    names = [one["server"] for one in row["servers"]]
    return " ".join(names) if len(names) <= 3 else f"{len(names)} servers"


def _took(row: dict[str, Any]) -> str:
    from cli.progress import duration

    return duration(row["seconds"]) if row["seconds"] is not None else ""


@run.command("show")
@_NUMBER
@_JSON
@click.pass_context
def show(ctx: click.Context, number: int, as_json: bool) -> None:
    """One run with its steps, as far as they are."""
    from cli.follow import conclude
    from cli.progress import Plain

    panel = _panel(ctx).panel
    row = panel.get(f"/runs/{number}")
    if as_json:
        tables.as_json(row)
        return
    tables.facts([("Run", row["id"]), ("What", _what(row)), ("State", tables.state(row["state"])),
                  ("Waits for", row["waits_for"]), ("Begun", row["started_at"]),
                  ("By", f"{row['actor']} ({row['door']})"),
                  ("Time-out", f"{row['timeout']} s"), ("Page", row["url"])])
    several = len(row["servers"]) > 1
    if several:
        tables.table(("SERVER", "STATE", "CHANGED", "FAILED"), [
            (one["server"], tables.state(one["state"].replace("_", " ")), one["changed"], one["failed"])
            for one in row["servers"]], "")
    view, after = Plain(out=True, several=several), 0
    while after is not None:
        page = panel.get(f"/runs/{number}/events", after=after, limit=500)
        for event in page["events"]:
            view.show(event)
        after = page["next"]
    if row["ended_at"]:
        conclude(row)


@run.command("follow")
@_NUMBER
@_JSON
@click.pass_context
def follow_run(ctx: click.Context, number: int, as_json: bool) -> None:
    """Watch a run to its end. The exit code says how it ended."""
    from cli.follow import follow

    panel = _panel(ctx).panel
    ctx.exit(int(follow(panel, panel.get(f"/runs/{number}"), as_json=as_json)))


@run.command("cancel")
@_NUMBER
@click.option("--no-wait", is_flag=True, help="Do not wait until it has ended.")
@click.pass_context
def cancel(ctx: click.Context, number: int, no_wait: bool) -> None:
    """End a run, here and on its server. The exit code is 0 when it was canceled."""
    from cli.follow import follow

    panel = _panel(ctx).panel
    row = panel.post(f"/runs/{number}/cancellation")["run"]
    if row["state"] in ("queued", "running") and not no_wait:
        code = follow(panel, row)
        ctx.exit(int(Exit.OK if code is Exit.CANCELED else Exit.FAILED))
    if row["state"] not in ("queued", "running", "canceled"):
        raise Stop(f"Run {number} has ended already ({row['state']}), so there is nothing to cancel.", Exit.REFUSED)
    click.echo(f"Run {number} is {row['state']}" + (", its end was asked for." if row["state"] == "running" else "."))


@run.command("retry")
@_NUMBER
@click.option("--no-wait", is_flag=True, help="Do not wait for the run's end.")
@_JSON
@click.pass_context
def retry(ctx: click.Context, number: int, no_wait: bool, as_json: bool) -> None:
    """Do the same again, only on the servers where the run did not succeed: failed, stopped, or not begun."""
    from cli.follow import follow

    panel = _panel(ctx).panel
    fresh = panel.post(f"/runs/{number}/retry")["run"]
    ctx.exit(int(follow(panel, fresh, wait=not no_wait, as_json=as_json)))
