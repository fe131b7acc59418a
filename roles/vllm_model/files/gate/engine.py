"""The engine behind the gate: asks it, passes on what it answers as it comes, and counts what the answer cost."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections import defaultdict

import aiohttp
from aiohttp import web
from answers import Refused, broken_off
from question import Cost, Question

_RETRY_AFTER = 5
_CONNECT = 5.0
_PASSED_ON = ("Content-Type", "Retry-After", "X-Request-Id")
#: Events that a hung engine has, too.
_NO_ANSWER = (b'"error"', b'"response.created"', b'"response.in_progress"', b"data: [DONE]")


class Engine:
    """Whatever the pointer `live/sock` leads to."""

    def __init__(self, name: str, pointer: str, slots: dict[str, str]) -> None:
        self.name, self._pointer, self._slots = name, pointer, slots
        self._sessions: dict[str, aiohttp.ClientSession] = {}
        #: When a token, or a whole answer, last came, by slot.
        self.answered: defaultdict[str, float] = defaultdict(lambda: float("-inf"))

    def slot(self) -> str:
        """Which of the slots serves. Refused (503): none does."""
        with contextlib.suppress(OSError):
            target = os.readlink(self._pointer)
            for slot, path in self._slots.items():
                if target == path:
                    return slot
        raise self._away("is stopped")

    async def ask(self, question: Question, slot: str, seconds: float) -> aiohttp.ClientResponse:
        """Its answer has begun; between two words of it there may be as many seconds. Refused (503, 504)."""
        try:
            return await self._session(slot).request(
                question.method, f"http://engine{question.path}", data=question.body or None,
                headers={"Content-Type": "application/json", "Accept-Encoding": "identity"},
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT, sock_read=seconds),
                allow_redirects=False)
        except asyncio.TimeoutError:  # noqa: UP041  another one in Python 3.10
            raise self._late(seconds) from None
        except (aiohttp.ClientError, OSError):
            self.answered.pop(slot, None)
            raise self._away("does not answer; it is starting, or has just ended and is started again") from None

    async def whole(self, question: Question, slot: str, seconds: float) -> tuple[int, str]:
        """Status and text of an answer. Refused (503, 504)."""
        upstream = await self.ask(question, slot, seconds)
        async with upstream:
            return upstream.status, (await self._read(upstream, slot, seconds)).decode(errors="replace")

    async def text(self, path: str, slot: str, seconds: float) -> str:
        """A page of the engine's own, such as its figures. Refused: it does not answer so."""
        status, text = await self.whole(Question("GET", path), slot, seconds)
        if status != 200:
            raise self._away(f"answered {status} at {path}")
        return text

    async def pass_on(self, question: Question, slot: str, request: web.Request, seconds: float,
                      cost: Cost) -> web.StreamResponse:
        """Ask, and give the client the answer as it comes."""
        cost.asked = True
        try:
            upstream = await self.ask(question, slot, seconds)
            async with upstream:
                headers = {name: upstream.headers[name] for name in _PASSED_ON if name in upstream.headers}
                if upstream.content_type != "text/event-stream":
                    return await self._at_once(upstream, slot, headers, seconds, cost)
                answer = web.StreamResponse(status=upstream.status, headers={
                    **headers, "Cache-Control": "no-store", "X-Accel-Buffering": "no"})
                await answer.prepare(request)
                await self._stream(upstream, slot, request, answer, seconds, question.hides_usage, cost)
                return answer
        except Refused as wrong:
            cost.asked = wrong.status == 504  # one that is away has no question to answer
            raise

    async def _at_once(self, upstream: aiohttp.ClientResponse, slot: str, headers: dict[str, str], seconds: float,
                       cost: Cost) -> web.Response:
        body = await self._read(upstream, slot, seconds)
        cost.whole = True
        if upstream.content_type == "application/json":
            with contextlib.suppress(ValueError, RecursionError):
                cost.tell(json.loads(body))
        if upstream.status == 200 and cost.known:
            self.answered[slot] = time.monotonic()
        return web.Response(status=upstream.status, body=body, headers=headers)

    async def _stream(self, upstream: aiohttp.ClientResponse, slot: str, request: web.Request,
                      answer: web.StreamResponse, seconds: float, hides_usage: bool, cost: Cost) -> None:
        rest, request["begun"] = b"", True
        try:
            async for chunk in upstream.content.iter_any():
                # Whole events only: each ends with an empty line, and what the engine writes at once comes at once.
                events, mark, rest = (rest + chunk).rpartition(b"\n\n")
                if not mark:
                    continue
                if upstream.status == 200 and _is_answer(events):
                    self.answered[slot] = time.monotonic()
                await answer.write(_counted(events + mark, hides_usage, cost))
            if rest:
                await answer.write(rest)
        except ConnectionError:
            raise  # the client is gone; the end of an engine is another error
        except asyncio.TimeoutError:  # noqa: UP041
            await _break_off(request, answer, self._late(seconds))
        except aiohttp.ClientError:
            self.answered.pop(slot, None)
            await _break_off(request, answer, Refused(
                500, "engine_failed", f"{self.name} ended in the middle of this answer. Ask again."))
        else:
            cost.whole = True
            await answer.write_eof()

    async def _read(self, upstream: aiohttp.ClientResponse, slot: str, seconds: float) -> bytes:
        try:
            return await upstream.read()
        except asyncio.TimeoutError:  # noqa: UP041
            raise self._late(seconds) from None
        except (aiohttp.ClientError, OSError):
            self.answered.pop(slot, None)
            raise self._away("ended while it answered") from None

    def _session(self, slot: str) -> aiohttp.ClientSession:
        path = self._slots[slot]
        if path not in self._sessions:
            # Each request connects anew, so that none is left with a slot that serves no more.
            connector = aiohttp.UnixConnector(path=path, force_close=True, limit=0)
            self._sessions[path] = aiohttp.ClientSession(connector=connector, auto_decompress=False)
        return self._sessions[path]

    def _away(self, how: str) -> Refused:
        return Refused(503, "engine_unavailable", f"{self.name} {how}. Try again in a moment.", _RETRY_AFTER)

    def _late(self, seconds: float) -> Refused:
        return Refused(504, "engine_timeout", f"{self.name} wrote nothing for {seconds:.0f} seconds.")

    async def close(self) -> None:
        for one in self._sessions.values():
            await one.close()


async def _break_off(request: web.Request, answer: web.StreamResponse, wrong: Refused) -> None:
    await answer.write(broken_off(wrong))
    if request.transport is not None:
        request.transport.close()  # without the end that a whole answer has


def _is_answer(events: bytes) -> bool:
    """Whether one of them has something that the model said."""
    return any(event and not any(mark in event for mark in _NO_ANSWER) for event in events.split(b"\n\n"))


def _counted(events: bytes, hides_usage: bool, cost: Cost) -> bytes:
    """Whole events, counted; without the one that only tells the usage, where the client did not ask for it."""
    cost.saw(events.count(b"\n\n"))
    if b'"usage"' not in events or (b'"usage":null' in events and b'"usage":{' not in events):
        return events
    kept = []
    for event in events.split(b"\n\n")[:-1]:
        if b'"usage"' not in event or not _only_usage(event, cost) or not hides_usage:
            kept.append(event + b"\n\n")
    return b"".join(kept)


def _only_usage(event: bytes, cost: Cost) -> bool:
    """Tell the cost; whether the event is the last one, which has nothing but the usage."""
    for line in event.splitlines():
        if line.startswith(b"data:"):
            with contextlib.suppress(ValueError, RecursionError):
                found = json.loads(line[5:])
                cost.tell(found)
                return isinstance(found, dict) and found.get("choices") == []
    return False
