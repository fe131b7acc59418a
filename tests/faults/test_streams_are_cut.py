"""A run of 2,000 events, watched by readers whose connections break: each gets every number once, in order."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor

from panel.runs.stream import follow
from tests.faults.conftest import Installation

EVENTS = 2_000


def _watch(number: int, seed: int, cuts: int) -> list[int]:
    """Follow to the end, starting again `cuts` times from the last number seen, as a browser does."""
    chance = random.Random(seed)
    seen: list[int] = []
    for cut in range(cuts + 1):
        stream = follow(number, seen[-1] if seen else 0)
        left = chance.randint(20, EVENTS // cuts) if cut < cuts else None
        for event in stream:
            if event is None:
                continue
            seen.append(event.number)
            if left is not None and (left := left - 1) <= 0:
                break
        stream.close()
    return seen


def test_streams_that_are_cut_twenty_times_miss_nothing(installation: Installation):
    number = installation.submit("many", values={"trial_count": EVENTS})
    with ThreadPoolExecutor(5) as pool:
        readers = [pool.submit(_watch, number, seed, 20) for seed in range(4)]
        installation.ended(number, 240)
        seen = [one.result(60) for one in readers]
    last = installation.run(number).last_event
    assert last >= EVENTS
    for numbers in seen:
        assert numbers == list(range(1, last + 1))


def test_a_reader_who_comes_late_or_knows_too_much_is_served(installation: Installation):
    number = installation.submit("main")
    run = installation.ended(number)
    assert [one.number for one in follow(number, 0) if one] == list(range(1, run.last_event + 1))
    assert [one.number for one in follow(number, run.last_event - 1) if one] == [run.last_event]
    assert list(follow(number, 10**9)) == []
    assert list(follow(10**6, 0)) == []
