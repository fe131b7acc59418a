"""Ends what a broken-off test run left: every process that carries its mark. `python -m tests.leftovers`

The mark is WEBOPS_SANDBOX_STATE, which bin/test sets anew for each run and every process of it inherits.
"""

import contextlib
import os
import signal
import time
from pathlib import Path


def marked(mark: str) -> list[int]:
    """Processes other than this one and its parents whose environment holds the mark."""
    mine = {os.getpid(), os.getppid()}
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark.encode() in (folder / "environ").read_bytes() and int(folder.name) not in mine:
                found.append(int(folder.name))
    return found


def end(mark: str, patience: float = 10) -> None:
    """SIGTERM, and SIGKILL for what is still there after `patience` seconds."""
    until = time.monotonic() + patience
    for one in (signal.SIGTERM, signal.SIGKILL):
        for pid in marked(mark):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, one)
        while marked(mark) and time.monotonic() < until:
            time.sleep(0.1)


if __name__ == "__main__":
    end(f"WEBOPS_SANDBOX_STATE={os.environ['WEBOPS_SANDBOX_STATE']}")
