"""Deploys and restarts one after the other, with visitors all the time."""

from __future__ import annotations

import os

import pytest

from tests.sandbox.roles.load import Load
from tests.world import DOMAIN, World

pytestmark = pytest.mark.sandbox
TIMES = int(os.environ.get("WEBOPS_SOAK_TIMES", "20"))


def test_deploys_and_restarts(guestbook: World) -> None:
    repository = guestbook.repository("guestbook")
    with Load(guestbook.ready.server.address, DOMAIN) as load:
        for number in range(TIMES):
            repository.commit(f"Number {number}", {"note.txt": str(number)})
            guestbook.succeeded(guestbook.act("guestbook", "deploy"))
            guestbook.succeeded(guestbook.act("guestbook", "restart"))
    print(f"{TIMES} deploys and restarts, {load.total} requests, the slowest {load.slowest * 1000:.0f} ms")
    assert load.failed == {}
