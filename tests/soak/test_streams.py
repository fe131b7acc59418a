"""Many readers, long runs, many cuts."""

from __future__ import annotations

import pytest

from tests.whole.test_streams import cut_streams
from tests.world import World

pytestmark = pytest.mark.sandbox


@pytest.mark.parametrize(("events", "cuts", "readers"), [(2_000, 20, 8), (10_000, 100, 4)])
def test_streams_that_are_cut(world: World, events: int, cuts: int, readers: int) -> None:
    assert cut_streams(world, events, cuts, readers) > events
