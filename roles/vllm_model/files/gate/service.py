"""The gate as a service: its doors at their sockets, until it is asked to end."""

from __future__ import annotations

import asyncio
import signal
import socket

from aiohttp import web
from engine import Engine
from front import Doors
from use import Accounts
from watched import Key, Settings, Watched, keys, settings

#: Seconds between two times that figures are written down.
_SAVE = 5.0


async def serve(name: str, sockets: dict[str, socket.socket], *, home: str, run: str, state: str) -> None:
    """Until SIGTERM, and then until nothing is open.

    Whoever comes meanwhile is served, too: behind a closed door all would wait for the longest answer. Where it never
    gets quiet, the doors close after the time that an answer may take, and what is open gets as long to come to its
    end. New requests wait at systemd's sockets then.
    """
    engine = Engine(name, f"{home}/live/sock", {slot: f"{run}/webops-{name}-{slot}/engine.sock" for slot in "ab"})
    known = Watched(f"{home}/env/keys.json", keys)
    accounts = Accounts(f"{state}/use.json")
    set_up = Watched(f"{home}/env/gate.json", settings)
    doors = Doors(engine, known, set_up, accounts)
    patience = (set_up.value or Settings()).request_timeout
    runners = [await _open(application, sockets[name], patience)
               for name, application in (("gate", doors.front()), ("desk", doors.desk()))]
    beside = [asyncio.create_task(one) for one in (doors.watch(), _keep(accounts, known))]
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()
    await doors.quiet(patience)
    await asyncio.gather(*(one.cleanup() for one in runners))
    for task in beside:
        task.cancel()
    await engine.close()
    accounts.save(known.value)


async def _open(application: web.Application, listening: socket.socket, patience: float) -> web.AppRunner:
    # What a stranger sends is not unpacked.
    runner = web.AppRunner(application, access_log=None, handle_signals=False, auto_decompress=False)
    await runner.setup()
    listening.setblocking(False)
    await web.SockSite(runner, listening, shutdown_timeout=patience, backlog=1024).start()
    return runner


async def _keep(accounts: Accounts, known: Watched[list[Key]]) -> None:
    while True:
        await asyncio.sleep(_SAVE)
        accounts.save(known.value)
