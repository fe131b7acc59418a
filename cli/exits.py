"""How a command ends: the exit codes, and the one exception that carries one."""

from __future__ import annotations

import enum
from typing import IO, Any

import click


class Exit(enum.IntEnum):
    """Exit codes of `webops`. 0 only when what was asked for is done; docs/cli.md lists them."""

    OK = 0
    #: The run (or what was asked of this machine) failed.
    FAILED = 1
    #: The command line was not understood.
    USAGE = 2
    #: Values, a name or a state were refused: nothing was started.
    REFUSED = 3
    #: Somebody canceled the run.
    CANCELED = 4
    #: The worker of the run died; what it did is not known.
    LOST = 5
    #: The panel does not answer, or answers with an error of its own.
    UNREACHABLE = 6
    #: Not signed in, or the token was withdrawn.
    SIGNED_OUT = 7
    #: Nothing went wrong, and something would change: a plan (--detailed-exitcode), drift (--check).
    CHANGES = 8
    #: Ctrl-C: a run that was being followed goes on.
    INTERRUPTED = 130


#: State of a run -> how the command that followed it ends.
OF_STATE = {
    "succeeded": Exit.OK, "failed": Exit.FAILED, "canceled": Exit.CANCELED, "lost": Exit.LOST,
    "queued": Exit.OK, "running": Exit.OK,
}


class Stop(click.ClickException):
    """Ends the command with words for a person: what happened, then what to do next.

    `problems` are (field, message) pairs of refused values; `code` is the panel's code for programs.
    """

    exit_code: int = Exit.FAILED  # type: ignore[misc]  # click reads it from the instance, too

    def __init__(self, message: str, exit_code: int = Exit.FAILED, *, next_step: str = "", code: str = "",
                 problems: list[tuple[str, str]] | None = None) -> None:
        super().__init__(message)
        self.exit_code = int(exit_code)
        self.next_step = next_step
        self.code = code
        self.problems = problems or []

    def show(self, file: IO[Any] | None = None) -> None:
        click.secho(self.message, fg="red", err=True)
        for field, message in self.problems:
            click.echo(f"  {field}: {message}", err=True)
        if self.next_step:
            click.echo(f"Next: {self.next_step}", err=True)
