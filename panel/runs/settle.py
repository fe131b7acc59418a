"""The end of a run: its state in words, and what it means for the resource and the server."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from panel.catalog import Action, NoSuchKind, catalog
from panel.runs import bell, drift, events, plans, surveys
from panel.runs.hosts import in_words
from panel.runs.outcome import Outcome
from panel.runs.parts import drop_unwanted, family
from panel.runs.submit import SERVER_KIND, ring_next
from panel.runs.translate import note
from panel.store import db
from panel.store.models import Mode, PartState, Run, RunServer, Server, State
from panel.store.places import Member, Place


@dataclass
class Verdict:
    """How a run ended, in words where it did not succeed."""

    state: State
    error: str = ""
    next_step: str = ""


def settle(run_id: int, owner: str, verdict: Verdict, outcome: Outcome, last_event: int) -> bool:
    """Write the end of a run once, then ring for the next of its lock.

    A run that was taken for lost gets its true end, and says so. False: it has another end already.
    Waits for the database as long as it takes: the end of a run must not be forgotten.
    """
    while True:
        try:
            with db.session() as session:
                settled = _write(session, run_id, owner, verdict, outcome, last_event)
                session.commit()
                bell.tell(run_id)
                _look_again(session, run_id)
                if settled:
                    ring_next(session, settled)
            return settled is not None
        except DBAPIError:
            time.sleep(1)


def _look_again(session: Session, run_id: int) -> None:
    """What a run did, also one that failed, should be seen at once and not at the link's next round."""
    servers = select(RunServer.server_id).where(RunServer.run_id == run_id, RunServer.server_id.is_not(None))
    for server_id in session.scalars(servers):
        bell.look(server_id or 0)


def _write(session: Session, run_id: int, owner: str, verdict: Verdict, outcome: Outcome, last: int) -> str | None:
    """The run's lock, or None where nothing was changed."""
    at = db.now(session)
    before = session.scalar(select(Run.state).where(Run.id == run_id))
    changed = session.execute(update(Run).where(
        Run.id == run_id, Run.lease_owner == owner, Run.state.in_([State.RUNNING, State.LOST])).values(
        state=verdict.state, error=verdict.error, next_step=verdict.next_step, journal=outcome.journal,
        ended_at=at, secrets=None, lease_until=None, waits_for=""))
    if not changed.rowcount:  # type: ignore[attr-defined]
        return None
    run = session.get_one(Run, run_id, populate_existing=True)
    if before is State.LOST:
        _say_late(session, run, at, last)
    _write_servers(session, run, outcome)
    plans.settled(session, run)
    drift.settled(session, run)
    surveys.settled(session, run, outcome.found)
    if run.mode is Mode.APPLY:
        _follow_on_servers(session, run, at)
        if verdict.state is State.SUCCEEDED:
            _follow(session, run, outcome, at)
    return run.lock


def _say_late(session: Session, run: Run, at: datetime, last: int) -> None:
    words = f"Its worker was silent for a while and this run was taken for lost; it has ended after all: {run.state}."
    row = note(words)
    row.update(run_id=run.id, number=last + 1, at=at)
    events.insert(session, [row])
    run.last_event = max(run.last_event, last + 1)


def _write_servers(session: Session, run: Run, outcome: Outcome) -> None:
    for part in run.servers:
        counts = outcome.hosts.get(part.host)
        part.state = outcome.progress.at_end(part.host, run.state, len(run.servers) == 1)
        if counts:
            part.ok, part.changed, part.skipped = counts.ok, counts.changed, counts.skipped
            part.failed = counts.failed + counts.unreachable
    if run.state is not State.SUCCEEDED and (said := in_words(run.servers)):
        run.next_step = f"{said} {run.next_step}".strip()


def _follow_on_servers(session: Session, run: Run, at: datetime) -> None:
    """What was done on a server stands, also where the run failed on another one."""
    if run.resource is None or run.action not in ("main", "remove"):
        return
    done = {one.server_id for one in run.servers if one.state is PartState.SUCCEEDED}
    for resource in list(family(run.resource)):
        for place in [one for one in resource.places if one.server_id in done]:
            if run.action == "main":
                place.applied_at = at
            else:
                resource.places.remove(place)
    session.flush()


def _follow(session: Session, run: Run, outcome: Outcome, at: datetime) -> None:
    """What a success means for what it was about."""
    if run.kind == SERVER_KIND:
        for part in run.servers:
            if part.server and run.action == "main":
                _made_ready(part.server, outcome.facts.get(part.host), at)
            elif part.server and run.action == "remove":
                _removed(session, part.server)
    elif run.resource and (action := _keeping(run)):
        run.resource.values = action.kept(run.resource.values, run.values)
    elif run.resource and run.action == "main":
        drop_unwanted(session, run.resource)
        session.flush()
        for resource in family(run.resource):
            resource.applied_at = at
    elif run.resource and run.action == "remove" and not run.resource.places:
        session.delete(run.resource)


def _keeping(run: Run) -> Action | None:
    """The action of the run, where what it was given becomes the resource's own."""
    with contextlib.suppress(NoSuchKind):
        action = catalog().kind(run.kind).actions.get(run.action)
        return action if action and action.keeps else None
    return None


def _made_ready(server: Server, facts: dict[str, object] | None, at: datetime) -> None:
    server.ready_at = at
    if facts:
        server.facts = facts


def _removed(session: Session, server: Server) -> None:
    """Its row goes, unless somebody asked for something there meanwhile: then it has to be made ready anew."""
    server.ready_at = None
    in_use = select(Place.id).where(Place.server_id == server.id).union(
        select(Member.group_id).where(Member.server_id == server.id))
    if not session.execute(in_use.limit(1)).first():
        session.delete(server)
