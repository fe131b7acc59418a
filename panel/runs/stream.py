"""Live events. The database is the truth; Redis only says when to look, and looking once serves all readers."""

from __future__ import annotations

import os
import threading
import time
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from functools import cache

from redis.exceptions import RedisError
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from panel.runs import bell
from panel.store import db
from panel.store.models import Event, Run

_PAGE = 500
_PING = 15.0
#: How often to look where no bell rings: Redis may be away, and a bell may be lost.
_POLL = 1.0
#: Events of a run that are kept for all its readers; who is further behind reads for himself.
_SHARED = 2_000


def follow(run_id: int, after: int = 0) -> Iterator[Event | None]:
    """The events of a run with numbers above `after`: each once, in order, as they come.

    None when nothing came for 15 s: a moment to see whether anybody still listens. Ends when the run has ended and
    everything was given. Close it (or drop it) to stop. Holds no session and no connection while it waits.
    """
    hub = _hub(os.getpid())
    reel = hub.join(run_id)
    try:
        after = min(after, _last(run_id))
        quiet_since = time.monotonic()
        while True:
            rows, is_over = reel.after(after)
            for row in rows:
                after = row.number
                yield row
            if rows:
                quiet_since = time.monotonic()
            elif is_over:
                return
            elif not reel.wait(after, _PING - (time.monotonic() - quiet_since)):
                quiet_since = time.monotonic()
                yield None
    finally:
        hub.leave(reel)


class Reel:
    """What a process knows of one run, for all who follow it."""

    def __init__(self, run_id: int) -> None:
        self.run_id = run_id
        self.readers = 0
        self._shared: deque[Event] = deque(maxlen=_SHARED)
        #: Everything up to here was read from the database; None: nothing yet.
        self._read_to: int | None = None
        self._is_over = False
        self._changed = threading.Condition()

    def after(self, number: int) -> tuple[list[Event], bool]:
        """Events above `number` (not all of them at once), and whether none will come after these."""
        with self._changed:
            known, over = self._read_to, self._is_over
            if known is not None and number >= known:
                return [], over
            first = self._shared[0].number if self._shared else None
            if known is not None and first is not None and first <= number + 1:
                return list(self._shared)[bisect_right(self._shared, number, key=lambda one: one.number):], False
        rows = _read(self.run_id, number)
        if not rows:
            # Nothing above `number`: have the shared view begin here, so that all go on from the same place.
            self.look(number)
            with self._changed:
                return [], self._is_over and (self._read_to or 0) <= number
        return rows, False

    def look(self, start: int | None = None) -> None:
        """Read what is new, once for all readers."""
        with self._changed:
            if self._read_to is None and start is None:
                return
            begin = self._read_to if self._read_to is not None else start
        assert begin is not None
        while True:
            with db.session() as session:
                # The end is read before the events: what was stored before the end is then among them.
                run = session.execute(select(Run.state, Run.last_event).where(Run.id == self.run_id)).first()
            rows = _read(self.run_id, begin)
            self._keep(begin, rows, is_over=run is None or (not run.state.is_active and len(rows) < _PAGE))
            if len(rows) < _PAGE:
                return
            begin = rows[-1].number

    def _keep(self, begin: int, rows: list[Event], is_over: bool) -> None:
        with self._changed:
            if self._read_to is None:
                self._read_to = begin
            fresh = [row for row in rows if row.number > self._read_to]
            if fresh or is_over:
                self._shared.extend(fresh)
                self._read_to = fresh[-1].number if fresh else self._read_to
                self._is_over = is_over
                self._changed.notify_all()

    def wait(self, after: int, seconds: float) -> bool:
        """Wait for something above `after`, or the end. False: nothing came in that time."""
        with self._changed:
            return self._changed.wait_for(lambda: self._is_over or (self._read_to or 0) > after, max(seconds, 0))


class Hub:
    """One thread per process that hears the bells and looks for all readers."""

    def __init__(self) -> None:
        self._reels: dict[int, Reel] = {}
        self._lock = threading.Lock()
        self._wanted = threading.Event()
        threading.Thread(target=self._listen, name="bells", daemon=True).start()

    def join(self, run_id: int) -> Reel:
        with self._lock:
            reel = self._reels.setdefault(run_id, Reel(run_id))
            reel.readers += 1
            self._wanted.set()
            return reel

    def leave(self, reel: Reel) -> None:
        with self._lock:
            reel.readers -= 1
            if reel.readers == 0 and self._reels.get(reel.run_id) is reel:
                del self._reels[reel.run_id]
            if not self._reels:
                self._wanted.clear()

    def _listen(self) -> None:
        while True:
            self._wanted.wait()
            try:
                self._hear()
            except RedisError:
                self._look(list(self._reels))
                time.sleep(_POLL)

    def _hear(self) -> None:
        """While anybody follows: look where a bell rings, and everywhere once a second."""
        polled = 0.0
        with bell.connection().pubsub(ignore_subscribe_messages=True) as heard:  # type: ignore[no-untyped-call]
            heard.psubscribe("webops:run:*")
            while self._wanted.is_set():
                rung = _run_of(heard.get_message(timeout=_POLL))
                if time.monotonic() - polled >= _POLL:
                    polled = time.monotonic()
                    self._look(list(self._reels))
                elif rung is not None:
                    self._look([rung])

    def _look(self, runs: list[int]) -> None:
        for run_id in runs:
            reel = self._reels.get(run_id)
            if reel is not None:
                try:
                    reel.look()
                except (SQLAlchemyError, OSError):
                    return  # away for now; everybody waits, nobody loses anything


@cache
def _hub(_pid: int) -> Hub:
    """One per process: a thread does not survive a fork."""
    return Hub()


def _run_of(message: dict[str, object] | None) -> int | None:
    name = message["channel"] if message else b""
    tail = name.rpartition(b":")[2] if isinstance(name, bytes) else b""
    return int(tail) if tail.isdigit() else None


def _last(run_id: int) -> int:
    with db.session() as session:
        return session.scalar(select(Run.last_event).where(Run.id == run_id)) or 0


def _read(run_id: int, after: int) -> list[Event]:
    with db.session() as session:
        return list(session.scalars(select(Event).where(Event.run_id == run_id, Event.number > after)
                                    .order_by(Event.number).limit(_PAGE)))
