"""The worker: a small parent that keeps RQ workers running and looks after runs. `python -m panel.runs.worker`

SIGTERM once: take no new run, finish those that are going, end. SIGTERM again: stop those too (they fail with
words and can be run again).
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import time
from typing import Any

from redis import Redis
from rq import Worker
from rq.serializers import JSONSerializer

from panel.catalog import catalog
from panel.runs import bell, claim, drift, reaper, scratch, tree
from panel.runs import job as _preloaded  # imported before the fork, so that a run begins at once
from panel.settings import settings
from panel.store import db
from panel.store.models import Run

log = logging.getLogger("webops.worker")
_TICK = 1.0


class RunWorker(Worker):  # type: ignore[misc]  # rq comes without types
    """RQ's worker, deaf to commands from Redis, and quick to come back when Redis does."""

    max_connection_wait_time = 2.0

    def subscribe(self) -> None:
        """Nothing in Redis may stop a worker or kill a run; canceling goes through the row of the run."""

    def unsubscribe(self) -> None:
        pass


def work() -> None:
    """One RQ worker. Ends with its parent, after the run that is going."""
    tree.die_with_parent(int(os.environ["WEBOPS_WORKER_PARENT"]))
    # Read before the fork: every run then finds the code, the catalog and the keys in memory.
    assert _preloaded and catalog()
    redis = Redis.from_url(settings().redis, socket_connect_timeout=5)
    queues = [bell.queue(redis), bell.queue(redis, bell.LOW)]
    RunWorker(queues, connection=redis, serializer=JSONSerializer, job_class=bell.SafeJob,
              worker_ttl=60, job_monitoring_interval=10, maintenance_interval=60, log_job_description=False,
              work_horse_killed_handler=_horse_died).work(logging_level="WARNING")


def _horse_died(job: Any, pid: int, *_more: object) -> None:
    """The process of a run was killed: say so now and not when its lease runs out."""
    with db.session() as session:
        run = session.get(Run, int(job.id.removeprefix("run-")))
        if run is not None and run.lease_owner == claim.owner(pid):
            reaper.lost_now(run.id)


class Parent:
    """Keeps `settings.workers` RQ workers running until it is told to end."""

    def __init__(self) -> None:
        self._workers: list[subprocess.Popen[bytes]] = []
        self._reaper = reaper.Reaper()
        self._clock = drift.Clock()
        self._asked = 0
        self._told: set[int] = set()

    def run(self) -> None:
        signal.signal(signal.SIGTERM, self._ask)
        signal.signal(signal.SIGINT, self._ask)
        db.upgrade()
        scratch.sweep()
        while True:
            if self._asked:
                self._end_workers()
            self._workers = [one for one in self._workers if one.poll() is None]
            if self._asked and not self._workers:
                return
            while not self._asked and len(self._workers) < settings().workers:
                self._workers.append(self._start())
            self._reaper.look()
            self._clock.look()
            time.sleep(_TICK)

    def _ask(self, *_signal: object) -> None:
        self._asked += 1

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-m", "panel.runs.worker", "--one"],
                                env={**os.environ, "WEBOPS_WORKER_PARENT": str(os.getpid())}, start_new_session=True)

    def _end_workers(self) -> None:
        """Each worker is told once: RQ takes a second signal as "kill the run"."""
        told = {one.pid for one in self._workers} - self._told
        # A run's own process takes SIGTERM as "stop this run, in words"; its worker then has nothing to wait for.
        runs = {pid for one in self._workers for pid in tree.children(one.pid)} if self._asked > 1 else set()
        for pid in told | (runs - self._told):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        self._told |= told | runs


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    if "--one" in sys.argv[1:]:
        work()
    else:
        Parent().run()


if __name__ == "__main__":
    main()
