"""The doorbell: RQ jobs that carry the id of a run and nothing else, and the bells that wake readers."""

from __future__ import annotations

import os
from functools import cache
from typing import Any

from redis import Redis
from redis.exceptions import RedisError
from rq import Queue
from rq.job import Job
from rq.serializers import JSONSerializer

from panel.link import wire
from panel.settings import settings

QUEUE = "webops"
#: Of runs that nobody waits for: a worker looks here when the other queue is empty.
LOW = "webops-low"
#: The only function that a job may name.
EXECUTE = "panel.runs.job.execute"


class SafeJob(Job):  # type: ignore[misc]  # rq comes without types
    """A job that can name our one function only: who can write to Redis must not be able to choose code to run."""

    @property
    def func(self) -> Any:
        if self.func_name != EXECUTE or self._instance is not None:
            raise PermissionError(f"Redis asked for the function {self.func_name!r}; only {EXECUTE} may be run.")
        return super().func

    @property
    def success_callback(self) -> None:
        return None

    @property
    def failure_callback(self) -> None:
        return None

    @property
    def stopped_callback(self) -> None:
        return None


@cache
def _connection(_pid: int, url: str) -> Redis:
    return Redis.from_url(url, socket_timeout=5, socket_connect_timeout=2, health_check_interval=30)


def connection() -> Redis:
    """A connection pool of this process."""
    return _connection(os.getpid(), settings().redis)


def queue(redis: Redis | None = None, name: str = QUEUE) -> Queue:
    return Queue(name, connection=redis or connection(), serializer=JSONSerializer, job_class=SafeJob)


def job_id(run_id: int) -> str:
    return f"run-{run_id}"


def channel(run_id: int) -> str:
    return f"webops:run:{run_id}"


def ring(run_id: int, is_low: bool = False) -> bool:
    """Ask a worker to look at a run; `is_low`: after all others. False: Redis is away; the reaper rings again then.

    Ringing twice is harmless: whoever comes second finds the run claimed.
    """
    try:
        queue(name=LOW if is_low else QUEUE).enqueue(
            EXECUTE, run_id, job_id=job_id(run_id), job_timeout=-1, result_ttl=0, failure_ttl=3600,
            description=f"run {run_id}")
    except RedisError:
        return False
    return True


def is_rung(run_id: int) -> bool:
    """Whether a worker will look at the run without being rung again. RedisError: Redis is away."""
    return any(connection().lpos(queue(name=name).key, job_id(run_id)) is not None for name in (QUEUE, LOW))


def look(server_id: int) -> None:
    """Ask the link to look at a server now: something was done there. A lost bell costs a few seconds."""
    try:
        connection().publish(f"{wire.OBSERVE}{server_id}", "")
    except RedisError:
        return


def tell(run_id: int) -> None:
    """Wake those who watch a run. A lost bell costs them a second, never an event."""
    try:
        connection().publish(channel(run_id), "")
    except RedisError:
        return
