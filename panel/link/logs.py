"""Journals on their way from a server to a reader in another process, through a list in Redis.

What the reader has not taken yet is bounded: when it is slow, we stop asking for more, our program on the server
stops reading, and journalctl waits. When the reader's key is gone, so is the reader.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from panel.link import ssh, wire
from panel.link.client import LinkError
from panel.link.plain import plain
from panel.link.session import Lines
from panel.store.seal import seal

_PULSE = 5.0
_FULL_PAUSE = 0.2
#: Seconds for the server to say that there is something to read.
_FIRST_WORD = 15.0


class Log:
    """One journal for one reader. `begin()`, then `run()` until it ends."""

    def __init__(self, redis: Redis, stream: str, lines: Lines, shape: Callable[[Any], list[Any]] | None = None,
                 waiting: int = wire.WAITING_LINES) -> None:
        self._redis = redis
        self._stream = stream
        self._lines = lines
        self._shape = shape or _entry
        self._waiting = waiting

    async def begin(self) -> None:
        """LinkError: there is nothing to read, and why."""
        await self._redis.set(wire.writer_key(self._stream), 1, ex=wire.WRITER_SECONDS)
        try:
            async with asyncio.timeout(_FIRST_WORD):
                first = await self._lines.next()
        except TimeoutError:
            self._close()
            raise LinkError("The server did not begin to send this log. Try again.", "timeout") from None
        if first is None:
            raise LinkError(plain(self._lines.error or "There is no log to show.", 500), "no_log")

    async def run(self) -> None:
        error = ""
        try:
            await self._pass_on()
            error = self._lines.error
        except (RedisError, ssh.NoConnection) as wrong:
            error = str(wrong)
        finally:
            self._close()
        await self._end(error)

    async def _pass_on(self) -> None:
        renewed = 0.0
        waiting = asyncio.ensure_future(self._lines.next())
        try:
            while True:
                if time.monotonic() - renewed > _PULSE:
                    renewed = time.monotonic()
                    if not await self._has_reader():
                        return
                done, _ = await asyncio.wait([waiting], timeout=_PULSE)
                if not done:
                    continue
                lines = waiting.result()
                if lines is None:
                    return
                await self._push(lines)
                waiting = asyncio.ensure_future(self._lines.next())
        finally:
            waiting.cancel()

    async def _push(self, lines: list[Any]) -> None:
        if lines:
            length = await _of(self._redis.rpush(wire.lines_key(self._stream), *map(self._sealed, lines)))
            await _of(self._redis.expire(wire.lines_key(self._stream), 2 * wire.READER_SECONDS))
            while length > self._waiting and await self._has_reader():
                await asyncio.sleep(_FULL_PAUSE)
                length = await _of(self._redis.llen(wire.lines_key(self._stream)))
            self._lines.took(len(lines))

    def _sealed(self, line: Any) -> bytes:
        """Apps print secrets, and Redis writes what passes through it to its disk: it gets nothing in clear."""
        return seal(wire.lines_key(self._stream), {"entry": self._shape(line)})

    async def _has_reader(self) -> bool:
        await self._redis.set(wire.writer_key(self._stream), 1, ex=wire.WRITER_SECONDS)
        return bool(await self._redis.exists(wire.reader_key(self._stream)))

    def _close(self) -> None:
        try:
            self._lines.close()
        except ssh.NoConnection:
            return

    async def _end(self, error: str) -> None:
        try:
            await _of(self._redis.rpush(wire.lines_key(self._stream),
                                        seal(wire.lines_key(self._stream),
                                             {"end": True, "error": plain(error, 500)})))
            await self._redis.expire(wire.lines_key(self._stream), wire.READER_SECONDS)
        except RedisError:
            return  # its reader notices that we are silent


async def _of(answer: Any) -> Any:
    """redis-py types its commands as "awaitable or not"; ours are awaitable."""
    return await answer


def _entry(line: Any) -> list[Any]:
    at, unit, text, priority = line if isinstance(line, list) and len(line) == 4 else ("", "", "", 6)
    grave = priority if isinstance(priority, int) and 0 <= priority <= 7 else 6
    return [plain(at, 40), plain(unit, 200), plain(text, wire.LINE_CHARACTERS), grave]
