"""Visitors of the guestbook, 50 a second over HTTPS, notice nothing of what is done to it through the panel."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.sandbox.roles.load import Load
from tests.world import DOMAIN, World

pytestmark = pytest.mark.sandbox


@pytest.fixture
def load(guestbook: World) -> Iterator[Load]:
    with Load(guestbook.ready.server.address, DOMAIN) as one:
        yield one


def live(world: World) -> str:
    """Id of the release that serves."""
    return str(json.loads(world.root("cat", "/srv/webops/guestbook/live/release"))["id"])


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


def test_an_environment_and_the_vhost_change_and_a_rollback(guestbook: World, load: Load) -> None:
    def limit() -> str:
        return guestbook.root("grep", "-ho", "client_max_body_size [^;]*",
                              "/etc/nginx/sites-enabled/wo-guestbook-vhost.conf")

    values = {**guestbook.guestbook(), "environment": [{"name": "GREETING", "value": "hello"}], "upload_size": "37M"}
    release, size = live(guestbook), limit()
    guestbook.succeeded(guestbook.apply("django_app", "guestbook", values))
    assert live(guestbook) != release and limit() != size
    guestbook.succeeded(guestbook.act("guestbook", "rollback"))
    assert live(guestbook) == release
    _nobody_noticed(load)


def test_a_certificate_is_renewed(guestbook: World, load: Load) -> None:
    before = guestbook.curl("/", "-w", "%{certs}")
    guestbook.succeeded(guestbook.act("guestbook-cert", "renew"))
    assert guestbook.curl("/", "-w", "%{certs}") != before
    _nobody_noticed(load)


def test_two_deploys_at_the_same_moment(guestbook: World, load: Load) -> None:
    """One runs, the other says what it waits for, and both end as they should."""
    repository = guestbook.repository("guestbook")
    commit = repository.commit("Twice", {"note.txt": "twice"})
    with ThreadPoolExecutor(2) as pool:
        numbers = sorted(pool.map(lambda _: guestbook.act("guestbook", "deploy"), range(2)))
    waiting = guestbook.run(numbers[1])
    assert waiting["state"] == "queued" and f"Run {numbers[0]} " in waiting["waits_for"], waiting
    first, second = (guestbook.succeeded(number) for number in numbers)
    assert first["ended_at"] <= second["started_at"]
    assert json.loads(guestbook.root("cat", "/srv/webops/guestbook/live/release"))["commit"].startswith(commit)
    assert [guestbook.whole(number) > 0 for number in numbers] == [True, True]
    _nobody_noticed(load)


def test_a_release_that_cannot_start(guestbook: World, load: Load) -> None:
    """The page of the run names it before anything else, and the one before serves on."""
    repository = guestbook.repository("guestbook")
    before = live(guestbook)
    broken = repository.edit("Break it", "guestbook/wsgi.py", "import os", "import os, not_there")
    number = guestbook.act("guestbook", "deploy")
    run = guestbook.ended(number)
    repository.undo()
    _nobody_noticed(load)
    assert run["state"] == "failed" and "No module named 'not_there'" in run["error"], run
    assert live(guestbook) == before
    assert json.loads(guestbook.curl("/healthz"))["status"] == "ok"
    main = re.sub(r"<(script|style).*?</\1>", " ", guestbook.page(f"/runs/{number}"), flags=re.S).partition("<main")[2]
    page = " ".join(html.unescape(re.sub(r"<[^>]+>", " ", main)).split())
    first = page.index("No module named 'not_there'")
    assert first < page.index("Fetch the code"), "the cause stands above the steps"
    assert broken[:7] in page or "Break it" in page, "the release is named"
    assert run["next"] in page and run["journal"][-1].strip() in page
