"""A database as its role promises it."""

from __future__ import annotations

import pytest

from tests.sandbox.roles.conftest import Ready
from tests.sandbox.roles.cycle import cycle

pytestmark = pytest.mark.sandbox
HOSTILE = """a'; DROP--"\\ $(id) {{ lookup('pipe','touch /tmp/CANARY') }} é"""


def sign_in(ready: Ready, name: str, owner: str, database: str, sql: str) -> str:
    """What the owner gets when it signs in over the network address with the password of the server's file."""
    script = (f'PGPASSWORD="$(cat /etc/webops/secrets/{name}/password)" '
              f'psql -h 127.0.0.1 -U {owner} {database} -XAtc "$1"')
    return ready.run("sh", "-c", script, "sh", sql).strip()


@pytest.mark.every_release
def test_life(ready: Ready) -> None:
    def works() -> None:
        sql = "create table if not exists t(i int); select current_user"
        assert sign_in(ready, "shop-db", "shop", "shop", sql).endswith("shop")
        assert sign_in(ready, "shop-db", "shop", "shop", "select extname from pg_extension where extname='pg_trgm'")
        assert ready.run("stat", "-c", "%a %U", "/etc/webops/secrets/shop-db/password").strip() == "600 root"

    cycle(ready, "postgres_db", "shop-db",
          {"postgres_db_database": "shop", "postgres_db_extensions": ["pg_trgm"]}, works=works, by_hand=(
              "cd /; for sql in 'drop extension pg_trgm' 'alter role shop nologin'; do "
              'runuser -u postgres -- psql -qc "$sql" shop; done'),
          stays=lambda line: line in ("+ database shop", "+ role shop"),
          remove_data={"postgres_db_remove_data": "shop"})


@pytest.mark.every_release
def test_a_hostile_password_is_just_a_password(ready: Ready) -> None:
    played = ready.play("postgres_db", "odd-db", {"postgres_db_password": HOSTILE})
    assert played.code == 0, played.words()
    assert HOSTILE not in played.output and "DROP--" not in played.output
    assert ready.run("cat", "/etc/webops/secrets/odd-db/password") == HOSTILE
    assert sign_in(ready, "odd-db", "odd_db", "odd_db", "select 42") == "42"
    assert ready.play("postgres_db", "odd-db", {"postgres_db_password": HOSTILE}).changed == []
    assert "DROP--" not in ready.run("sh", "-c", "cat /var/log/postgresql/*.log; journalctl -q")


def test_what_is_not_ours_is_refused(ready: Ready) -> None:
    sql = "create role foreigner; create database foreign_db owner foreigner;"
    for statement in sql.split("; "):
        ready.run("runuser", "-u", "postgres", "--", "psql", "-qc", statement)
    before = ready.snapshot()
    taken = ready.play("postgres_db", "mine", {"postgres_db_database": "foreign_db", "postgres_db_owner": "mine"})
    assert "'foreign_db' exists in PostgreSQL and was not made by WebOps" in taken.words()
    role = ready.play("postgres_db", "mine", {"postgres_db_owner": "foreigner"})
    assert "The role 'foreigner' exists" in role.words()
    ready.play("postgres_db", "mine", {"postgres_db_remove_data": "foreign_db"}, action="remove")
    assert "database foreign_db" in ready.snapshot() and "role foreigner" in ready.snapshot()
    assert [line for line in before if "foreign" in line] == [line for line in ready.snapshot() if "foreign" in line]


@pytest.mark.parametrize("values, words", [
    ({"postgres_db_database": "x\"; DROP DATABASE y; --"}, "Use up to 63 characters"),
    ({"postgres_db_database": "-c"}, "Use up to 63 characters"),
    ({"postgres_db_owner": "postgres"}, "postgres and template names are taken"),
    ({"postgres_db_extensions": ["a b"]}, "Use letters"),
    ({"postgres_db_extensions": ["nope"]}, "has no extension 'nope'"),
    ({"postgres_db_locale": "xx_YY.UTF-8"}, "PostgreSQL did not do what was asked"),
    ({"postgres_db_password": "a\nb"}, "invisible character"),
])
def test_bad_values_are_refused_in_words(ready: Ready, values: dict[str, object], words: str) -> None:
    played = ready.play("postgres_db", "bad", values)
    assert played.failed and words in played.words(), played.output
