"""One world for all tests here; the guestbook in it is deployed once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sandbox import why_not
from tests.world import DOMAIN, World, built


@pytest.fixture(scope="session")
def world() -> Iterator[World]:
    if reason := why_not():
        pytest.skip(reason)
    with built() as one:
        yield one


@pytest.fixture(scope="session")
def guestbook(world: World) -> World:
    """The same, with the guestbook on HTTPS."""
    world.named(DOMAIN)
    world.succeeded(world.apply("django_app", "guestbook", world.guestbook()))
    return world
