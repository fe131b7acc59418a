"""One sandbox for all tests here: it is gone when they end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sandbox import Sandbox, Server, sandbox, why_not


@pytest.fixture(scope="session")
def box() -> Iterator[Sandbox]:
    if reason := why_not():
        pytest.skip(reason)
    with sandbox("sandbox-tests") as one:
        yield one


@pytest.fixture
def web1(box: Sandbox) -> Iterator[Server]:
    """A bare Debian 12 server of the test's own."""
    one = box.up("web1", "bookworm")
    yield one
    box.down(one)
