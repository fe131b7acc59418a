"""Every refusal of this package, each with a code for programs and words for people."""

from __future__ import annotations


class RunsError(Exception):
    """Something that was asked for cannot be done; `message` says why and what to do next."""

    code = "not_possible"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Unknown(RunsError):
    """There is no such thing (a kind, an action, a resource, a server)."""

    code = "unknown"


class NotReady(RunsError):
    """The server has not been made ready yet."""

    code = "server_not_ready"


class NoHostKey(RunsError):
    """Nobody has accepted the server's host key yet, or it changed."""

    code = "host_key_not_accepted"


class WrongFingerprint(RunsError):
    """The fingerprint that was accepted is not the one that the server shows."""

    code = "wrong_fingerprint"


class NameTaken(RunsError):
    """The name belongs to something else; names are unique per installation."""

    code = "name_taken"


class DomainTaken(RunsError):
    """Another resource serves this domain."""

    code = "domain_taken"


class PartOfAnother(RunsError):
    """The resource is a part; its parent decides about it."""

    code = "part_of_another"


class ServerInUse(RunsError):
    """The server still has resources or runs."""

    code = "server_in_use"


class AlreadyOver(RunsError):
    """The run has ended, so there is nothing to cancel."""

    code = "run_over"


class TimeoutNotPossible(RunsError):
    """A time-out outside of what is allowed."""

    code = "invalid_timeout"


class PlanMoved(RunsError):
    """Something that the plan rests on is not as it was; `message` names it."""

    code = "plan_moved"


class PlanNotReady(RunsError):
    """The plan cannot be applied: it is still being made, it failed, it was applied, it is too old."""

    code = "plan_not_ready"


class MigrationsUnconfirmed(RunsError):
    """The plan holds migrations that take something away, and nobody has said that they may."""

    code = "migrations_unconfirmed"


class NotApplied(RunsError):
    """Nobody can say what should be on the server, so nobody can say whether it drifted."""

    code = "not_applied"


class GroupInUse(RunsError):
    """Something lives on the group, or on a server of it that shall leave."""

    code = "group_in_use"


class NothingToRetry(RunsError):
    """The run succeeded everywhere, or has not ended yet."""

    code = "nothing_to_retry"
