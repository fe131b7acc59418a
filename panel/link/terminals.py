"""Terminals on their way between a server and a person: what is shown goes like a log, what is typed comes back."""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
from collections.abc import Awaitable, Callable
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from panel.link import logs, ssh, wire
from panel.link.client import LinkError
from panel.link.plain import plain
from panel.link.session import Lines
from panel.store.seal import seal, unseal

#: Seconds without a key and without a letter, and seconds in all, after which a terminal is ended.
IDLE, LONGEST = 30 * 60.0, 12 * 3600.0
_PULSE = 5
_MOST_WORDS, _MOST_BYTES = 100, 16 * 1024
#: Pieces that may wait for their reader.
_WAITING = 100

Ended = Callable[[int | None, str], Awaitable[None]]


class Terminal:
    """One command in a terminal, for one person. `begin()`, then `run()` until it ends; `ended` is told how."""

    def __init__(self, redis: Redis, stream: str, lines: Lines, ended: Ended) -> None:
        self._redis = redis
        self._stream = stream
        self._lines = lines
        self._ended = ended
        self._log = logs.Log(redis, stream, lines, self._shape, _WAITING)
        self._code: int | None = None
        self._note = ""

    async def begin(self) -> None:
        """LinkError: it cannot be started, and why."""
        await self._log.begin()

    async def run(self) -> None:
        keys = asyncio.create_task(self._type())
        try:
            await self._log.run()
        finally:
            keys.cancel()
            left = "" if self._code is not None else "Nobody looked any more, so it was ended."
            await self._ended(self._code, self._note or self._lines.error or left)

    def _shape(self, piece: Any) -> list[Any]:
        """A piece as its reader gets it; it comes from a server, so it is looked at."""
        kind, value = piece if isinstance(piece, list) and len(piece) == 2 else ("", "")
        if kind == "exit" and isinstance(value, int):
            self._code = value & 0xFF
            return ["exit", self._code]
        if kind == "note":
            self._note = plain(value, 500)
            return ["note", self._note]
        return ["out", _bytes(value)]

    async def _type(self) -> None:
        """Passes on what is typed, in the order in which it was."""
        key = wire.keys_key(self._stream)
        while True:
            try:
                found: Any = await self._redis.blpop([key], timeout=_PULSE)
                if found:
                    self._lines.say(unseal(key, found[1].encode()))
            except (RedisError, ssh.NoConnection):
                return  # the log ends for the same reason, and says it


def sealed_keys(stream: str, pressed: dict[str, Any]) -> bytes:
    """What was typed, as it waits in Redis: passwords are typed, too."""
    return seal(wire.keys_key(stream), pressed)


def _bytes(value: Any) -> str:
    try:
        return base64.b64encode(base64.b64decode(str(value), validate=True)).decode()
    except binascii.Error:
        return ""


def wanted(params: dict[str, Any]) -> dict[str, Any]:
    """The request as the server gets it. LinkError: a value that cannot be."""
    argv = params.get("argv")
    if not isinstance(argv, list) or not argv or not all(isinstance(word, str) and "\0" not in word for word in argv) \
            or not argv[0] or len(argv) > _MOST_WORDS or sum(map(len, argv)) > _MOST_BYTES:
        raise LinkError(f"Name a command: up to {_MOST_WORDS} words, such as: manage.py shell", "invalid_command")
    term = str(params.get("term") or "dumb")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9+.-]{0,39}", term):
        term = "xterm"
    columns, rows = size(params)
    return {"argv": argv, "tty": params.get("tty") is True, "term": term, "columns": columns, "rows": rows,
            "idle": IDLE, "longest": LONGEST}


def size(params: dict[str, Any]) -> tuple[int, int]:
    """Columns and rows of the window. LinkError: no window is like that."""
    found = [params.get("columns", 80), params.get("rows", 24)]
    if any(isinstance(one, bool) or not isinstance(one, int) or not 1 <= one <= 2000 for one in found):
        raise LinkError("A window has 1 to 2000 columns and rows.", "invalid_size")
    return found[0], found[1]
