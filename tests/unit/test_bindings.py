"""What an app is told of its database: the whole address, and its parts where the project asks for them."""

import pytest


@pytest.fixture
def bindings(module, monkeypatch):
    one = module("webops_bindings")
    monkeypatch.setattr(one.webops_kept, "read", lambda name, parameter: "p/w")
    monkeypatch.setattr(one.webops_kept, "read_or_make", lambda name, parameter, check: "key")
    return one.bindings


def asked(**more):
    database = {"name": "shop-db", "database": "shop", "owner": "shop_owner", "port": 5433}
    return {"name": "shop", "database": database, "database_variable": "DATABASE_URL", "database_parts": {},
            "addresses": {}, "secret_key_variable": "SECRET_KEY", **more}


def test_the_address_is_one_variable(bindings):
    assert bindings(asked(), False) == {
        "SECRET_KEY": "key", "DATABASE_URL": "postgresql://shop_owner:p%2Fw@127.0.0.1:5433/shop"}


def test_another_database_is_told_from_another_password(module, bindings):
    where = module("webops_bindings").where
    here = bindings(asked(), False)
    other = {**here, "DATABASE_URL": here["DATABASE_URL"].replace("p%2Fw", "new")}
    assert where(asked(), here) == where(asked(), other)
    assert where(asked(), here) != where(asked(), {}) and where(asked(database={}), {}) == where(asked(), {})
    parts = asked(database_variable="", database_parts={"DB_NAME": "name", "DB_PASSWORD": "password"})
    assert where(parts, {"DB_NAME": "a", "DB_PASSWORD": "b"}) == where(parts, {"DB_NAME": "a", "DB_PASSWORD": "c"})
    assert where(parts, {"DB_NAME": "a"}) != where(parts, {"DB_NAME": "b"})


def test_the_parts_are_variables_of_their_own(bindings):
    parts = {"DB_HOST": "host", "DB_PORT": "port", "DB_NAME": "name", "DB_USER": "user", "DB_PASSWORD": "password"}
    found = bindings(asked(database_parts=parts, database_variable=""), False)
    assert found == {"SECRET_KEY": "key", "DB_HOST": "127.0.0.1", "DB_PORT": "5433", "DB_NAME": "shop",
                     "DB_USER": "shop_owner", "DB_PASSWORD": "p/w"}
    assert bindings(asked(database={}, database_parts=parts), False) == {"SECRET_KEY": "key"}
