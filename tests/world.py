"""All of WebOps at once: a panel with its worker and link, a ready server, git and a certificate authority."""

from __future__ import annotations

import html
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil
import requests

from cli import demo_world
from panel.settings import ROOT
from sandbox import network, sandbox
from sandbox.acme import Acme
from tests.faults.conftest import ADDONS
from tests.processes import Panel, Processes, fingerprints, short_folder
from tests.sandbox.roles.conftest import Ready, boot
from tests.sandbox.roles.repositories import Repository
from tests.watcher import Watcher

SERVER = "web1"
#: Of Debian; each test here holds for every one that WebOps is proved on.
RELEASE = os.environ.get("WEBOPS_RELEASE", "bookworm")
DOMAIN = "guestbook.whole.test"
#: What nobody may ever read again: each is looked for everywhere.
#: Its own in each run: the machine may show the processes of another one.
CARD, LEDGER, TOKEN = (f"{what}-S3cret-{secrets.token_hex(4)}" for what in ("Env", "Db", "Git"))
BUNDLE = demo_world._BUNDLE


def wait(what: str, found: Callable[[], Any], seconds: float = 120) -> Any:
    """The first true answer."""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        if answer := found():
            return answer
        time.sleep(0.1)
    raise AssertionError(f"not seen within {seconds} s: {what}")


@dataclass
class World:
    """Everything that a test here may look at or break. What it breaks, it mends."""

    ready: Ready
    processes: Processes
    panel: Panel
    acme: Acme
    place: Path
    token: str = ""
    watcher: Watcher = field(default_factory=lambda: Watcher([]))
    repositories: dict[str, Repository] = field(default_factory=dict)

    # --- the doors

    @cached_property
    def programs(self) -> requests.Session:
        session = requests.Session()
        session.headers["Authorization"] = f"Bearer {self.token}"
        # A kept connection may be closed in the moment in which it is used again.
        session.headers["Connection"] = "close"
        return session

    def api(self, method: str, path: str, body: Any = None, **more: Any) -> requests.Response:
        return self.programs.request(method, f"{self.panel.url}/api/v1{path}", json=body, timeout=60, **more)

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """The same, and it must be granted."""
        answer = self.api(method, path, body)
        assert answer.ok, answer.text
        return answer.json()

    @cached_property
    def browser(self) -> requests.Session:
        """The administrator, signed in."""
        session = requests.Session()
        session.headers["Connection"] = "close"
        page = session.get(f"{self.panel.url}/sign-in", timeout=60).text
        done = session.post(f"{self.panel.url}/sign-in", timeout=60, data={
            "csrf_token": csrf(page), "name": self.panel.admin, "password": self.panel.password})
        assert done.status_code == 200 and done.url == f"{self.panel.url}/", done.url
        return session

    def page(self, path: str) -> str:
        return self.browser.get(f"{self.panel.url}{path}", timeout=60).text

    @cached_property
    def csrf_token(self) -> str:
        return csrf(self.page("/new/django_app"))

    def form(self, path: str, data: dict[str, Any]) -> requests.Response:
        """Send a page's form as a browser does; a redirect is not followed."""
        given = {"csrf_token": self.csrf_token, **data}
        return self.browser.post(f"{self.panel.url}{path}", data=given, timeout=60, allow_redirects=False,
                                 headers={"Origin": self.panel.url})

    def webops(self, *words: str, text: str = "", **more: str) -> subprocess.CompletedProcess[str]:
        """The command line, signed in."""
        return subprocess.run([sys.executable, "-m", "cli", *words], cwd=ROOT, input=text, text=True, timeout=600,
                              capture_output=True, check=False, env={**self.environment, **more})

    @property
    def environment(self) -> dict[str, str]:
        return {**self.processes.environment, "WEBOPS_CONFIG": str(self.config)}

    @cached_property
    def config(self) -> Path:
        file = self.place / "config.json"
        file.touch(0o600)
        file.write_text(json.dumps({"url": self.panel.url, "name": self.panel.admin, "token": self.token, "ca": ""}))
        return file

    # --- what the panel did

    def run(self, number: int) -> dict[str, Any]:
        return dict(self.ask("GET", f"/runs/{number}"))

    def act(self, name: str, action: str, timeout: int | None = None, mode: str = "apply", **values: Any) -> int:
        body = {"action": action, "values": values, "timeout": timeout, "mode": mode}
        return int(self.ask("POST", f"/resources/{name}/runs", body)["run"]["id"])

    def apply(self, kind: str, name: str, values: dict[str, Any], mode: str = "apply") -> int:
        body = {"kind": kind, "server": SERVER, "values": values, "mode": mode}
        return int(self.ask("PUT", f"/resources/{name}", body)["run"]["id"])

    def ended(self, number: int, seconds: float = 400) -> dict[str, Any]:
        return dict(wait(f"the end of run {number}",
                         lambda: (run := self.run(number))["state"] not in ("queued", "running") and run, seconds))

    def succeeded(self, number: int, seconds: float = 400) -> dict[str, Any]:
        run = self.ended(number, seconds)
        assert run["state"] == "succeeded", json.dumps([run["error"], run["next"], run["journal"]], indent=1)
        return run

    def events(self, number: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        after: int | None = 0
        while after is not None:
            page = self.ask("GET", f"/runs/{number}/events?after={after}&limit=500")
            found, after = [*found, *page["events"]], page["next"]
        return found

    def whole(self, number: int) -> int:
        """The events of a run are 1..n, none missing or doubled; n."""
        numbers = [one["number"] for one in self.events(number)]
        assert numbers == list(range(1, self.run(number)["last_event"] + 1))
        return len(numbers)

    def begun(self, number: int, step: str) -> None:
        def seen() -> bool:
            run = self.run(number)
            assert run["state"] in ("queued", "running"), f"{run['state']}: {run['error']}"
            return any(one["name"] == step for one in self.events(number))

        wait(f"the step '{step}' of run {number}", seen)

    # --- processes

    @property
    def scratch(self) -> Path:
        """Where runs have their private directories."""
        return Path(self.processes.environment["WEBOPS_SCRATCH"])

    def child(self, words: str) -> psutil.Process:
        """The process of `webops up` whose command line holds these words."""
        return next(one for one in psutil.Process(self.processes.pid).children() if words in " ".join(one.cmdline()))

    # --- the server

    def root(self, *argv: str, text: str = "", check: bool = True) -> str:
        return self.ready.run(*argv, text=text, check=check)

    def curl(self, path: str = "/", *options: str, domain: str = DOMAIN) -> str:
        """What a visitor gets who trusts the authority and nobody else."""
        return self.ready.curl(f"https://{domain}{path}", "--cacert", str(self.acme.root), *options)

    def repository(self, sample: str) -> Repository:
        if sample not in self.repositories:
            (self.place / "repositories").mkdir(exist_ok=True)
            self.repositories[sample] = Repository(self.ready, sample, self.place / "repositories")
        return self.repositories[sample]

    def named(self, *domains: str) -> None:
        """Let domains lead to the server."""
        for domain in domains:
            self.ready.box.point(domain, self.ready.server)
        self.ready.box.add_hosts(self.ready.server, dict.fromkeys(domains, self.ready.server.address))

    def guestbook(self) -> dict[str, Any]:
        """Its values."""
        return {"repo": self.repository("guestbook").address, "domain": DOMAIN, "health_path": "/healthz",
                "acme_directory": self.acme.directory, "acme_ca_bundle": BUNDLE, "acme_terms": True,
                "secrets": [{"name": "CARD", "value": CARD}]}


def csrf(page: str) -> str:
    found = re.search(r'name="csrf_token" value="([^"]+)"', page)
    assert found, "there is no form in this page"
    return html.unescape(found[1])


@contextmanager
def built() -> Iterator[World]:
    """A world with an administrator, a server that is ready, and nothing on it yet."""
    folder = short_folder("whole")
    try:
        with sandbox("whole") as box:
            acme = box.acme()
            ready = boot(box, SERVER, RELEASE, folder, trust=[box.root_certificate()])
            state = folder / "state"
            state.mkdir(mode=0o700)
            scratch = _scratch(folder)
            processes = Processes(state, WEBOPS_GIT_NETWORKS=network.ensure(box.place).subnet, WEBOPS_WORKERS="2",
                                  WEBOPS_ADDONS=str(ADDONS), WEBOPS_SCRATCH=str(scratch))
            with Watcher([CARD, LEDGER, TOKEN, ready.server.password], state) as watcher:
                try:
                    yield _started(World(ready, processes, Panel(processes.url, "ada", "", state), acme, folder,
                                         watcher=watcher))
                finally:
                    processes.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(_scratch(folder), ignore_errors=True)


def _scratch(folder: Path) -> Path:
    """On the same kind of disk as in an installation, and nobody else's."""
    path = Path("/dev/shm") / folder.name
    path.mkdir(mode=0o700, exist_ok=True)
    return path


def _started(world: World) -> World:
    world.processes.start("up")
    world.processes.answers()
    password = world.processes.run("-m", "cli", "user", "add", "ada", "--admin").strip().splitlines()[-1].split()[-1]
    world.panel = Panel(world.panel.url, "ada", password, world.panel.state)
    signed_in = requests.post(f"{world.panel.url}/api/v1/tokens", timeout=60,
                              json={"name": "ada", "password": password, "label": "tests"})
    world.token = signed_in.json()["token"]
    add_server(world, SERVER, world.ready)
    return world


def add_server(world: World, name: str, ready: Ready) -> None:
    """By the login of a person with a password for signing in and for sudo."""
    server = ready.server
    offered = world.ask("POST", "/servers", {"name": name, "address": server.address})["host_key"]["offered"]
    keys = {one["fingerprint"] for one in offered} & fingerprints(server.known_hosts, server.address)
    world.ask("POST", f"/servers/{name}/host-key", {"fingerprint": keys.pop()})
    login = {"user": "debian", "password": server.password, "sudo_password": server.password}
    world.succeeded(world.ask("POST", f"/servers/{name}/runs", {"login": login})["run"]["id"])
