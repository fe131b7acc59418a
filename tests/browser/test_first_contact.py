"""A server from its password to green, replaced by another machine, let in by key, and removed: all by clicking."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from sandbox import Sandbox, Server, sandbox, why_not
from tests.browser.conftest import Panel, sign_in
from tests.processes import empty_panel, fingerprints
from tests.sandbox.roles.conftest import boot

pytestmark = [pytest.mark.browser, pytest.mark.sandbox]

MINUTE = 60_000


@pytest.fixture(scope="module")
def ground() -> Iterator[Sandbox]:
    if reason := why_not():
        pytest.skip(reason)
    with sandbox("browser-contact") as made:
        yield made


@pytest.fixture(scope="module")
def empty(ground: Sandbox) -> Iterator[Panel]:
    """All of WebOps, and nothing in it."""
    with empty_panel("contact") as made:
        yield made


def _ended_well(page: Page, heading: str) -> None:
    failed = page.get_by_role("alert", name="What went wrong")
    expect(page.get_by_role("heading", level=1, name=heading).or_(failed).first).to_be_visible(timeout=5 * MINUTE)
    assert not failed.count(), failed.inner_text()
    expect(page.locator("#run-lead")).to_contain_text("Succeeded in")


def _state_becomes(page: Page, words: str) -> None:
    """Seconds, not the quarter of a minute after which the page looks again by itself."""
    limit = time.monotonic() + 60
    while words not in page.locator("#state").inner_text():
        assert time.monotonic() < limit, page.locator("#state").inner_text()
        page.reload()
        page.wait_for_timeout(500)


def _by_password(page: Page, empty: Panel, server: Server) -> None:
    page.get_by_role("link", name="Add a server").click()
    page.get_by_label("Name").fill("web1")
    page.get_by_label("Address").fill(server.address)
    page.get_by_role("button", name="Look at its host key").click()
    expect(page.get_by_role("heading", name="Is this web1?")).to_be_visible(timeout=MINUTE)
    assert page.locator(".fingerprint").first.inner_text() in fingerprints(server.known_hosts, server.address)
    page.get_by_role("button", name="Yes, accept this key").click()
    page.get_by_label("User").fill("debian")
    page.get_by_role("button", name="Make it ready").click()
    expect(page.locator("#password-problem")).to_have_text("Give the password of this user.")
    page.get_by_label("Password", exact=True).fill(server.password)
    page.get_by_label("Password for sudo").fill(server.password)
    page.get_by_role("button", name="Make it ready").click()
    _ended_well(page, "Made web1 ready")
    assert server.password not in page.content()
    page.goto(f"{empty.url}/servers/web1")
    _state_becomes(page, "In order")


def _replaced(ground: Sandbox, server: Server, place: Path) -> Server:
    """Another machine answers at the address; it has been ready for somebody else."""
    ground.down(server)
    other = boot(ground, "other", "bookworm", place).server
    assert other.address == server.address
    return other


def test_from_a_password_to_green_and_away_again(page: Page, empty: Panel, ground: Sandbox, tmp_path: Path) -> None:
    server = ground.up("web1")
    sign_in(page, empty)
    _by_password(page, empty, server)
    other = _replaced(ground, server, tmp_path)
    _state_becomes(page, "Host key changed")
    expect(page.locator("#state")).to_contain_text("It shows another host key than the one that was accepted.")
    page.goto(f"{empty.url}/servers/web1/ready")
    page.get_by_role("button", name="Make it ready").click()
    expect(page.get_by_role("alert")).to_contain_text("so nothing is sent there")
    page.get_by_role("link", name="Compare the new key").click()
    expect(page.get_by_role("heading", name="web1 shows another host key")).to_be_visible()
    assert page.locator(".fingerprint").first.inner_text() in fingerprints(other.known_hosts, other.address)
    page.get_by_role("button", name="Yes, accept this key").click()
    expect(page.get_by_text("If the server was installed anew, make it ready once more")).to_be_visible()
    _state_becomes(page, "may not log in with WebOps' key")
    page.get_by_role("link", name="Make ready again").click()
    page.get_by_label("WebOps' public key", exact=True).check()
    page.get_by_label("User").fill("debian")
    page.get_by_label("Password for sudo").fill(other.password)
    ground.guest(other, ["su", "debian", "-c", page.locator(".way--own pre").inner_text()])
    page.get_by_role("button", name="Make it ready").click()
    _ended_well(page, "Made web1 ready")
    page.goto(f"{empty.url}/servers/web1")
    _state_becomes(page, "In order")
    page.get_by_role("link", name=re.compile("Remove this server")).click()
    page.get_by_label("Type web1 to confirm").fill("web1")
    page.get_by_role("button", name="Remove it").click()
    _ended_well(page, "Removed web1")
    page.goto(f"{empty.url}/servers")
    expect(page.get_by_role("heading", name="No server yet")).to_be_visible()
