"""The database: time, transactions, migrations."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import select, text

from panel.store import db
from panel.store.models import Base, User


def test_the_migrations_make_exactly_the_tables_of_the_models(database):
    with db.engine().connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": False})
        difference = compare_metadata(context, Base.metadata)
    assert not difference, f"a revision is missing in panel/store/migrations for: {difference}"


def test_several_processes_can_bring_the_tables_up_to_date_at_once(database):
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: db.upgrade(), range(4))) == [None] * 4


def test_moments_come_back_aware_and_in_utc(database):
    with db.session() as s:
        s.add(User(name="ada", password_hash="x"))
        s.commit()
    with db.session() as s:
        created = s.scalars(select(User)).one().created_at
        assert created.tzinfo is UTC
        assert abs(db.now(s) - datetime.now(UTC)) < timedelta(seconds=5)
        assert db.now(s) - created < timedelta(seconds=10)


def test_what_is_not_committed_is_not_kept(database):
    with db.session() as s:
        s.add(User(name="ada", password_hash="x"))
        s.flush()
    with db.session() as s:
        assert s.scalars(select(User)).all() == []


def test_readers_that_become_writers_do_not_see_a_locked_database(database):
    """Each reads first and then writes, at the same time: plain SQLite transactions fail here at once."""
    with db.session() as s:
        s.execute(text("CREATE TABLE counter (n INTEGER)"))
        s.execute(text("INSERT INTO counter VALUES (0)"))
        s.commit()
    start = threading.Barrier(6)

    def work(_):
        start.wait()
        for _ in range(20):
            with db.session() as s:
                s.execute(text("SELECT n FROM counter")).scalar_one()
                s.execute(text("UPDATE counter SET n = n + 1"))
                s.commit()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    with db.session() as s:
        assert s.execute(text("SELECT n FROM counter")).scalar_one() == 120


@pytest.mark.parametrize("pragma,value", [("journal_mode", "wal"), ("foreign_keys", 1), ("synchronous", 2)])
def test_sqlite_is_set_up_for_many_readers_and_one_writer(database, pragma, value):
    with db.session() as s:
        assert s.execute(text(f"PRAGMA {pragma}")).scalar_one() == value
