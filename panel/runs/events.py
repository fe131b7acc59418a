"""Keeps the events of one run: masked, cut, numbered without gaps, stored in batches; then rings the bell."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import deque
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from panel.runs import bell
from panel.runs.outcome import Outcome
from panel.runs.redact import Cutter, Redactor
from panel.runs.translate import Row, note
from panel.store import db
from panel.store.models import Event, Run, RunServer

log = logging.getLogger("webops.runs")
_BATCH_ROWS = 200
_BATCH_SECONDS = 0.1
#: Rows and bytes that wait in memory while the database is away; then Ansible is made to wait.
_MOST_WAITING, _MOST_WAITING_BYTES = 5_000, 32 << 20
#: A run that says more than this is not kept in full.
MOST_EVENTS, MOST_BYTES = 200_000, 50_000_000
#: What is kept even then.
_ALWAYS = ("failed", "unreachable", "stats", "note")
_ALWAYS_MOST = 1_000


class Recorder:
    """The one writer of a run's events.

    `add` never raises and never loses: while the database is away it keeps rows in memory, and blocks when that is
    full. `close` returns when everything is stored. `outcome` is what the rows so far came to.
    """

    def __init__(self, run_id: int, redactor: Redactor, skew: timedelta = timedelta(0), last: int = 0) -> None:
        """`skew`: database time minus this machine's; `last`: number of the last event that is stored already."""
        self.outcome = Outcome()
        self.last = last
        self._run_id, self._redactor, self._skew = run_id, redactor, skew
        self._bytes = self._waiting_bytes = self._beyond = 0
        self._waiting: deque[tuple[dict[str, Any], int]] = deque()
        self._changed = threading.Condition()
        self._closed = threading.Event()
        self._writer = threading.Thread(target=self._write, name=f"events of run {run_id}", daemon=True)
        self._writer.start()

    def add(self, row: Row) -> None:
        """Called once per event of Ansible: keep, cut, mask, number, and nothing else."""
        for kept in self._kept(row):
            size = len(json.dumps(kept["data"]))
            with self._changed:
                while len(self._waiting) >= _MOST_WAITING or self._waiting_bytes > _MOST_WAITING_BYTES:
                    self._changed.wait(1)
                self.last += 1
                self._bytes += size
                self._waiting_bytes += size
                self._waiting.append(({**kept, "run_id": self._run_id, "number": self.last}, size))
                self._changed.notify_all()

    def mask(self, redactor: Redactor) -> None:
        """From now on these secrets are masked."""
        self._redactor = redactor

    def output(self, text: str) -> None:
        """What was said outside of Ansible."""
        self.add({**note(""), "type": "output", "data": {"stdout": text, "level": "error"}})

    def note(self, text: str) -> None:
        """A remark of our own among the events."""
        self.add(note(text))

    def close(self) -> None:
        """Wait until every event is stored."""
        with self._changed:
            self._closed.set()
            self._changed.notify_all()
        self._writer.join()

    def _kept(self, row: Row) -> Iterable[dict[str, Any]]:
        over = self.last >= MOST_EVENTS or self._bytes >= MOST_BYTES
        if over:
            self._beyond += 1
            if self._beyond == 1:
                yield self._prepared(note(f"This run says very much. From here on only failures are kept "
                                          f"(after {self.last:,} events, {self._bytes / 1e6:.0f} MB)."))
        if not over or (row["type"] in _ALWAYS and self._beyond <= _ALWAYS_MOST):
            yield self._prepared(row)
        else:
            self.outcome.add({**row, "data": {}} if row["type"] == "output" else row)

    def _prepared(self, row: Row) -> dict[str, Any]:
        data = dict(row["data"])
        found = data.pop("webops_found", None)
        if isinstance(found, dict):
            # Full of secrets that nobody knows yet, so that none could be masked: it is sealed as a whole.
            self.outcome.found[str(row["host"])] = found
        facts = data.pop("webops_facts", None)
        if isinstance(facts, dict):
            self.outcome.facts[row["host"]] = Cutter().value(self._redactor.value(facts))
        cutter = Cutter()
        data = cutter.value(self._redactor.value(data))
        if cutter.left_out:
            data["cut"] = cutter.left_out
        name = Cutter().value(self._redactor.text(str(row["name"])))
        kept = {**row, "name": name, "data": data, "role": str(row["role"])[:64], "host": str(row["host"])[:140],
                "at": _moment(row["at"]) + self._skew}
        self.outcome.add(kept)
        return kept

    def _write(self) -> None:
        pause = 0.5
        batch: list[dict[str, Any]] = []
        while batch or self._wait():
            batch = batch or self._take()
            try:
                store(self._run_id, batch, self.outcome)
            except (SQLAlchemyError, OSError) as wrong:
                # The same rows again until it is back; rows that were stored after all are skipped by their number.
                log.warning("Run %s: its events cannot be stored (%s); trying again in %.1f s.",
                            self._run_id, type(wrong).__name__, pause)
                time.sleep(pause)
                pause = min(pause * 2, 5)
                continue
            batch, pause = [], 0.5
            bell.tell(self._run_id)
            self._closed.wait(_BATCH_SECONDS)  # more will come, but nothing after the end

    def _wait(self) -> bool:
        with self._changed:
            while not self._waiting and not self._closed.is_set():
                self._changed.wait()
            return bool(self._waiting)

    def _take(self) -> list[dict[str, Any]]:
        with self._changed:
            taken = [self._waiting.popleft() for _ in range(min(len(self._waiting), _BATCH_ROWS))]
            self._waiting_bytes -= sum(size for _, size in taken)
            self._changed.notify_all()
        return [row for row, _ in taken]


def store(run_id: int, rows: list[dict[str, Any]], outcome: Outcome) -> None:
    """Store rows that have numbers, in one transaction; what is there already stays as it is."""
    with db.session() as session:
        insert(session, rows)
        session.execute(update(Run).where(Run.id == run_id, Run.last_event < rows[-1]["number"]).values(
            last_event=rows[-1]["number"]))
        for host, counts in list(outcome.hosts.items()):
            session.execute(update(RunServer).where(RunServer.run_id == run_id, RunServer.host == host).values(
                ok=counts.ok, changed=counts.changed, failed=counts.failed + counts.unreachable,
                skipped=counts.skipped, state=outcome.progress.now(host)))
        session.commit()


def insert(session: Session, rows: list[dict[str, Any]]) -> None:
    """The rows, each number once. Does not commit."""
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    session.execute(dialect.insert(Event).on_conflict_do_nothing(index_elements=["run_id", "number"]), rows)


def _moment(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return datetime.now(UTC)
    return at if at.tzinfo else at.replace(tzinfo=UTC)
