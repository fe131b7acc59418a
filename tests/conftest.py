"""What every test may ask for."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

# bin/test starts pytest in the background, where a shell lets Ctrl-C be ignored; what tests start must hear it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Tests commit to repositories of their own; a bare machine knows nobody to commit as.
for _role in ("AUTHOR", "COMMITTER"):
    os.environ.setdefault(f"GIT_{_role}_NAME", "Ada")
    os.environ.setdefault(f"GIT_{_role}_EMAIL", "ada@example.org")


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An installation of its own in an empty folder: nothing is shared with other tests."""
    from panel.settings import settings
    from panel.store import db, seal

    def forget() -> None:
        if db.engine.cache_info().currsize:
            db.engine().dispose()
        for cached in (settings, db.engine, db._sessions, seal._fernet):
            cached.cache_clear()

    forget()
    folder = tmp_path / "state"
    monkeypatch.setenv("WEBOPS_STATE", str(folder))
    yield folder
    forget()


@pytest.fixture
def database(state: Path) -> Path:
    """The same, with its tables."""
    from panel.store import db

    db.upgrade()
    return state
