"""The same world as in tests/whole."""

from tests.whole.conftest import guestbook, world

__all__ = ["guestbook", "world"]
