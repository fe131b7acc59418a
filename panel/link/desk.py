"""Takes requests from Redis, one task each, and leaves the answers there."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Awaitable, Callable
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from panel.link import wire
from panel.link.client import LinkError

log = logging.getLogger("webops.link")

Method = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]

_AT_ONCE = 50
_PULSE = 5
_MOST_BYTES = 64 * 1024


class Desk:
    """`methods` by name: parameters in, result out, LinkError for what cannot be."""

    def __init__(self, redis: Redis, methods: dict[str, Method]) -> None:
        self._redis = redis
        self._methods = methods
        self._gate = asyncio.Semaphore(_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Until it is cancelled. RedisError goes up: whoever runs us knows how long to wait."""
        try:
            while True:
                await self._gate.acquire()
                self._gate.release()
                found: Any = await self._redis.blpop([wire.REQUESTS], timeout=_PULSE)
                if found and re.fullmatch(r"[0-9a-f]{32}", found[1]):
                    task = asyncio.create_task(self._serve(found[1]))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
        finally:
            for task in self._tasks:
                task.cancel()

    async def _serve(self, number: str) -> None:
        async with self._gate:
            try:
                request = await self._redis.getdel(wire.request_key(number))
                if request and len(request) <= _MOST_BYTES:
                    await self._reply(number, await self._answer(json.loads(request)))
            except (RedisError, ValueError) as wrong:
                log.warning("A request could not be answered: %s", wrong)

    async def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        name, patience = str(request.get("method")), float(request.get("patience") or 20)
        method = self._methods.get(name)
        if method is None:
            return _error("unknown_method", f"The link cannot be asked for '{name}'. Is it of the same version?")
        try:
            async with asyncio.timeout(patience):
                return {"result": await method(dict(request.get("params") or {}))}
        except LinkError as wrong:
            return _error(wrong.code, wrong.message)
        except TimeoutError:
            return _error("timeout", "The server did not answer in time. Try again.")
        except Exception:  # one bad request must not end the link
            log.exception("The request '%s' failed", name)
            return _error("link_error", "The link failed at this; its log says why.")

    async def _reply(self, number: str, answer: dict[str, Any]) -> None:
        async with self._redis.pipeline() as pipe:
            pipe.rpush(wire.reply_key(number), json.dumps(answer))
            pipe.expire(wire.reply_key(number), wire.REPLY_SECONDS)
            await pipe.execute()


def _error(code: str, message: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message}}
