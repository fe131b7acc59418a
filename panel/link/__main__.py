"""`python -m panel.link`: run the link in the foreground until SIGTERM or Ctrl+C."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys

from panel.link.process import Link
from panel.link.scratch import scratch
from panel.settings import SettingsError, settings


async def _run() -> None:
    if sys.version_info < (3, 12):
        # From 3.12 on this is what asyncio does by itself; before, it would hold a thread per child.
        watcher = asyncio.PidfdChildWatcher()
        watcher.attach_loop(asyncio.get_running_loop())
        asyncio.get_event_loop_policy().set_child_watcher(watcher)
    with scratch(settings().scratch) as place:
        link = Link(settings().redis, place)
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, link.stop)
        await link.run()


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s link: %(message)s", stream=sys.stderr)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    try:
        settings()
    except SettingsError as wrong:
        sys.exit(str(wrong))
    asyncio.run(_run())
    logging.shutdown()
    # A database that hangs may hold our one thread for minutes; nothing in it is worth waiting for.
    os._exit(0)


if __name__ == "__main__":
    main()
