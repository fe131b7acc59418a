"""The state of a run, changed by compare-and-set on database time, so that a second worker changes nothing."""

from __future__ import annotations

import os
import socket
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, CursorResult, Update, exists, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, aliased

from panel.settings import settings
from panel.store.db import now
from panel.store.models import Run, State


def owner(pid: int | None = None) -> str:
    """Who holds a lease: a process (this one) on this machine."""
    return f"{socket.gethostname()}:{pid or os.getpid()}"


def claim(session: Session, run_id: int, owner: str) -> Run | None:
    """Make a queued run ours, with a lease. None: it is not queued any more, or waits (`waits_for` then says for what).

    Commits. Runs of one lock are claimed in the order in which they were asked for.
    """
    at = now(session)
    try:
        won = _changed(session, update(Run).where(Run.id == run_id, Run.state == State.QUEUED, ~_before(Run)).values(
            state=State.RUNNING, started_at=at, lease_owner=owner, lease_until=_until(at), waits_for=""))
    except IntegrityError:
        session.rollback()  # another worker was faster; the index is the last wall
        won = False
    if not won:
        say_what_it_waits_for(session, run_id)
    session.commit()
    return session.get(Run, run_id) if won else None


def renew(session: Session, run_id: int, owner: str) -> bool:
    """Lengthen our lease. False: somebody took the run for dead meanwhile, and it cannot be had back.

    A run that was taken for lost while its worker slept becomes ours again where nothing else has begun.
    Commits.
    """
    at = now(session)
    ours = (Run.id == run_id, Run.lease_owner == owner)
    if not _changed(session, update(Run).where(*ours, Run.state == State.RUNNING).values(lease_until=_until(at))):
        try:
            back = _changed(session, update(Run).where(*ours, Run.state == State.LOST).values(
                state=State.RUNNING, lease_until=_until(at), ended_at=None, error="", next_step=""))
        except IntegrityError:
            session.rollback()
            return False
        if not back:
            session.rollback()
            return False
    session.commit()
    return True


def expire(session: Session, run_id: int, lease_owner: str, error: str, next_step: str) -> bool:
    """Mark a run whose lease has run out as lost. False: it was renewed or has ended in time. Does not commit."""
    at = now(session)
    return _changed(session, update(Run).where(
        Run.id == run_id, Run.state == State.RUNNING, Run.lease_owner == lease_owner).values(
        state=State.LOST, ended_at=at, error=error, next_step=next_step, secrets=None))


def waiting(session: Session, lock: str) -> int | None:
    """The run that is next for a lock."""
    return session.scalar(select(Run.id).where(Run.lock == lock, Run.state == State.QUEUED).order_by(Run.id).limit(1))


def say_what_it_waits_for(session: Session, run_id: int) -> None:
    """Write on a queued run which other run it waits for. Does not commit."""
    run = session.get(Run, run_id)
    if run is None or run.state is not State.QUEUED:
        return
    ahead = session.scalars(select(Run).where(
        Run.lock == run.lock, Run.id != run.id, _is_before(Run, run.id)).order_by(Run.id.desc()).limit(1)).first()
    words = f"Run {ahead.id} ({ahead.action} of {ahead.resource_name})" if ahead else ""
    _changed(session, update(Run).where(Run.id == run_id, Run.state == State.QUEUED).values(waits_for=words))


def _until(at: datetime) -> datetime:
    return at + timedelta(seconds=settings().lease)


def _is_before(other: type[Run], run_id: Any) -> ColumnElement[bool]:
    return or_(other.state == State.RUNNING, (other.state == State.QUEUED) & (other.id < run_id))


def _before(run: type[Run]) -> ColumnElement[bool]:
    other = aliased(Run)
    return exists().where(other.lock == run.lock, other.id != run.id, _is_before(other, run.id))


def _changed(session: Session, statement: Update) -> bool:
    result = session.execute(statement, execution_options={"synchronize_session": False})
    assert isinstance(result, CursorResult)
    return result.rowcount == 1
