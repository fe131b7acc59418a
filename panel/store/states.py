"""How things are: the words that rows keep for it."""

from __future__ import annotations

import enum


class State(enum.StrEnum):
    """Of a run."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    LOST = "lost"

    @property
    def is_active(self) -> bool:
        return self in (State.QUEUED, State.RUNNING)


class PartState(enum.StrEnum):
    """Of a server's part in a run."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    UNREACHABLE = "unreachable"
    #: It was well, and ended in the middle because another server failed.
    STOPPED = "stopped"
    CANCELED = "canceled"
    LOST = "lost"
    #: The run ended before its turn came.
    NOT_BEGUN = "not_begun"


class Mode(enum.StrEnum):
    APPLY = "apply"
    CHECK = "check"


class Observed(enum.StrEnum):
    """What the link saw of a resource or a server, never what somebody hoped."""

    OK = "ok"
    STOPPED = "stopped"
    FAILED = "failed"
    MISSING = "missing"
    UNKNOWN = "unknown"
