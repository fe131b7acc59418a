"""Looks after runs that nobody else looks after: lost ones, those whose bell was not heard, old ones."""

from __future__ import annotations

import logging
import math
import time
from datetime import timedelta

from redis.exceptions import RedisError
from sqlalchemy import select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from panel.runs import bell, claim, drift, scratch
from panel.runs.retention import prune
from panel.runs.submit import ring_next
from panel.settings import settings
from panel.store import db
from panel.store.models import Event, PartState, Run, RunServer, State

log = logging.getLogger("webops.runs")
_LONGEST_BREAK = 5.0
_PRUNE_EVERY, _SWEEP_EVERY = 3600.0, 15.0


class Reaper:
    """Call `look` every second or so; it never raises because of a database or a Redis that is away."""

    def __init__(self) -> None:
        #: Since when the database took our writes without a longer break, and when it did last.
        self._reached_since = self._reached = -math.inf
        self._pruned = self._swept = 0.0

    def look(self) -> None:
        try:
            with db.session() as session:
                self._reach(session)
                self._reap(session)
                self._ring(session)
                self._clean(session)
        except (SQLAlchemyError, OSError) as wrong:
            log.warning("The database is away (%s).", type(wrong).__name__)

    def _reach(self, session: Session) -> None:
        """Write as a worker does that renews its lease: reading alone works while a database is locked."""
        session.execute(update(Run).where(Run.id == -1).values(lease_owner=""))
        session.commit()
        reached = time.monotonic()
        # Also after a sleep of this machine: what could not be seen cannot be judged, so the time begins anew.
        if reached - self._reached > max(_LONGEST_BREAK, settings().lease / 2):
            self._reached_since = reached
        self._reached = reached

    def _reap(self, session: Session) -> None:
        # Those who could not reach the database either get the time of one lease to come back.
        if time.monotonic() - self._reached_since < settings().lease:
            return
        at = db.now(session)
        for run in session.scalars(select(Run).where(Run.state == State.RUNNING, Run.lease_until < at)).all():
            take_for_lost(session, run)
        session.commit()

    def _ring(self, session: Session) -> None:
        """Ring again for queued runs that could begin and that nobody was told of."""
        patience = db.now(session) - timedelta(seconds=3)
        rows = session.scalars(select(Run).where(Run.state == State.QUEUED, Run.created_at < patience)
                               .order_by(Run.id)).all()
        busy = set(session.scalars(select(Run.lock).where(Run.state == State.RUNNING)).all())
        session.commit()
        for run in rows:
            try:
                if run.lock not in busy and not bell.is_rung(run.id):
                    bell.ring(run.id, is_low=run.gives_way)
            except RedisError:
                return
            busy.add(run.lock)

    def _clean(self, session: Session) -> None:
        if time.monotonic() - self._swept > _SWEEP_EVERY:
            scratch.sweep()
            self._swept = time.monotonic()
        if time.monotonic() - self._pruned > _PRUNE_EVERY or not self._pruned:
            prune(session)
            self._pruned = time.monotonic()


def take_for_lost(session: Session, run: Run) -> bool:
    """End what is left of a run on this machine, then mark it as lost, in words. False: it was not lost. COMMITS."""
    for path in scratch.of_run(run.id):
        scratch.remove(path)
    error, next_step = _words(session, run)
    if not claim.expire(session, run.id, run.lease_owner, error, next_step):
        session.rollback()
        return False
    _lose(session, run.id)
    session.refresh(run)
    drift.settled(session, run)
    session.commit()
    log.warning("Run %s is lost: its worker is gone.", run.id)
    bell.tell(run.id)
    ring_next(session, run.lock)
    return True


def _lose(session: Session, run_id: int) -> None:
    """Where it was going on nobody knows how it ended. Does not commit."""
    parts = session.scalars(select(RunServer).where(RunServer.run_id == run_id)).all()
    has_begun = any(one.state is not PartState.QUEUED for one in parts)
    for one in parts:
        if one.state is PartState.RUNNING or (one.state is PartState.QUEUED and not has_begun):
            one.state = PartState.LOST
        elif one.state is PartState.QUEUED:
            one.state = PartState.NOT_BEGUN


def _words(session: Session, run: Run) -> tuple[str, str]:
    step = session.scalar(select(Event.name).where(Event.run_id == run.id, Event.type == "task")
                          .order_by(Event.number.desc()).limit(1))
    where = f"during '{step}'" if step else "before the first step"
    return (f"The worker that did this run stopped {where}.",
            "Nobody knows how far that step came; it may still be going on there. Run it again: what is done already "
            "stays as it is.")


def lost_now(run_id: int) -> None:
    """For the process that saw a run's worker die: no need to wait for the lease."""
    with db.session() as session:
        run = session.get(Run, run_id)
        if run is not None and run.state is State.RUNNING:
            take_for_lost(session, run)
