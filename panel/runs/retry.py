"""The same once more where it did not succeed: a run of its own, on those servers alone."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from panel.catalog import catalog
from panel.runs import resources
from panel.runs.errors import NothingToRetry, Unknown
from panel.runs.submit import DRIFT, Extra
from panel.store.models import Event, Mode, PartState, Run, Server

#: The commit that a run is to fetch, whatever its branch has become since.
COMMIT = "webops_commit"


def left(run: Run) -> list[Server]:
    """The servers of an ended run on which it did not succeed, as far as its resource is still to be there."""
    if run.state.is_active or run.resource is None:
        return []
    there = {one.id for one in run.resource.servers}
    return [one.server for one in run.servers
            if one.server is not None and one.server_id in there and one.state is not PartState.SUCCEEDED]


def is_offered(run: Run) -> bool:
    """Whether there is something to do again that is not all of it."""
    return len(left(run)) > 0 and len(run.servers) > 1 and run.mode is Mode.APPLY and run.purpose != DRIFT


def retry(session: Session, run: Run, actor: str, door: str) -> Run:
    """Do what this run did on the servers where it did not succeed. COMMITS.

    Apply takes the values that the resource has now. Where a server has the run's commit already, the others get the
    same one, also when the branch has moved on. NothingToRetry, and what `resources.act` refuses.
    """
    if run.state.is_active:
        raise NothingToRetry(f"Run {run.id} has not ended yet. Wait for it, or cancel it.")
    if run.resource is None:
        raise Unknown(f"{run.resource_name} is gone, so this cannot be done again.")
    servers = left(run)
    if not servers:
        raise NothingToRetry(f"Run {run.id} succeeded on every server that {run.resource_name} is on, so nothing is "
                             "left to do.")
    extra = Extra(run.purpose, _conditions(session, run), batch=run.batch)
    return resources.act(session, resource=run.resource, action=run.action, given=_given(run), actor=actor, door=door,
                         mode=run.mode, timeout=run.timeout, on=servers, extra=extra)


def _given(run: Run) -> dict[str, Any]:
    if run.action == "main":
        return {}
    spec = catalog().kind(run.kind).actions.get(run.action)
    return {name: value for name, value in run.values.items() if spec and spec.parameter(name)}


def _conditions(session: Session, run: Run) -> dict[str, Any]:
    is_held = (run.conditions.get("webops_planned") or {}).get("commit") == "live"
    commit = None if is_held else _commit(session, run)
    if commit is None:
        return dict(run.conditions)
    kept = {name: value for name, value in run.conditions.items() if name != "webops_planned"}
    return {**kept, COMMIT: commit}


def _commit(session: Session, run: Run) -> str | None:
    """The commit that the servers got on which it succeeded."""
    if COMMIT in run.conditions:
        return str(run.conditions[COMMIT])
    done = {one.host for one in run.servers if one.state is PartState.SUCCEEDED}
    for event in session.scalars(select(Event).where(Event.run_id == run.id, Event.host.in_(done))):
        commit = (event.data.get("plan") or {}).get("commit") if isinstance(event.data.get("plan"), dict) else None
        if isinstance(commit, dict) and commit.get("id"):
            return str(commit["id"])
    return None
