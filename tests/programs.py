"""Programs that speak to a panel: a client of the API with somebody's token."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from panel.store import db
from panel.store.models import User
from panel.web import tokens


def token_for(name: str) -> str:
    with db.session() as session:
        return tokens.make(session, session.query(User).filter_by(name=name).one(), "test")


class Client:
    """A program with a token."""

    def __init__(self, client: FlaskClient, token: str) -> None:
        self.client = client
        self.headers = {"Authorization": f"Bearer {token}"}

    def __call__(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        headers = {**self.headers, **more.pop("headers", {})}
        if body is not None:
            more["json"] = body
        return self.client.open(f"/api/v1{path}", method=method, headers=headers, **more)


@pytest.fixture
def api(filled: Flask) -> Client:
    return Client(filled.test_client(), token_for("ada"))


@pytest.fixture
def plain(filled: Flask) -> Client:
    return Client(filled.test_client(), token_for("grace"))


def problem(answer: Any) -> dict[str, Any]:
    assert answer.content_type == "application/problem+json"
    found = answer.get_json()
    assert {"type", "title", "status", "detail", "code"} <= set(found)
    assert found["status"] == answer.status_code
    return found
