"""The processes of a run: found as descendants or by their mark, and ended to the last one.

Ansible's workers begin sessions of their own, so that no signal to a process group reaches them all.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PROC = Path("/proc")


def adopt_orphans() -> None:
    """Descendants whose parent dies become our children, and not those of process 1."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def die_with_parent(parent: int, sign: int = signal.SIGTERM) -> None:
    """Get `sign` when the parent dies, also when it has died already."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, sign, 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), sign)


def descendants(root: int | None = None) -> list[int]:
    """Processes below `root` (this one), zombies left out."""
    children: dict[int, list[int]] = {}
    for pid, parent, state in _processes():
        if state not in "ZX":
            children.setdefault(parent, []).append(pid)
    found, todo = [], [root or os.getpid()]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found


def children(parent: int) -> list[int]:
    """Direct children of a process."""
    return [pid for pid, above, state in _processes() if above == parent and state not in "ZX"]


def marked(home: Path) -> list[int]:
    """Processes that were started for the run whose private directory is `home`, wherever they hang in the tree."""
    mark = f"HOME={home}".encode()
    found = []
    for pid, _, state in _processes():
        with contextlib.suppress(OSError):
            if state not in "ZX" and mark in (_PROC / str(pid) / "environ").read_bytes().split(b"\0"):
                found.append(pid)
    return found


def end(find: Callable[[], Iterable[int]], grace: float = 5.0) -> bool:
    """SIGTERM to what `find` finds, SIGKILL to what is still there after `grace` seconds. False: something is left."""
    left = list(find())
    _send(left, signal.SIGTERM)
    limit = time.monotonic() + grace
    while left and time.monotonic() < limit:
        time.sleep(0.02)
        left = list(find())
    if not left:
        return True
    # What is killed may have started something in the same moment, so look again until nothing comes.
    for _ in range(100):
        left = list(find())
        if not left:
            return True
        _send(left, signal.SIGKILL)
        time.sleep(0.05)
    return False


def _send(pids: Iterable[int], sign: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, sign)


def _processes() -> Iterable[tuple[int, int, str]]:
    """(process, parent, state) of all processes."""
    for entry in os.listdir(_PROC):  # noqa: PTH208  called often: names are enough
        if not entry.isdigit():
            continue
        with contextlib.suppress(OSError):
            # The name in parentheses may itself hold spaces and parentheses.
            rest = (_PROC / entry / "stat").read_text().rpartition(")")[2].split()
            yield int(entry), int(rest[1]), rest[0]
