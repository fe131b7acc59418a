"""The connection to the database: one engine per process, transactions, database time, migrations."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.orm import Session, sessionmaker

from panel.settings import settings

_MIGRATIONS = Path(__file__).parent / "migrations"
#: Seconds that a statement waits for SQLite's one writer before it gives up.
_BUSY_SECONDS = 30
_SQLITE_NOW = "SELECT strftime('%Y-%m-%d %H:%M:%f', 'now')"


@cache
def engine() -> Engine:
    """The engine of this process, made at first use; a forked child gets connections of its own."""
    url = settings().database
    if not url.startswith("sqlite"):
        return create_engine(url, pool_pre_ping=True)
    settings().state.mkdir(parents=True, exist_ok=True, mode=0o700)
    made = create_engine(url, connect_args={"timeout": _BUSY_SECONDS})
    event.listen(made, "connect", _prepare_sqlite)
    event.listen(made, "begin", _begin_reading)
    event.listen(made, "before_cursor_execute", _begin_writing)
    return made


def _forget_connections() -> None:
    """A connection must not be used on both sides of a fork."""
    if engine.cache_info().currsize:
        engine().dispose(close=False)


os.register_at_fork(after_in_child=_forget_connections)


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # BEGIN is ours, below
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"busy_timeout={_BUSY_SECONDS * 1000}"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_reading(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")
    connection.info["writing"] = False


def _begin_writing(connection: Connection, cursor: Any, statement: str, *_more: object) -> None:
    """The first write of a transaction takes SQLite's write lock before it looks at anything.

    A reading transaction cannot always become a writing one (SQLite then says "locked" at once). So the reading
    one ends here and a writing one begins: the same view of the world as PostgreSQL's READ COMMITTED.
    """
    verb = statement.lstrip()[:6].upper()
    if verb in ("SELECT", "PRAGMA", "BEGIN") or connection.info.get("writing", True):
        return
    cursor.execute("COMMIT")
    cursor.execute("BEGIN IMMEDIATE")
    connection.info["writing"] = True


@cache
def _sessions(_engine: Engine) -> sessionmaker[Session]:
    return sessionmaker(_engine, expire_on_commit=False)


def session() -> Session:
    """A session, to be used as `with session() as s:`. What is not committed is rolled back at its end.

    Rows stay readable after a commit and after the session's end. A row read before the first write of a
    transaction may have been changed by somebody else since: compare and set, or rely on a constraint.
    """
    return _sessions(engine())()


def now(session: Session) -> datetime:
    """The database's time, aware and in UTC: the one clock that all machines share."""
    if session.get_bind().dialect.name == "sqlite":
        return datetime.fromisoformat(session.execute(text(_SQLITE_NOW)).scalar_one()).replace(tzinfo=UTC)
    told: datetime = session.execute(text("SELECT clock_timestamp()")).scalar_one()
    return told.astimezone(UTC)


def upgrade() -> None:
    """Bring the tables to the newest revision. Safe to be called by several processes at once."""
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    with _one_at_a_time(), engine().connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.commit()


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    if engine().dialect.name == "sqlite":
        settings().state.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (settings().state / "upgrade.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
        return
    with engine().connect() as connection:
        # Any number that nobody else uses. The connection goes back to its pool and not away, so free it by hand.
        connection.execute(text("SELECT pg_advisory_lock(7293011)"))
        try:
            yield
        finally:
            connection.execute(text("SELECT pg_advisory_unlock(7293011)"))
