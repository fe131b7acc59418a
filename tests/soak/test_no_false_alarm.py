"""Nobody touched the server, so nothing has drifted: 200 looks over all kinds."""

from __future__ import annotations

import pytest

from tests.whole.test_no_false_alarm import looks
from tests.world import World

pytestmark = pytest.mark.sandbox


def test_two_hundred_looks_at_an_untouched_server(guestbook: World) -> None:
    assert looks(guestbook, 200) >= 200
