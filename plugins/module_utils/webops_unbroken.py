"""What a module has begun it brings to its end, also when its run is ended meanwhile.

A cancel, a time-out or a worker that stops takes the connection away; Mitogen then sends SIGTERM to the Python at its
other end, in which no `finally` and no way back would run.
"""

from __future__ import annotations

import contextlib
import os
import signal

DUE = "/run/webops-due-"


@contextlib.contextmanager
def unbroken():
    """Hold SIGTERM back until the body is done. Yields whether it came, as a function: what only waits looks there.

    A terminal of sudo goes with the connection too: neither the body nor what it calls is to end of that.
    """
    came = []
    before = {
        signal.SIGTERM: signal.signal(signal.SIGTERM, lambda number, _frame: came.append(number)),
        signal.SIGHUP: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    }
    try:
        yield lambda: bool(came)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            os.kill(os.getpid(), signal.SIGTERM)


@contextlib.contextmanager
def until_felt(subject):
    """Files are replaced, then `subject` is told. A kill leaves a note, until a boot after which all is read anew."""
    with unbroken():
        with open(DUE + subject, "w"):
            pass
        try:
            yield
        finally:
            os.unlink(DUE + subject)


def is_due(subject):
    """Whether it was never told of files that were replaced; asked under the lock of `subject`."""
    return os.path.exists(DUE + subject)
