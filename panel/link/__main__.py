"""`python -m panel.link`: run the link in the foreground until SIGTERM or Ctrl+C."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import signal
import sys

from panel.link.process import Link
from panel.link.scratch import scratch
from panel.settings import SettingsError, settings

_FILES = 16384


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


def _allow_many_files() -> None:
    """A connection takes four descriptors; the usual limit of 1024 would end at some 250 servers."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(hard, _FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s link: %(message)s", stream=sys.stderr)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    try:
        settings()
    except SettingsError as wrong:
        sys.exit(str(wrong))
    _allow_many_files()
    asyncio.run(_run())
    logging.shutdown()
    # A database that hangs may hold our one thread for minutes; nothing in it is worth waiting for.
    os._exit(0)


if __name__ == "__main__":
    main()
