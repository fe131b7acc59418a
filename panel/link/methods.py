"""What other processes may ask for, and how each answer is found. Parameters come from outside: all are checked."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, Protocol, TypeVar

from redis.asyncio import Redis

from panel.link import apikeys, asked, chats, kept, ledger, logs, ssh, terminals
from panel.link.agent import Agent
from panel.link.check import check
from panel.link.client import LinkError
from panel.link.connection import Connection, NotWritten
from panel.link.desk import Method
from panel.link.plain import plain
from panel.link.scan import scan
from panel.link.session import Session

T = TypeVar("T")

#: Journals that are passed on at the same time, over all servers.
_MOST_LOGS = 200


class Process(Protocol):
    """What the methods need of the link."""

    place: Path
    agent: Agent

    async def connection(self, server_id: int) -> Connection: ...

    async def in_database(self, what: Any, *given: Any) -> Any: ...


class Methods:
    def __init__(self, link: Process, redis: Redis) -> None:
        self._link = link
        self._redis = redis
        self._logs: set[asyncio.Task[None]] = set()

    def by_name(self) -> dict[str, Method]:
        return {"scan": self.scan, "test": self.test, "observe": self.observe,
                "journal": self.journal, "terminal": self.terminal, "compare": self.compare,
                "keys": self.keys, "chat": self.chat, "measure": self.measure}

    async def scan(self, params: dict[str, Any]) -> dict[str, Any]:
        return await scan(params.get("address"), params.get("port"))

    async def test(self, params: dict[str, Any]) -> dict[str, Any]:
        target: ssh.Target | None = await self._stored(ledger.server, _id(params, "server_id"))
        if target is None:
            raise LinkError("There is no such server.", "unknown_server")
        if not target.host_key:
            raise LinkError(f"Accept the host key of {target.name} first: nothing is sent to a server before.",
                            "no_host_key")
        return await check(target, self._link.place, self._link.agent)

    async def observe(self, params: dict[str, Any]) -> dict[str, Any]:
        connection = await self._connection(_id(params, "server_id"))
        try:
            state, text = await connection.looked()
        except ssh.NoConnection as wrong:
            raise _unreachable(connection, wrong.reason) from wrong
        except NotWritten as wrong:
            raise LinkError(str(wrong), "database") from wrong
        return {"observed": state, "text": text}

    async def journal(self, params: dict[str, Any]) -> dict[str, Any]:
        stream = self._stream(params)
        wanted = asked.wanted(params.get("lines", 100), params.get("since"), params.get("follow"),
                              params.get("grep", ""), params.get("until"), params.get("process", ""))
        name, session = await self._session(params)
        return await self._begin(stream, logs.Log(self._redis, stream, session.journal(name, **wanted)))

    async def compare(self, params: dict[str, Any]) -> dict[str, Any]:
        """What differs between two releases of a resource; names of variables, never what they hold."""
        a, b = _release(params, "a"), _release(params, "b")
        name, session = await self._session(params)
        try:
            found = await session.compare(name, a, b)
        except ssh.NoConnection as wrong:
            raise LinkError(plain(f"{name} cannot be asked: {wrong.reason.cause}. {wrong.reason.advice}", 1000),
                            wrong.reason.code) from wrong
        if "error" in found:
            raise LinkError(plain(found["error"], 1000), "unknown_release")
        return kept.compared(found)

    async def terminal(self, params: dict[str, Any]) -> dict[str, Any]:
        stream, number, wanted = self._stream(params), _id(params, "number"), terminals.wanted(params)
        name, session = await self._session(params)

        async def ended(code: int | None, why: str) -> None:
            await self._stored(ledger.terminal_ended, number, code, why)

        return await self._begin(stream, terminals.Terminal(
            self._redis, stream, session.terminal(name, **wanted), ended))

    async def keys(self, params: dict[str, Any]) -> dict[str, Any]:
        """The API keys of a resource on one of its servers, after `change`; digests, never what a client holds."""
        change = apikeys.change(params.get("change"))
        # Who only looks gets an answer at once; who changes something has it tried first.
        name, session = await self._session(params, patient=bool(change))
        try:
            found = await session.keys(name, change)
        except ssh.NoConnection as wrong:
            raise LinkError(plain(f"{name} cannot be asked: {wrong.reason.cause}. {wrong.reason.advice}", 1000),
                            wrong.reason.code) from wrong
        if "error" in found:
            raise LinkError(plain(found["error"], 1000), plain(found.get("code") or "not_written", 40))
        return {"keys": apikeys.shown(found.get("keys"))}

    async def chat(self, params: dict[str, Any]) -> dict[str, Any]:
        stream = self._stream(params)
        wanted = chats.question(await chats.taken(self._redis, stream))
        name, session = await self._session(params)
        return await self._begin(stream, logs.Log(self._redis, stream, session.chat(name, wanted), chats.piece))

    async def measure(self, params: dict[str, Any]) -> dict[str, Any]:
        stream, wanted = self._stream(params), chats.measurement(params)
        name, session = await self._session(params)
        return await self._begin(stream, logs.Log(self._redis, stream, session.measure(name, wanted), chats.piece))

    def _stream(self, params: dict[str, Any]) -> str:
        stream = str(params.get("stream"))
        if not re.fullmatch(r"[0-9a-f]{32}", stream) or len(self._logs) >= _MOST_LOGS:
            raise LinkError("Too many logs are open. Close one, and try again.", "too_many_logs")
        return stream

    async def _begin(self, stream: str, log: logs.Log | terminals.Terminal) -> dict[str, Any]:
        await log.begin()
        task = asyncio.create_task(log.run())
        self._logs.add(task)
        task.add_done_callback(self._logs.discard)
        return {"stream": stream}

    async def _session(self, params: dict[str, Any], patient: bool = True) -> tuple[str, Session]:
        """Name and connection of a resource, on one of its servers. LinkError: there is none, and why.

        A server that could not be reached lately is tried once more, which takes as long as it takes (`patient`),
        or after the answer.
        """
        wanted = None if params.get("server_id") is None else _id(params, "server_id")
        found: tuple[str, int] | None = await self._stored(ledger.place_of, _id(params, "resource_id"), wanted)
        if found is None:
            raise LinkError("There is no such resource.", "unknown_resource")
        name, server_id = found
        connection = await self._connection(server_id)
        if connection.session is None and connection.reason and not patient:
            connection.ring()
            raise _unreachable(connection, connection.reason)
        try:
            if connection.session is None:
                await connection.looked()
            if connection.session is None:
                raise LinkError(f"The connection to {connection.target.name} just ended. Try again.", "closed")
            return name, connection.session
        except ssh.NoConnection as wrong:
            raise _unreachable(connection, wrong.reason) from wrong

    async def _connection(self, server_id: int) -> Connection:
        return await self._or_say(self._link.connection(server_id))

    async def _stored(self, what: Any, *given: Any) -> Any:
        return await self._or_say(self._link.in_database(what, *given))

    async def _or_say(self, asked: Awaitable[T]) -> T:
        try:
            return await asked
        except NotWritten as wrong:
            raise LinkError(str(wrong), "database") from wrong


def _unreachable(connection: Connection, reason: ssh.Reason) -> LinkError:
    return LinkError(plain(f"{connection.target.name} cannot be reached: {reason.cause}. {reason.advice}", 1000),
                     reason.code)


def _release(params: dict[str, Any], name: str) -> str:
    value = params.get(name)
    if not isinstance(value, str) or not re.fullmatch(r"[0-9]{8}-[0-9]{6}-[0-9a-f]{7,40}", value):
        raise LinkError(f"'{plain(value, 60)}' is no id of a release, such as 20261122-153000-4f1c9aa.",
                        "invalid_release")
    return value


def _id(params: dict[str, Any], name: str) -> int:
    value = params.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 2 ** 62:
        raise LinkError(f"'{name}' must be the id of a row.", "invalid_id")
    return value
