"""The private directory of a run: made fresh, taken away with the run, swept up where a worker died."""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import select

from panel.runs import tree
from panel.settings import settings
from panel.store import db
from panel.store.models import Run, State


@contextmanager
def private_directory(run_id: int) -> Iterator[Path]:
    """A fresh directory that only we can read. At the end neither it nor a process that was started for it is left."""
    path = Path(tempfile.mkdtemp(prefix=f"{_prefix()}{run_id}-", dir=settings().scratch))
    try:
        yield path
    finally:
        remove(path)


def remove(path: Path) -> None:
    """End what was started for a directory, then take it away."""
    tree.end(lambda: tree.marked(path), grace=2)
    shutil.rmtree(path, ignore_errors=True)


def of_run(run_id: int) -> list[Path]:
    """Directories of a run on this machine."""
    return sorted(settings().scratch.glob(f"{_prefix()}{run_id}-*"))


def sweep() -> list[Path]:
    """Take away the directories of runs that are over; returns what was found. For the start of a worker, and after."""
    swept = []
    for path in settings().scratch.glob(f"{_prefix()}*"):
        found = re.fullmatch(rf"{_prefix()}(\d+)-\w+", path.name)
        if found and not _is_running(int(found.group(1))):
            remove(path)
            swept.append(path)
    return swept


def _is_running(run_id: int) -> bool:
    with db.session() as session:
        return session.scalar(select(Run.state).where(Run.id == run_id)) is State.RUNNING


def _prefix() -> str:
    """Several installations may share a machine: each finds only its own."""
    return f"webops-{hashlib.sha256(settings().database.encode()).hexdigest()[:8]}-"
