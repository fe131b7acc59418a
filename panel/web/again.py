"""What a run that is over leads to: the same once more, or what its check has shown."""

from __future__ import annotations

from typing import NamedTuple

from flask import request, url_for
from sqlalchemy import select

from panel.store.models import Mode, Run, State
from panel.store.planned import Plan
from panel.web.database import database
from panel.web.words import action_label, action_of


class Offer(NamedTuple):
    """A button: `url` is the form to open; without one it is asked for at once."""

    label: str
    url: str = ""
    is_primary: bool = False


def offer(run: Run) -> Offer | None:
    """The next thing to do with this run, or None."""
    if run.state.is_active:
        return None
    if run.purpose == "plan" and run.mode is Mode.CHECK and (plan := _plan_of(run)):
        return Offer("See the plan", url_for("plans.show", number=plan), True)
    if run.purpose == "drift" and run.resource is not None:
        return Offer("See the drift", url_for("resources.show", name=run.resource.name) + "#drift", True)
    if run.purpose == "survey" and run.servers and run.servers[0].server_id is not None:
        return Offer("See what was found", url_for("sites.listed", name=run.servers[0].server_name), True)
    if run.mode is Mode.CHECK and run.state is State.SUCCEEDED:
        form = _of_server(run) if run.kind == "server" else _form(run)
        return Offer(f"{action_label(run.kind, run.action)}…", form, True) if form else None
    if run.state is State.SUCCEEDED:
        return None
    return _once_more(run)


def _plan_of(run: Run) -> int | None:
    return database().scalar(select(Plan.id).where(Plan.run_id == run.id))


def _once_more(run: Run) -> Offer | None:
    if run.purpose == "plan" and (plan := database().scalar(select(Plan.id).where(Plan.applied_run_id == run.id))):
        return Offer("See its plan", url_for("plans.show", number=plan), True)
    action = action_of(run.kind, run.action)
    label = f"{action_label(run.kind, run.action)} again"
    if run.kind == "server":
        form = _of_server(run)
        return Offer(f"{label}…", form, True) if form else None
    if action is None:
        return None
    if run.resource is None or run.mode is Mode.CHECK:
        return Offer(f"{label}…", _form(run), True) if run.action == "main" else None
    if run.action == "main" or not (action.parameters or action.dangerous):
        return Offer(label, "", True)
    return Offer(f"{label}…", _form(run), True)


def _of_server(run: Run) -> str:
    """The form for this action of a server; nothing where the server is gone."""
    if not run.servers or run.servers[0].server_id is None:
        return ""
    return url_for("servers.ask_removal" if run.action == "remove" else "servers.ask_login",
                   name=run.servers[0].server_name)


def asked_for(kind: str, action: str) -> Run | None:
    """`?run=`: the run of this action with whose values its form begins; secrets are not in it."""
    number = request.args.get("run", 0, type=int)
    run = database().get(Run, number) if number else None
    return run if run is not None and (run.kind, run.action) == (kind, action) else None


def _form(run: Run) -> str:
    """The form with the values that this run had (`asked_for`)."""
    if run.resource is None:
        where = run.group.name if run.group else run.servers[0].server_name if run.servers else None
        return url_for("new.fill", kind_name=run.kind, run=run.id, server=where)
    if run.action == "main":
        return url_for("new.edit", name=run.resource.name, run=run.id)
    return url_for("actions.ask", name=run.resource.name, action_name=run.action, run=run.id)
