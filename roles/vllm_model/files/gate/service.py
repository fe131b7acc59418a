"""The gate as a service: its doors at their sockets, until it is asked to end."""

from __future__ import annotations

import asyncio
import signal
import socket

from aiohttp import web
from engine import Engine
from front import Doors
from use import Accounts
from watched import Key, Watched, keys, settings

#: Seconds between two times that figures are written down, and for what is open when we are asked to end.
_SAVE, _GRACE = 5.0, 25.0


async def serve(name: str, sockets: dict[str, socket.socket], *, home: str, run: str, state: str) -> None:
    """Until SIGTERM; then what is open has some time to come to its end. New requests wait at systemd's sockets."""
    engine = Engine(name, f"{home}/live/sock", {slot: f"{run}/webops-{name}-{slot}/engine.sock" for slot in "ab"})
    known = Watched(f"{home}/env/keys.json", keys)
    accounts = Accounts(f"{state}/use.json")
    doors = Doors(engine, known, Watched(f"{home}/env/gate.json", settings), accounts)
    runners = [await _open(doors.front(), sockets["gate"]), await _open(doors.desk(), sockets["desk"])]
    beside = [asyncio.create_task(one) for one in (doors.watch(), _keep(accounts, known))]
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()
    await asyncio.gather(*(one.cleanup() for one in runners))
    for task in beside:
        task.cancel()
    await engine.close()
    accounts.save(known.value)


async def _open(application: web.Application, listening: socket.socket) -> web.AppRunner:
    runner = web.AppRunner(application, access_log=None, handle_signals=False)
    await runner.setup()
    listening.setblocking(False)
    await web.SockSite(runner, listening, shutdown_timeout=_GRACE, backlog=1024).start()
    return runner


async def _keep(accounts: Accounts, known: Watched[list[Key]]) -> None:
    while True:
        await asyncio.sleep(_SAVE)
        accounts.save(known.value)
