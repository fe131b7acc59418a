"""Starting programs so that none of them outlives the link, not even when it is killed."""

from __future__ import annotations

import asyncio
import os
import shutil
from asyncio.subprocess import PIPE, Process

#: A line longer than this is not what our own program on a server writes.
LONGEST_LINE = 4 * 1024 * 1024


async def start(*argv: str, variables: dict[str, str] | None = None) -> Process:
    """Start `argv` with pipes and a bare environment. OSError: it cannot be started."""
    environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8", **(variables or {})}
    return await asyncio.create_subprocess_exec(
        *_bound(list(argv)), stdin=PIPE, stdout=PIPE, stderr=PIPE, limit=LONGEST_LINE, env=environment,
        # Ctrl+C in a terminal is for the link, which then ends its children in order.
        start_new_session=True)


def _bound(argv: list[str]) -> list[str]:
    """The kernel ends the child when we die. (ssh-agent is set-group-ID, which would undo that: hence no new
    privileges, which it does not need: it forbids being traced by other means, too.)"""
    if not shutil.which("setpriv"):
        return argv
    return ["setpriv", "--pdeathsig", "TERM", "--no-new-privs", "--", *argv]


async def run(*argv: str, given: bytes = b"", timeout: float, variables: dict[str, str] | None = None,
              ) -> tuple[int, str, str]:
    """Exit code, output and errors of a short program. TimeoutError: it took too long (and was ended)."""
    child = await start(*argv, variables=variables)
    try:
        async with asyncio.timeout(timeout):
            output, errors = await child.communicate(given)
    finally:
        await end(child)
    return child.returncode or 0, output.decode(errors="replace"), errors.decode(errors="replace")


async def end(child: Process) -> None:
    """End a program: asked first, then made to."""
    for signal in (child.terminate, child.kill):
        if child.returncode is not None:
            return
        try:
            signal()
            async with asyncio.timeout(1):
                await child.wait()
        except (ProcessLookupError, TimeoutError):
            continue
