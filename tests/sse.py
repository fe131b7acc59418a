"""A reader of a run's stream over HTTP who behaves as a browser does: a line that breaks is connected again."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import requests

if TYPE_CHECKING:
    from tests.world import World


def connect(world: World, number: int, after: int) -> Iterator[tuple[str, int]]:
    """(event, number) as they come, until the stream ends or its line breaks."""
    headers = {"Authorization": f"Bearer {world.token}", "Last-Event-ID": str(after)}
    with requests.get(f"{world.panel.url}/api/v1/runs/{number}/stream", headers=headers, stream=True,
                      timeout=(5, 40)) as answer:
        answer.raise_for_status()
        name, at = "message", 0
        for line in answer.iter_lines(chunk_size=1, decode_unicode=True):
            if line.startswith("event:"):
                name = line[6:].strip()
            elif line.startswith("id:"):
                at = int(line[3:])
            elif not line and name != "message":
                yield name, at
                name = "message"


def follow(world: World, number: int, cuts: int = 0, most: int = 1, seed: int = 0) -> list[int]:
    """The numbers of the events that a reader got to the end; `cuts` times it hangs up after at most `most` events."""
    chance, seen, limit = random.Random(seed), list[int](), time.monotonic() + 400
    while time.monotonic() < limit:
        left = chance.randint(1, most) if cuts > 0 else -1
        cuts -= 1
        try:
            for name, at in connect(world, number, seen[-1] if seen else 0):
                if name == "end":
                    return seen
                if name == "event":
                    seen.append(at)
                    left -= 1
                if left == 0:
                    break
        except requests.RequestException:
            time.sleep(0.5)  # as the page's script waits
    raise AssertionError(f"run {number} did not end for its reader, who saw {len(seen)} events")
