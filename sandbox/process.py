"""Processes that a sandbox starts: found again by a mark in their environment, so that none is ever lost.

A pid file can be late, stale or gone. The mark is set before the program starts and lives exactly as long as it does.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from sandbox import host
from sandbox.errors import SandboxError
from sandbox.place import Place

MARK = "WEBOPS_SANDBOX_OWNED"


def start(place: Place, role: str, argv: Sequence[str], log: Path, env: Mapping[str, str] | None = None,
          cwd: Path | None = None) -> int:
    """Start a program in a session of its own, marked as this sandbox's `role`; returns its process id."""
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = {**(os.environ if env is None else env), MARK: f"{place.state}:{role}", "PATH": host.path()}
    with log.open("ab") as output:
        return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                                env=environment, cwd=cwd, start_new_session=True).pid


def marked(place: Place, role: str | None = None) -> list[int]:
    """Living processes of this sandbox, of one role or of all, oldest first."""
    wanted = f"{MARK}={place.state}:".encode() + (b"" if role is None else role.encode())
    pids = [int(entry.name) for entry in Path("/proc").glob("[0-9]*")]
    return sorted(pid for pid in pids if any(
        mark == wanted or (role is None and mark.startswith(wanted)) for mark in environment(pid)))


def environment(pid: int) -> list[bytes]:
    """A process's environment as it was started with; empty for one that is gone.

    While a process replaces its program, its environment reads empty for a moment.
    """
    for _ in range(8):
        try:
            if found := Path(f"/proc/{pid}/environ").read_bytes():
                return found.split(b"\0")
            Path(f"/proc/{pid}/exe").readlink()  # kernel threads and the dead have none
        except OSError:
            return []
        time.sleep(0.002)
    return []


def find(place: Place, role: str) -> int | None:
    """The process that was started as `role` (the leader of its session), or None where it does not run."""
    return next((pid for pid in marked(place, role) if leads(pid)), None)


def leads(pid: int) -> bool:
    try:
        return os.getsid(pid) == pid
    except OSError:
        return False


def stop(place: Place, role: str | None = None, patience: float = 5.0) -> None:
    """End the processes of a role (or all) and wait until they are gone: first politely, then by force.

    Raises SandboxError where one survives even that.
    """
    for number, seconds in ((signal.SIGTERM, patience), (signal.SIGKILL, 5.0)):
        for pid in marked(place, role):
            send(pid, number)
        if wait_gone(place, role, seconds):
            return
    raise SandboxError(f"Processes {marked(place, role)} cannot be stopped; see what they wait for in /proc/PID/stack.")


def send(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def wait_gone(place: Place, role: str | None, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while pids := marked(place, role):
        for pid in pids:
            reap(pid)
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def reap(pid: int) -> None:
    """Collect a child that has ended; processes of another parent are not ours to collect."""
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
