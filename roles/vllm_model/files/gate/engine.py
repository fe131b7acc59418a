"""The engine behind the gate: asks it, passes on what it answers as it comes, and counts what the answer cost."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections import Counter
from typing import Any

import aiohttp
from aiohttp import web
from answers import Refused, broken_off

_RETRY_AFTER = 5
_CONNECT = 5.0
_PASSED_ON = ("Content-Type", "Retry-After", "X-Request-Id")
#: Paths whose streams say at their end what they cost, when they are asked to.
_ASKED_FOR_USAGE = ("/v1/chat/completions", "/v1/completions")
#: Letters per token, where nobody counted the tokens.
_LETTERS = 4


class Cost:
    """Tokens of one answer: what the engine says, or what was seen of it when it could not say."""

    def __init__(self, asked_bytes: int) -> None:
        self._in, self._out, self._known = 0, 0, False
        self._asked_bytes, self._pieces = asked_bytes, 0

    def tell(self, found: Any) -> None:
        """An answer, or an event of one: in the forms of chat, completions, responses and messages."""
        if not isinstance(found, dict):
            return
        for one in (found, found.get("response"), found.get("message")):
            usage = one.get("usage") if isinstance(one, dict) else None
            if isinstance(usage, dict):
                self._known = True
                self._in = max(self._in, _tokens(usage, "prompt_tokens", "input_tokens"))
                self._out = max(self._out, _tokens(usage, "completion_tokens", "output_tokens"))

    def saw(self, pieces: int) -> None:
        self._pieces += pieces

    def total(self) -> tuple[int, int]:
        """In and out. Whoever leaves a stream early pays for what came, and for the question by its length."""
        if self._known and self._out:
            return self._in, self._out
        if not self._pieces:
            return self._in, self._out
        return self._in or self._asked_bytes // _LETTERS, self._pieces


def _tokens(usage: dict[str, Any], *names: str) -> int:
    return max((value for name in names if isinstance(value := usage.get(name), int)), default=0)


class Question:
    """A request as the engine gets it."""

    def __init__(self, method: str, path: str, body: bytes = b"", kind: str = "application/json") -> None:
        self.method, self.path, self.body = method, path, body
        #: As the client sent it: of a form it names what is between the parts.
        self.kind = kind
        #: The usage of a stream was asked for by us and not by the client: it is not passed on.
        self.hides_usage = False
        if body and kind.partition(";")[0].strip().lower() == "application/json":
            self._ask_for_usage()

    def _ask_for_usage(self) -> None:
        try:
            asked = json.loads(self.body)
        except (ValueError, RecursionError):
            raise Refused(400, "invalid_json", "The body is not JSON. Send an object such as "
                                               '{"model": "…", "messages": […]}.') from None
        if not isinstance(asked, dict):
            raise Refused(400, "invalid_json", "The body must be a JSON object.")
        options = asked.get("stream_options")
        if asked.get("stream") is not True or self.path not in _ASKED_FOR_USAGE or not isinstance(
                options, dict | None) or (options or {}).get("include_usage") is True:
            return
        self.hides_usage = True
        asked["stream_options"] = {**(options or {}), "include_usage": True}
        self.body = json.dumps(asked).encode()


class Engine:
    """Whatever the pointer `live/sock` leads to, or a slot that is named."""

    def __init__(self, name: str, pointer: str, slots: dict[str, str]) -> None:
        self.name, self._pointer, self._slots = name, pointer, slots
        self._sessions: dict[str, aiohttp.ClientSession] = {}
        #: Requests that are open now, by slot.
        self.open: Counter[str] = Counter()
        #: When a token, or a whole answer, last came.
        self.answered = float("-inf")

    def slot(self, wanted: str = "") -> str:
        """Which of the slots serves, or the one that is wanted. Refused (503): none does."""
        if wanted:
            return wanted
        with contextlib.suppress(OSError):
            target = os.readlink(self._pointer)
            for slot, path in self._slots.items():
                if target == path:
                    return slot
        raise self._away("is stopped")

    async def ask(self, question: Question, slot: str, seconds: float) -> aiohttp.ClientResponse:
        """Its answer has begun. Refused (503, 504)."""
        try:
            return await self._session(slot).request(
                question.method, f"http://engine{question.path}", data=question.body or None,
                headers={"Content-Type": question.kind, "Accept-Encoding": "identity"},
                timeout=aiohttp.ClientTimeout(total=seconds, sock_connect=_CONNECT), allow_redirects=False)
        except asyncio.TimeoutError:  # noqa: UP041  another one in Python 3.10
            raise Refused(504, "engine_timeout", f"{self.name} did not answer within {seconds:.0f} seconds.") from None
        except (aiohttp.ClientError, OSError):
            raise self._away("does not answer; it is starting, or has just ended and is started again") from None

    async def text(self, path: str, slot: str, seconds: float = 5) -> str:
        """A page of the engine's own, such as its figures. Refused: it does not answer so."""
        answer = await self.ask(Question("GET", path), slot, seconds)
        async with answer:
            if answer.status != 200:
                raise self._away(f"answered {answer.status} at {path}")
            return await _whole(answer, self)

    async def pass_on(self, question: Question, slot: str, request: web.Request, seconds: float,
                      cost: Cost) -> web.StreamResponse:
        """Ask, and give the client the answer as it comes."""
        self.open[slot] += 1
        try:
            upstream = await self.ask(question, slot, seconds)
            async with upstream:
                headers = {name: upstream.headers[name] for name in _PASSED_ON if name in upstream.headers}
                if upstream.content_type != "text/event-stream":
                    return await self._at_once(upstream, headers, cost)
                return await self._stream(upstream, headers, request, question.hides_usage, cost)
        finally:
            self.open[slot] -= 1

    async def _at_once(self, upstream: aiohttp.ClientResponse, headers: dict[str, str], cost: Cost) -> web.Response:
        try:
            body = await upstream.read()
        except (aiohttp.ClientError, OSError, asyncio.TimeoutError):  # noqa: UP041
            raise self._away("ended while it answered") from None
        if upstream.status == 200:
            self.answered = time.monotonic()
        if upstream.content_type == "application/json":
            with contextlib.suppress(ValueError, RecursionError):
                cost.tell(json.loads(body))
        return web.Response(status=upstream.status, body=body, headers=headers)

    async def _stream(self, upstream: aiohttp.ClientResponse, headers: dict[str, str], request: web.Request,
                      hides_usage: bool, cost: Cost) -> web.StreamResponse:
        answer = web.StreamResponse(status=upstream.status, headers=headers | {"Cache-Control": "no-store",
                                                                               "X-Accel-Buffering": "no"})
        await answer.prepare(request)
        rest = b""
        try:
            async for chunk in upstream.content.iter_any():
                self.answered = time.monotonic()
                # Whole events only: each ends with an empty line, and what the engine writes at once comes at once.
                whole, mark, rest = (rest + chunk).rpartition(b"\n\n")
                if mark:
                    await answer.write(_counted(whole + mark, hides_usage, cost))
            if rest:
                await answer.write(rest)
        except (aiohttp.ClientError, asyncio.TimeoutError):  # noqa: UP041
            self.answered = float("-inf")
            await answer.write(broken_off(f"{self.name} ended in the middle of this answer. Ask again."))
            if request.transport is not None:
                request.transport.close()  # without the end that a whole answer has
            return answer
        await answer.write_eof()
        return answer

    def _session(self, slot: str) -> aiohttp.ClientSession:
        path = self._slots[slot]
        if path not in self._sessions:
            # Each request connects anew, so that none is left with a slot that serves no more.
            connector = aiohttp.UnixConnector(path=path, force_close=True, limit=0)
            self._sessions[path] = aiohttp.ClientSession(connector=connector, auto_decompress=False)
        return self._sessions[path]

    def _away(self, how: str) -> Refused:
        self.answered = float("-inf")
        return Refused(503, "engine_unavailable", f"{self.name} {how}. Try again in a moment.", _RETRY_AFTER)

    async def close(self) -> None:
        for one in self._sessions.values():
            await one.close()


async def _whole(answer: aiohttp.ClientResponse, engine: Engine) -> str:
    try:
        return await answer.text()
    except (aiohttp.ClientError, OSError, asyncio.TimeoutError):  # noqa: UP041
        raise engine._away("ended while it answered") from None


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
