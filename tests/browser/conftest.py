"""A real Chromium, panels for it to open, and a sandbox server for the main job."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Playwright, expect, sync_playwright

from tests.believable import PASSWORD
from tests.processes import Panel, Processes, empty_panel, fingerprints, short_folder

# A page on a machine that does other things too: waited for as long as a click is.
expect.set_options(timeout=30_000)
_LAUNCH = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]


@dataclass(frozen=True)
class Box:
    """A bare server and what surrounds it."""

    address: str
    port: int
    user: str
    private_key: Path
    fingerprints: set[str]
    #: name -> address of its repository / its domain
    repos: dict[str, str] = field(default_factory=dict)
    domains: dict[str, str] = field(default_factory=dict)
    acme_directory: str = ""
    acme_bundle: str = ""
    #: Root of the authority, for whoever opens the sites.
    ca: Path = Path()
    subnet: str = ""


class Chromium:
    """Starts browsers; each `launch` is a process of its own."""

    def __init__(self, playwright: Playwright) -> None:
        self._playwright = playwright

    def launch(self, *more: str, home: Path | None = None) -> Browser:
        path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
        if path is None:
            pytest.fail("Chromium is missing. Install it: python -m tests.needs")
        environment: dict[str, str | float | bool] = {**os.environ, **({"HOME": str(home)} if home else {})}
        return self._playwright.chromium.launch(executable_path=path, args=[*_LAUNCH, *more], env=environment)


@pytest.fixture(scope="session")
def starter() -> Iterator[Chromium]:
    with sync_playwright() as playwright:
        yield Chromium(playwright)


@pytest.fixture(scope="session")
def chromium(starter: Chromium) -> Iterator[Browser]:
    browser = starter.launch()
    yield browser
    browser.close()


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """A browser window of its own, in which no script may fail and no policy may be broken."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    opened = context.new_page()
    wrong: list[str] = []
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("console", lambda said: wrong.append(said.text) if "Content Security Policy" in said.text else None)
    yield opened
    context.close()
    assert not wrong, wrong


@pytest.fixture
def filled() -> Iterator[Panel]:
    """A panel with believable rows; no worker and no link, so that nothing but the test changes them."""
    folder = short_folder("pages")
    processes = Processes(folder)
    try:
        processes.run("-m", "tests.believable", str(folder))
        processes.start("valkey")
        processes.start("web")
        processes.answers()
        yield Panel(processes.url, "ada", PASSWORD, folder)
    finally:
        processes.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def box() -> Iterator[Box]:
    from cli import demo_world
    from sandbox import network, sandbox, why_not

    if reason := why_not():
        pytest.skip(reason)
    folder = short_folder("repos")
    try:
        with sandbox("browser-tests") as made:
            acme = made.acme()
            server = made.up("web1", trust=[made.root_certificate()])
            domains = {"guestbook": "guestbook.browser.test", "site": "site.browser.test"}
            repos = {name: made.publish(demo_world.repository(folder, name), name) for name in domains}
            for domain in domains.values():
                made.point(domain, server)
            made.add_hosts(server, {domain: server.address for domain in domains.values()})
            keys = fingerprints(server.known_hosts, server.address)
            yield Box(server.address, 22, "root", server.ssh_key, keys, repos,
                      domains, acme.directory, demo_world._BUNDLE, acme.root, network.ensure(made.place).subnet)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def panel(box: Box) -> Iterator[Panel]:
    """All of WebOps, empty, with one administrator."""
    with empty_panel("panel", WEBOPS_GIT_NETWORKS=box.subnet) as made:
        yield made


def sign_in(page: Page, panel: Panel) -> None:
    page.goto(f"{panel.url}/sign-in")
    page.get_by_label("Name").fill(panel.admin)
    page.get_by_label("Password").fill(panel.password)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{panel.url}/")
