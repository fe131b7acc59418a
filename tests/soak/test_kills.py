"""Workers killed at any moment of a run."""

from __future__ import annotations

import contextlib
import os
import random
import time

import psutil
import pytest

from tests.soak.test_what_dies_comes_back import FOUND
from tests.world import World, wait

pytestmark = pytest.mark.sandbox
TIMES = int(os.environ.get("WEBOPS_SOAK_TIMES", "10"))


def _worker(world: World) -> psutil.Process | None:
    """None: it is being started anew."""
    try:
        return world.child("panel.runs.worker")
    except (StopIteration, psutil.NoSuchProcess):
        return None


def test_workers_killed_at_any_moment(world: World) -> None:
    """All of the worker at a random moment: the run ends true within the promised time, with events 1..n."""
    world.succeeded(world.apply("trial", "victim", {"file": str(world.place / "victim"), "text": "x"}))
    chance, states, slowest = random.Random(7), [], 0.0
    for _ in range(TIMES):
        number = world.act("victim", "slow", seconds=3)
        time.sleep(chance.uniform(0, 5))
        parent = wait("the worker", lambda: _worker(world))
        for process in [*parent.children(recursive=True), parent]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        began = time.monotonic()
        states.append(world.ended(number, 3 * FOUND)["state"])
        if states[-1] == "lost":
            slowest = max(slowest, time.monotonic() - began)
        world.whole(number)
    world.succeeded(world.act("victim", "slow", seconds=1))
    print(f"{TIMES} kills: {states}, the slowest found after {slowest:.0f} s")
    assert set(states) <= {"lost", "succeeded", "failed"}
