"""Locks on a server: what shares apt, nginx or PostgreSQL waits here instead of failing there."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time

DIRECTORY = "/run/lock"


class Locked(Exception):
    """Somebody else held the lock for longer than we were ready to wait."""


@contextlib.contextmanager
def held(subject, timeout=600, directory=DIRECTORY):
    """Hold /run/lock/webops-<subject> for the body; raises Locked after `timeout` seconds of waiting."""
    path = os.path.join(directory, "webops-" + subject)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        _take(handle, subject, timeout)
        yield
    finally:
        os.close(handle)


def _take(handle, subject, timeout):
    until = time.monotonic() + timeout
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > until:
                raise Locked(
                    f"Another run has been working on {subject} on this server for {timeout} seconds."
                ) from None
            time.sleep(0.2)
