"""Follows a run to its end: every event once, over as many broken connections as it takes."""

from __future__ import annotations

import json
import time
from typing import Any

import click

from cli import progress
from cli.exits import OF_STATE, Exit, Stop
from cli.panel import Gone, Panel

#: How long a panel may be away (a restart, an upgrade) before the command gives up; the run goes on meanwhile.
PATIENCE = 120


def follow(panel: Panel, run: dict[str, Any], *, wait: bool = True, as_json: bool = False) -> Exit:
    """Show the run until it ends; the exit code says how it ended."""
    if not wait:
        _hand_over(run, as_json)
        return Exit.OK
    ended = watch(panel, run, as_json)
    if as_json:
        click.echo(json.dumps(ended, indent=2))
    else:
        conclude(ended)
    return OF_STATE[ended["state"]]


def watch(panel: Panel, run: dict[str, Any], as_json: bool = False) -> dict[str, Any]:
    """Show the run until it ends; returns it as it ended. Stop: somebody stopped watching."""
    try:
        return _watch(panel, run, as_json)
    except KeyboardInterrupt:
        raise Stop(f"You stopped watching; run {run['id']} goes on.", Exit.INTERRUPTED,
                   next_step=f"webops run follow {run['id']} or webops run cancel {run['id']}") from None


def _hand_over(run: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(run, indent=2))
    else:
        click.echo(f"Run {run['id']} is {run['state']}: webops run follow {run['id']}")


#: What these print is seldom what was asked for; the page of the run has it.
_QUIET = ("main", "deploy", "remove")


def _watch(panel: Panel, run: dict[str, Any], as_json: bool) -> dict[str, Any]:
    view = progress.view(output=not as_json and run["action"] not in _QUIET, several=len(run["servers"]) > 1)
    view.say(_headline(run))
    try:
        return _events(panel, run, view)
    finally:
        view.close()


def _events(panel: Panel, run: dict[str, Any], view: progress.View) -> dict[str, Any]:
    path, last, away_since = f"/runs/{run['id']}/stream", 0, 0.0
    while True:
        try:
            for name, data in panel.events(path, last):
                away_since = 0.0
                if name == "end":
                    return dict(data)
                if name == "event" and data["number"] > last:
                    last = data["number"]
                    view.show(data)
                elif name == "run" and data["state"] == "queued":
                    view.say(_headline(data))
        except Gone:
            pass
        except Stop as stop:
            if stop.exit_code != Exit.UNREACHABLE:
                raise
            if away_since and time.monotonic() - away_since > PATIENCE:
                stop.next_step = f"the run goes on: webops run follow {run['id']} when the panel is back"
                raise
        away_since = away_since or time.monotonic()
        time.sleep(0.5)


def _headline(run: dict[str, Any]) -> str:
    mode = " (check only)" if run["mode"] == "check" else ""
    words = f"Run {run['id']}: {run['action_label']} {run['resource']}{mode}"
    if run["state"] == "queued" and run["waits_for"]:
        return f"{words}, waiting: {run['waits_for']}"
    return f"{words} · {run['url']}"


def conclude(run: dict[str, Any]) -> None:
    """How it ended, in one line; where it failed: why, the last lines of the journal, and what to do next."""
    counts = {name: sum(one[name] for one in run["servers"]) for name in ("changed", "ok", "failed", "skipped")}
    words = ", ".join(f"{number} {name}" for name, number in counts.items() if number)
    took = f" in {progress.duration(run['seconds'])}" if run["seconds"] is not None else ""
    colour = {"succeeded": "green", "failed": "red", "lost": "red", "canceled": "yellow"}.get(run["state"])
    click.secho(f"Run {run['id']} {run['state']}{took}{': ' + words if words else ''}", fg=colour, err=True)
    if run["error"]:
        click.echo(progress.clean(run["error"]), err=True)
    for line in run["journal"]:
        click.echo(f"  | {progress.clean(str(line))}", err=True)
    if run["next"]:
        click.echo(f"Next: {progress.clean(run['next'])}", err=True)
    if len(run["servers"]) > 1 and run["state"] in ("failed", "canceled", "lost") and run["mode"] == "apply":
        click.echo(f"Only where it did not succeed: webops run retry {run['id']}", err=True)
