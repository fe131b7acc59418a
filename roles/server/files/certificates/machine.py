# webops
"""How this program touches the machine: files written whole, links, locks, other programs."""

import contextlib
import fcntl
import os
import subprocess
from pathlib import Path


class Refused(Exception):
    """What was asked is not done: why, what to do next, and the last lines of whoever said no."""

    def __init__(self, message, then="", journal=()):
        super().__init__(message)
        self.next, self.journal = then, list(journal)


def run(argv, **options):
    return subprocess.run(argv, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, **options)


def telling(ended):
    lines = [line.strip() for line in (ended.stdout + ended.stderr).splitlines() if line.strip()]
    noise = ("Saving debug log", "Ask for help", "See the logfile")
    return [line for line in lines if not line.startswith(noise)][-15:]


def write(path, text, mode):
    new = path.with_name(f".{path.name}.{os.getpid()}")
    with open(new, "w", opener=lambda name, flags: os.open(name, flags | os.O_EXCL, mode)) as file:
        os.fchmod(file.fileno(), mode)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.rename(path)


def symlink(target, path):
    new = path.with_name(f".{path.name}.{os.getpid()}")
    new.unlink(missing_ok=True)
    new.symlink_to(target)
    new.rename(path)


@contextlib.contextmanager
def lock(subject):
    with Path(f"/run/lock/webops-{subject}").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
