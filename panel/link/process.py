"""The link as a process: a connection per server, the desk, the bells. Nothing that happens outside ends it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from panel.link import ledger, ssh, wire
from panel.link.agent import Agent
from panel.link.client import LinkError
from panel.link.connection import Connection, NotWritten
from panel.link.desk import Desk
from panel.link.methods import Methods
from panel.link.scan import scan
from panel.store import db

log = logging.getLogger("webops.link")
T = TypeVar("T")

#: Seconds between looks at the table of servers.
_ROSTER = 5.0
_ALIVE = 5.0
_LONGEST_PAUSE = 15.0
#: Connections being made at the same time.
_AT_ONCE = 40


class Link:
    """`run()` until `stop()`."""

    def __init__(self, redis_url: str, place: Path) -> None:
        self.place = place
        self.agent = Agent(place)
        self.connections: dict[int, Connection] = {}
        self._redis = Redis.from_url(redis_url, decode_responses=True, socket_timeout=15)
        # One thread: what is written about servers is written in order, and SQLite has one writer anyway.
        self._database = ThreadPoolExecutor(1, "database")
        self._running: dict[int, asyncio.Task[None]] = {}
        self._gate = asyncio.Semaphore(_AT_ONCE)
        self._changed = asyncio.Event()
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        self._stopping.set()

    async def run(self) -> None:
        desk = Desk(self._redis, Methods(self, self._redis).by_name())
        loops = (self._keep_roster, self._hear_bells, self._say_alive, desk.run)
        tasks = [asyncio.create_task(_again(loop)) for loop in loops]
        try:
            await self._stopping.wait()
        finally:
            await _cancel([*tasks, *self._running.values()])
            await self.agent.close()
            self._database.shutdown(wait=False, cancel_futures=True)
            await self._sign_off()

    async def in_database(self, what: Callable[..., T], *given: Any) -> T:
        """Run a function of the ledger. NotWritten: the database cannot be used now."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._database, what, *given)
        except SQLAlchemyError as wrong:
            raise NotWritten(f"The database cannot be used now: {_first_line(wrong)}") from wrong

    async def connection(self, server_id: int) -> Connection:
        """The connection to a server that should have one. LinkError: it should not, and why."""
        if server_id not in self.connections:
            await self._read_roster()
        found = self.connections.get(server_id)
        if found is None:
            raise LinkError("This server is not ready: accept its host key and make it ready first.", "not_ready")
        return found

    # The ledger of connections: stored first, then the bell, so that a page that refreshes finds it.

    async def saw(self, target: ssh.Target, seen: dict[str, Any]) -> tuple[str, str, bool]:
        noted = await self.in_database(ledger.saw, target, seen)
        await self._tell(target, noted)
        return noted.state.value, noted.text, noted.changed or bool(noted.resources)

    async def lost(self, target: ssh.Target, reason: ssh.Reason, since: datetime) -> None:
        await self._tell(target, await self.in_database(ledger.lost, target, reason, since))

    async def _tell(self, target: ssh.Target, noted: ledger.Noted) -> None:
        if not noted.changed and not noted.resources:
            return
        try:
            await self._redis.publish(wire.OBSERVED, json.dumps(
                {"server": target.server_id, "resources": noted.resources}))
        except RedisError:
            return  # the row is the truth; pages look again by themselves

    async def _offer_new_key(self, target: ssh.Target) -> None:
        try:
            found = await scan(target.address, target.port)
            await self.in_database(ledger.offer, target, found["keys"])
        except LinkError as wrong:
            log.warning("The new host key of %s could not be read: %s", target.name, wrong)

    # The four loops.

    async def _keep_roster(self) -> None:
        await self.in_database(db.upgrade)
        await self.in_database(ledger.no_terminal_is_open)
        while True:
            self._changed.clear()
            await self._read_roster()
            try:
                async with asyncio.timeout(_ROSTER):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def _read_roster(self) -> None:
        wanted = {target.server_id: target for target in await self.in_database(ledger.roster)}
        gone = [one for one, held in self.connections.items() if wanted.get(one) != held.target]
        for server_id in gone:
            del self.connections[server_id]
        await _cancel([self._running.pop(server_id) for server_id in gone])
        for server_id in wanted.keys() - self.connections.keys():
            self._connect(wanted[server_id])

    def _connect(self, target: ssh.Target) -> None:
        made = Connection(target, self.place, self.agent, self, self._gate, self._offer_new_key)
        self.connections[target.server_id] = made
        self._running[target.server_id] = asyncio.create_task(_again(made.run))

    async def _hear_bells(self) -> None:
        async with self._redis.pubsub() as bells:
            await bells.psubscribe(f"{wire.OBSERVE}*")
            while True:
                heard = await bells.get_message(ignore_subscribe_messages=True, timeout=5)
                if heard:
                    self._changed.set()
                    server_id = str(heard["channel"]).removeprefix(wire.OBSERVE)
                    if server_id.isdecimal() and int(server_id) in self.connections:
                        self.connections[int(server_id)].ring()

    async def _say_alive(self) -> None:
        while True:
            await self._redis.set(wire.ALIVE, 1, ex=wire.ALIVE_SECONDS)
            await asyncio.sleep(_ALIVE)

    async def _sign_off(self) -> None:
        try:
            async with asyncio.timeout(1):
                await self._redis.delete(wire.ALIVE)
                await self._redis.aclose()
        except (RedisError, TimeoutError):
            return  # it expires


async def _again(loop: Callable[[], Awaitable[None]]) -> None:
    """Run a loop, and run it again when it fails: at growing intervals, and said once."""
    pause, said = 0.5, ""
    while True:
        began = asyncio.get_running_loop().time()
        try:
            await loop()
        except (RedisError, NotWritten) as wrong:
            if str(wrong) != said:
                log.warning("%s; trying again", _first_line(wrong))
            said = str(wrong)
        except Exception:  # a mistake of ours in one place must not end what all servers need
            log.exception("The link made a mistake and goes on")
        long_ago = asyncio.get_running_loop().time() - began > 60
        pause = 0.5 if long_ago else min(_LONGEST_PAUSE, 2 * pause)
        await asyncio.sleep(pause)


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _first_line(wrong: Exception) -> str:
    return str(wrong).partition("\n")[0][:300] or type(wrong).__name__
