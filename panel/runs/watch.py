"""Looks after a run while it goes: renews its lease, hears that it shall stop, keeps its time-out."""

from __future__ import annotations

import enum
import logging
import threading
import time
from collections.abc import Callable

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from panel.runs import claim
from panel.settings import settings
from panel.store import db
from panel.store.models import Run

log = logging.getLogger("webops.runs")
_TICK = 0.5


class Stop(enum.StrEnum):
    """Why a run was stopped before its end."""

    CANCELED = "canceled"
    TIMEOUT = "timeout"
    #: The worker was told to end and not to wait.
    INTERRUPTED = "interrupted"
    #: This worker slept so long that it was taken for dead, and another run has begun meanwhile.
    FENCED = "fenced"


class Watch:
    """A thread beside a run, as a context. `stop` says why the run shall end."""

    def __init__(self, run_id: int, owner: str, timeout: int) -> None:
        self.stop: Stop | None = None
        self._on_stop: Callable[[], None] = lambda: None
        self._run_id, self._owner = run_id, owner
        # Monotonic: a clock that is set must not end a run, nor keep it.
        self._ends = time.monotonic() + timeout
        self._renewed = time.monotonic()
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._watch, name=f"watch of run {run_id}", daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_wrong: object) -> None:
        self._over.set()
        self._thread.join()

    def ask(self, why: Stop) -> None:
        """The run shall end; the first reason holds."""
        with self._lock:
            if self.stop is not None:
                return
            self.stop = why
            on_stop = self._on_stop
        on_stop()

    def call_on_stop(self, what: Callable[[], None]) -> None:
        """Call this when the run shall end; at once where that is decided already."""
        with self._lock:
            self._on_stop = what
            is_late = self.stop is not None
        if is_late:
            what()

    def _watch(self) -> None:
        while not self._over.wait(_TICK):
            if time.monotonic() > self._ends:
                self.ask(Stop.TIMEOUT)
            try:
                self._look()
            except (SQLAlchemyError, OSError) as wrong:
                # The database is away; so it is for the reaper, which then counts no time against us.
                log.warning("Run %s: its lease cannot be renewed now (%s).", self._run_id, type(wrong).__name__)

    def _look(self) -> None:
        with db.session() as session:
            if session.scalar(select(Run.cancel_asked_by).where(Run.id == self._run_id)):
                self.ask(Stop.CANCELED)
            if time.monotonic() - self._renewed >= settings().lease / 3:
                if not claim.renew(session, self._run_id, self._owner):
                    self.ask(Stop.FENCED)
                self._renewed = time.monotonic()
