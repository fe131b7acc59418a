"""A private directory for as long as the link runs: what OpenSSH wants as files (public keys, pinned host keys,
sockets). Never a private key."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PREFIX = "webops-link-"


@contextmanager
def scratch(below: Path) -> Iterator[Path]:
    """A fresh directory, 0700, gone afterwards; what links that were killed left behind goes first."""
    sweep(below)
    place = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=below))
    # Held open and locked until we end, however we end: that is how a sweep knows that somebody lives here.
    lock = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)
        os.close(lock)


def sweep(below: Path) -> None:
    """Remove the directories of links that are no more."""
    for left in below.glob(f"{_PREFIX}*"):
        if left.is_symlink() or not left.is_dir() or left.stat().st_uid != os.getuid():
            continue
        lock = os.open(left, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left, ignore_errors=True)
        except BlockingIOError:
            continue
        finally:
            os.close(lock)
