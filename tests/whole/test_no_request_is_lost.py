"""Visitors of the guestbook, 50 a second over HTTPS, notice nothing of what is done to it through the panel."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator

import pytest

from tests.sandbox.roles.load import Load
from tests.world import DOMAIN, World

pytestmark = pytest.mark.sandbox


@pytest.fixture
def load(guestbook: World) -> Iterator[Load]:
    with Load(guestbook.ready.server.address, DOMAIN) as one:
        yield one


def _nobody_noticed(load: Load) -> None:
    load.__exit__(None, None, None)
    print(f"{load.total} requests, the slowest {load.slowest * 1000:.0f} ms: {dict(load.answers)}")
    assert load.failed == {}
    assert load.total > 50


def test_a_new_commit_is_deployed(guestbook: World, load: Load) -> None:
    repository = guestbook.repository("guestbook")
    text = (repository.path / "book/templates/book/index.html").read_text()
    lead = re.search(r"You [a-z ]+\.", text)
    assert lead
    fresh = "You came by." if lead[0] != "You came by." else "You were here."
    repository.edit("A new lead", "book/templates/book/index.html", lead[0], fresh)
    guestbook.succeeded(guestbook.act("guestbook", "deploy"))
    assert fresh in guestbook.curl()
    _nobody_noticed(load)


def test_a_restart(guestbook: World, load: Load) -> None:
    guestbook.succeeded(guestbook.act("guestbook", "restart"))
    _nobody_noticed(load)


def test_a_release_that_cannot_start(guestbook: World, load: Load) -> None:
    """The page of the run names it before anything else, and the one before serves on."""
    repository = guestbook.repository("guestbook")
    before = json.loads(guestbook.root("cat", "/srv/webops/guestbook/live/release"))["id"]
    broken = repository.edit("Break it", "guestbook/wsgi.py", "import os", "import os, not_there")
    number = guestbook.act("guestbook", "deploy")
    run = guestbook.ended(number)
    repository.undo()
    _nobody_noticed(load)
    assert run["state"] == "failed" and "No module named 'not_there'" in run["error"], run
    assert json.loads(guestbook.root("cat", "/srv/webops/guestbook/live/release"))["id"] == before
    assert json.loads(guestbook.curl("/healthz"))["status"] == "ok"
    main = re.sub(r"<(script|style).*?</\1>", " ", guestbook.page(f"/runs/{number}"), flags=re.S).partition("<main")[2]
    page = " ".join(html.unescape(re.sub(r"<[^>]+>", " ", main)).split())
    first = page.index("No module named 'not_there'")
    assert first < page.index("Fetch the code"), "the cause stands above the steps"
    assert broken[:7] in page or "Break it" in page, "the release is named"
    assert run["next"] in page and run["journal"][-1].strip() in page
