"""Readers of a long run through the real panel whose lines are cut again and again: every number once, in order."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.sse import follow
from tests.world import World

pytestmark = pytest.mark.sandbox
EVENTS, CUTS = 2_000, 20


def cut_streams(world: World, events: int, cuts: int, readers: int) -> int:
    """How many events each of the readers got, all of them the same."""
    world.succeeded(world.apply("trial", "talker", {"file": str(world.place / "talker"), "text": "x"}))
    number = world.act("talker", "many", count=events)
    with ThreadPoolExecutor(readers) as pool:
        seen = list(pool.map(lambda seed: follow(world, number, cuts, events // cuts, seed), range(readers)))
    world.succeeded(number)
    count = world.whole(number)
    assert count >= events
    assert [numbers == list(range(1, count + 1)) for numbers in seen] == [True] * readers
    return count


def test_a_stream_that_is_cut_twenty_times(world: World) -> None:
    assert cut_streams(world, EVENTS, CUTS, readers=2) > EVENTS
