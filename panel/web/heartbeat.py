"""Whether the link runs, for the banner on every page: asked beside the pages, so that none of them ever waits."""

from __future__ import annotations

import threading
import time

from panel.link import client

#: Seconds for which an answer holds.
_FRESH = 5.0


class Heartbeat:
    """Remembers the last answer; whoever finds it old has it asked anew and goes on with the old one."""

    def __init__(self) -> None:
        self._alive = True  # nothing is claimed before somebody has looked
        self._asked_at = float("-inf")
        self._asking = threading.Lock()

    def is_silent(self) -> bool:
        """Whether nobody keeps an eye on the servers."""
        if time.monotonic() - self._asked_at > _FRESH and self._asking.acquire(blocking=False):
            self._asked_at = time.monotonic()
            threading.Thread(target=self._ask, daemon=True).start()
        return not self._alive

    def _ask(self) -> None:
        try:
            self._alive = client.alive()
        finally:
            self._asking.release()


link = Heartbeat()
