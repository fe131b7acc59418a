"""Killed in the middle of a run: its worker, Redis, the panel; and the server's cable pulled.

Every time the run ends in a true state within the time that is promised, its events are 1..n, the next run works, and
who watches over HTTP sees all of it without doing more than a browser does by itself.
"""

from __future__ import annotations

import contextlib
import re
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import psutil
import pytest
import requests

from panel.runs import tree
from tests.sse import follow
from tests.world import World, wait

pytestmark = pytest.mark.sandbox
#: Promised for a run whose worker died: 30 s; the rest is what a busy machine may need to show it.
FOUND = 30


@pytest.fixture
def trial(world: World) -> World:
    """A resource whose runs take as long as they are told, on the panel's own machine."""
    world.succeeded(world.apply("trial", "sleeper", {"file": str(world.place / "sleeper"), "text": "x"}))
    return world


def _watched(world: World, number: int) -> Future[list[int]]:
    """Somebody who has the run's page open, and whose browser connects again when the line breaks."""
    pool = ThreadPoolExecutor(1)
    watcher = pool.submit(follow, world, number)
    pool.shutdown(wait=False)
    return watcher


def _all_seen(world: World, number: int, watcher: Future[list[int]]) -> None:
    count = world.whole(number)
    assert watcher.result(60) == list(range(1, count + 1)), "the stream caught up by itself"


def _next_one_works(world: World) -> None:
    world.succeeded(world.act("sleeper", "slow", seconds=1))


def _horse(world: World, number: int) -> psutil.Process:
    """The worker's process that plays the run: above those whose private directory is the run's.

    Each is looked up anew: psutil.process_iter remembers, and takes a process whose number was given to another one
    meanwhile for the old one, so that the run's child would be taken for the process above it.
    """
    home = next(path for path in world.scratch.iterdir() if re.search(rf"-{number}-", path.name))
    for pid in tree.marked(home):
        with contextlib.suppress(psutil.NoSuchProcess):
            above = psutil.Process(psutil.Process(pid).ppid())
            if "panel.runs.worker" in above.cmdline():
                return above
    raise AssertionError(f"no process plays run {number}")


def test_the_process_of_a_run(trial: World) -> None:
    number = trial.act("sleeper", "slow", seconds=613)
    trial.begun(number, "Sleep long")
    watcher = _watched(trial, number)
    began = time.monotonic()
    _horse(trial, number).kill()
    run = trial.ended(number, 2 * FOUND)
    assert time.monotonic() - began < FOUND
    assert (run["state"], run["error"]) == ("lost", "The worker that did this run stopped during 'Sleep long'.")
    assert run["next"] in trial.page(f"/runs/{number}")
    _all_seen(trial, number, watcher)
    _next_one_works(trial)
    assert not [one for one in trial.scratch.iterdir() if f"-{number}-" in one.name]


def test_the_worker_with_all_below_it(trial: World) -> None:
    """As when its machine loses power; `webops up` starts it again."""
    number = trial.act("sleeper", "slow", seconds=614)
    trial.begun(number, "Sleep long")
    watcher = _watched(trial, number)
    parent = trial.child("panel.runs.worker")
    began = time.monotonic()
    for process in [parent, *parent.children(), _horse(trial, number)]:
        process.kill()
    run = trial.ended(number, 2 * FOUND)
    assert time.monotonic() - began < FOUND + 5, "30 s from the next worker's start on"
    assert run["state"] == "lost" and run["next"]
    _all_seen(trial, number, watcher)
    _next_one_works(trial)
    assert not [one for one in psutil.process_iter(["cmdline"]) if one.info["cmdline"] == ["sleep", "614"]]


def test_redis(trial: World) -> None:
    number = trial.act("sleeper", "slow", seconds=6)
    trial.begun(number, "Sleep long")
    watcher = _watched(trial, number)
    trial.child("unixsocket").kill()
    trial.succeeded(number)
    _all_seen(trial, number, watcher)
    _next_one_works(trial)


def test_the_panel(trial: World) -> None:
    number = trial.act("sleeper", "slow", seconds=6)
    trial.begun(number, "Sleep long")
    watcher = _watched(trial, number)
    web = trial.child("gunicorn")
    for process in [web, *web.children()]:
        process.kill()
    wait("the panel again", lambda: _answers(trial))
    trial.succeeded(number)
    _all_seen(trial, number, watcher)
    _next_one_works(trial)


def _answers(world: World) -> bool:
    try:
        return requests.get(f"{world.panel.url}/healthz", timeout=5).ok
    except requests.RequestException:
        return False


def test_the_cable_of_the_server(guestbook: World) -> None:
    """During a build there: told in words within two minutes, and the app serves on all the time."""
    box, server = guestbook.ready.box, guestbook.ready.server
    guestbook.named("cable.whole.test")
    values: dict[str, Any] = {"repo": guestbook.repository("site").address, "domain": "cable.whole.test",
                              "certificate": "self_signed", "command": ["sleep", "615"], "directory": "."}
    number = guestbook.apply("static_site", "cable", values)
    guestbook.begun(number, "Build the release")
    wait("the build", lambda: "activating" in guestbook.root("systemctl", "is-active", "wo-cable.task@build.service",
                                                             check=False))
    watcher = _watched(guestbook, number)
    box.cut_network(server)
    began = time.monotonic()
    try:
        run = guestbook.ended(number, 180)
    finally:
        box.restore_network(server)
    assert time.monotonic() - began < 150
    assert (run["state"], run["error"]) == ("failed", "The SSH connection to web1 failed."), run
    assert "webops server test web1" in run["next"]
    _all_seen(guestbook, number, watcher)
    guestbook.root("systemctl", "stop", "wo-cable.task@build.service")
    wait("the server again", lambda: guestbook.api("POST", "/servers/web1/test").ok)
    guestbook.succeeded(guestbook.apply("static_site", "cable", values | {"command": ["python3", "build.py"],
                                                                          "directory": "public"}))
