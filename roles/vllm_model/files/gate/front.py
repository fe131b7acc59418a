"""The two doors: the front door, where a key is needed, and the desk, where webops-deploy asks."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any

import figures
from aiohttp import web
from answers import Refused, let_in, preflight, refusal
from engine import Engine
from health import Health
from question import Cost, Question
from use import Accounts
from watched import WEBOPS, Key, Settings, Watched, match

_KEY = re.compile(r"[\x21-\x7e]{1,200}")
_ASKED = re.compile(r"/v1/(?:chat/completions|completions|embeddings|responses|messages|messages/count_tokens)")
_READ = re.compile(r"/v1/models(?:/[A-Za-z0-9][A-Za-z0-9._:/-]{0,200})?")
_QUERY = re.compile(r"[A-Za-z0-9_=&.-]{0,200}")
#: Seconds for a request to arrive. nginx sends it in one piece.
_ARRIVAL = 60.0
#: Seconds between two looks whether a client is gone, or all are.
_GONE = 0.25
#: Seconds for the engine's figures: the link leaves after four, and the figures of the keys shall not go with it.
_GLANCE = 2.5

Handler = Callable[[web.Request], Coroutine[Any, Any, web.StreamResponse]]


class Doors:
    """`front` and `desk` as applications; `watch()` runs beside them."""

    def __init__(self, engine: Engine, keys: Watched[list[Key]], settings: Watched[Settings],
                 accounts: Accounts) -> None:
        self._engine, self._keys, self._settings, self._accounts = engine, keys, settings, accounts
        self._health = Health(engine)
        self._open: dict[asyncio.Task[web.StreamResponse], web.Request] = {}

    def front(self) -> web.Application:
        return self._application({"/health": self._is_well}, self._enter)

    def desk(self) -> web.Application:
        return self._application({"/health": self._is_well, "/webops/figures": self._figures,
                                  "/metrics": self._metrics}, self._at_desk)

    def _application(self, own: dict[str, Handler], enter: Handler) -> web.Application:
        async def handle(request: web.Request) -> web.StreamResponse:
            try:
                if request.method == "OPTIONS" and self._set().origins:
                    return preflight(request)
                if request.path in own and request.method in ("GET", "HEAD"):
                    return await own[request.path](request)
                return await self._until_gone(request, enter)
            except Refused as wrong:
                return refusal(wrong)
            except ConnectionError:
                return web.Response(status=499)  # nobody is there to read it
            except Exception as wrong:  # noqa: BLE001
                # The one place for what nobody thought of. An answer that has begun must not look whole.
                print(f"{request.method} {request.path}: {type(wrong).__name__}: {wrong}", file=sys.stderr, flush=True)
                if "begun" in request and request.transport is not None:
                    request.transport.close()
                return refusal(Refused(500, "internal_error", "The gate could not do this; its journal says why."))

        async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
            let_in(request, list(self._set().origins), response.headers)

        # The largest body is our own matter: it can be changed while we run.
        application = web.Application(client_max_size=2 ** 40)
        application.router.add_route("*", "/{path:.*}", handle)
        application.on_response_prepare.append(add_headers)
        return application

    def _set(self) -> Settings:
        return self._settings.value or Settings()

    async def _until_gone(self, request: web.Request, enter: Handler) -> web.StreamResponse:
        """As a task of its own, which ends when the client goes away: the engine then stops writing for nobody."""
        task: asyncio.Task[web.StreamResponse] = asyncio.create_task(enter(request))
        self._open[task] = request
        try:
            await asyncio.wait({task})
        finally:
            task.cancel()
            del self._open[task]
        return web.Response(status=499) if task.cancelled() else task.result()

    async def watch(self) -> None:
        while True:
            await asyncio.sleep(_GONE)
            for task, request in list(self._open.items()):
                if request.transport is None or request.transport.is_closing():
                    task.cancel()

    async def quiet(self, seconds: float) -> None:
        """Until no answer is open, at most so long."""
        until = time.monotonic() + seconds
        while self._open and time.monotonic() < until:
            await asyncio.sleep(_GONE)

    async def _enter(self, request: web.Request) -> web.StreamResponse:
        _check_path(request)
        return await self._serve(request, self._key_of(request))

    async def _at_desk(self, request: web.Request) -> web.StreamResponse:
        _check_path(request)
        return await self._serve(request, WEBOPS)

    def _key_of(self, request: web.Request) -> Key:
        """Whose request it is. Refused (401): nobody's."""
        text = _text_of_key(request)
        known = self._keys.value
        if known is None:
            raise Refused(503, "keys_unavailable", "The keys cannot be read on the server, so nobody is let in.", 30)
        found = match(known, hashlib.sha256(text.encode()).hexdigest())
        if found is None:
            raise Refused(401, "invalid_api_key", "This API key is unknown or was revoked.")
        return found

    async def _serve(self, request: web.Request, key: Key) -> web.StreamResponse:
        account, aside = self._accounts.of(key), 0
        question = Question(request.method, request.raw_path, await self._body(request))
        slot = self._engine.slot()
        if request.method == "POST":
            aside = account.admit(key, question.most, self._accounts.now())
        cost = Cost(question)
        try:
            return await self._engine.pass_on(question, slot, request, self._set().request_timeout, cost)
        finally:
            account.charge(aside, *cost.total(), self._accounts.now())

    async def _body(self, request: web.Request) -> bytes:
        most = self._set().max_body
        too_large = Refused(413, "request_too_large", f"A request may have up to {most} bytes.")
        if request.method != "POST":
            return b""
        _check_form(request)
        if (request.content_length or 0) > most:
            raise too_large
        found = bytearray()
        try:
            while piece := await asyncio.wait_for(request.content.readany(), _ARRIVAL):
                found += piece
                if len(found) > most:
                    raise too_large
        except asyncio.TimeoutError:  # noqa: UP041  another one in Python 3.10
            raise Refused(408, "request_timeout", f"Nothing more of the request came for {_ARRIVAL:.0f} s.") from None
        return bytes(found)

    async def _is_well(self, request: web.Request) -> web.Response:
        await self._health.look()
        return web.json_response({"status": "ok"}, headers={"Cache-Control": "no-store"})

    def _uses(self) -> dict[str, dict[str, Any]]:
        return self._accounts.shown([WEBOPS, *(self._keys.value or [])])

    async def _figures(self, request: web.Request) -> web.Response:
        """What is not known is null."""
        engine = None
        with contextlib.suppress(Refused, asyncio.TimeoutError):
            engine = figures.of_engine(await self._engine_says())
        return web.json_response({"engine": engine, "keys": self._uses(), "problem": self._keys.problem})

    async def _metrics(self, request: web.Request) -> web.Response:
        text = figures.as_text(self._uses())
        with contextlib.suppress(Refused, asyncio.TimeoutError):
            text = (await self._engine_says()).rstrip("\n") + "\n" + text
        return web.Response(text=text)

    async def _engine_says(self) -> str:
        return await asyncio.wait_for(self._engine.text("/metrics", self._engine.slot(), _GLANCE), _GLANCE)


def _text_of_key(request: web.Request) -> str:
    """The key, as clients of OpenAI's API send it or as those of Anthropic's do. Refused (400, 401): there is none."""
    given = set()
    for name in ("Authorization", "X-Api-Key"):
        values = request.headers.getall(name, [])
        if len(values) > 1:
            raise Refused(400, "invalid_request", f"The header '{name}' is there twice.")
        given |= set(values if name == "X-Api-Key" else map(_bearer, values))
    if len(given) > 1:
        raise Refused(400, "invalid_request", "The headers 'Authorization' and 'X-Api-Key' hold different keys. "
                                              "Send one of them.")
    if not given or not _KEY.fullmatch(text := given.pop()):
        raise Refused(401, "invalid_api_key", "Send an API key: 'Authorization: Bearer sk-wo-…'.")
    return text


def _bearer(value: str) -> str:
    scheme, _, text = value.partition(" ")
    return text if scheme.lower() == "bearer" else ""


def _check_form(request: web.Request) -> None:
    """Plain JSON only: what is packed or is another form could not be counted."""
    packed = ", ".join(request.headers.getall("Content-Encoding", []))
    if packed.strip().lower() not in ("", "identity"):
        raise Refused(415, "unsupported_media_type", "Send the body as it is, without 'Content-Encoding'.")
    if request.content_type != "application/json":
        raise Refused(415, "unsupported_media_type", "Send JSON, with the header 'Content-Type: application/json'.")


def _check_path(request: web.Request) -> None:
    """Only what is served: the engine has more, such as pausing it, which is nobody's business here."""
    path, _, query = request.raw_path.partition("?")
    found = _ASKED if request.method == "POST" else _READ if request.method in ("GET", "HEAD") else None
    if found and found.fullmatch(path) and ".." not in path and _QUERY.fullmatch(query):
        return
    if _ASKED.fullmatch(path) or _READ.fullmatch(path):
        raise Refused(405, "method_not_allowed", f"{path} cannot be asked with {request.method}.")
    raise Refused(404, "not_found", "There is nothing at this address. Chats are at /v1/chat/completions.")

