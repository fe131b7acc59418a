"""How other processes speak to the link. Synchronous; works with threads and with gevent.

    ask("scan", address="192.0.2.10", port=22)  -> {"keys": ["ssh-ed25519 AAAA…"], "fingerprints": ["SHA256:…"]}
    ask("test", server_id=1)                    -> {"ok": true, "text": "…", "checks": [{"name", "ok", "text"}]}
    ask("compare", resource_id=3, a="…", b="…") -> {"commits", "environment", "migrations", …} of two releases
    ask("observe", server_id=1)                 -> {"observed": "ok", "text": "…"}, after it has been stored
    journal(resource_id=3, lines=100)           -> lines of text
    entries(resource_id=3, follow=True)         -> Entry(at, unit, text, priority), None as a keep-alive
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple, cast

import redis

from panel.link import wire
from panel.link.remote.names import process
from panel.settings import settings
from panel.store.seal import unseal

#: A blocking read never takes longer than this, so that a dead Redis is noticed.
_PULSE = 5.0
#: A link that is just starting is waited for this long.
_START = 8.0


class LinkError(Exception):
    """The link could not do what was asked; `message` says why and what to do, `code` is for programs."""

    def __init__(self, message: str, code: str = "link_error") -> None:
        super().__init__(message)
        self.message = message
        self.code = code


class LinkDown(LinkError):
    """Nobody answers: the link, or Redis between us, is not running."""

    def __init__(self, message: str = "The link is not running, so servers cannot be asked. "
                                      "Start it with `webops link` (`webops up` starts everything).") -> None:
        super().__init__(message, "link_down")


class Entry(NamedTuple):
    """One line of a journal: when (ISO 8601, UTC), by which unit or file, what, how grave (syslog's 0-7)."""

    at: str
    unit: str
    text: str
    priority: int

    def __str__(self) -> str:
        return f"{self.at} {process(self.unit)} {self.text}".lstrip()


def ask(method: str, timeout: float = 20, **params: Any) -> dict[str, Any]:
    """Ask the link for `method` and wait for its answer.

    LinkDown: no link, or no answer within `timeout` seconds. LinkError: it answered that it could not.
    """
    number = uuid.uuid4().hex
    try:
        _wait_for_link(min(timeout, _START))
        _send(number, {"method": method, "params": params}, timeout)
        reply = _reply(number, timeout)
    except redis.RedisError as wrong:
        raise LinkDown("Redis cannot be reached, so servers cannot be asked. "
                       "Check that it is running (`webops up` starts everything).") from wrong
    if reply is None:
        raise LinkDown(f"The link did not answer within {timeout:.0f} seconds. Try again; "
                       "its own log says what it is busy with.")
    if "error" in reply:
        raise LinkError(str(reply["error"].get("message", "")), str(reply["error"].get("code", "link_error")))
    return cast(dict[str, Any], reply["result"])


def alive() -> bool:
    """Whether a link is running: without one, what was observed only gets older."""
    try:
        return bool(_redis().exists(wire.ALIVE))
    except redis.RedisError:
        return False


def journal(resource_id: int, lines: int = 100, follow: bool = False, since: str = "", *,
            grep: str = "", until: str = "", process: str = "", server_id: int | None = None) -> Iterator[str]:
    """A resource's log as lines of text, oldest first. While following, "" comes when nothing else does.

    `since`, `until`: only what is younger, older ("2026-11-02 14:00", "1h"); `grep`: only lines that hold this
    text, large letters or small; `process`: only of this one, as `panel.link.remote.names` calls it.
    `server_id`: which of its servers, where it is on several; the first, where none is said.
    Errors as in `ask`, raised before the first line where possible.
    """
    found = entries(resource_id, lines=lines, follow=follow, since=since, grep=grep, until=until, process=process,
                    server_id=server_id)
    return (str(one) if one else "" for one in found)


def entries(resource_id: int, *, lines: int = 100, follow: bool = False, since: str = "",
            grep: str = "", until: str = "", process: str = "",
            server_id: int | None = None) -> Iterator[Entry | None]:
    """As `journal`, in parts. None comes every few seconds while following: pass something on to your own
    reader then, so that one who went away is noticed. Close the iterator (or drop it) to stop the link."""
    stream = uuid.uuid4().hex
    try:
        _redis().set(wire.reader_key(stream), 1, ex=wire.READER_SECONDS)
    except redis.RedisError as wrong:
        raise LinkDown("Redis cannot be reached, so logs cannot be read. Check that it is running.") from wrong
    ask("journal", stream=stream, resource_id=resource_id, lines=lines, follow=follow, since=since, grep=grep,
        until=until, process=process, server_id=server_id)
    return _read(stream, follow)


def _read(stream: str, follow: bool) -> Iterator[Entry | None]:
    for item in read(stream):
        if item or follow:
            yield Entry(*item) if item else None


def read(stream: str) -> Iterator[list[Any] | None]:
    """What the link leaves in a stream, in order; None when nothing came for some seconds. Errors as `ask`."""
    renewed = 0.0
    try:
        while True:
            items = _pop(stream)
            for item in items:
                if isinstance(item, dict):
                    if item.get("error"):
                        raise LinkError(str(item["error"]))
                    return
                yield item
            if not items:
                yield None
            if time.monotonic() - renewed > _PULSE:
                renewed = time.monotonic()
                _say_reading(stream)
    except redis.RedisError as wrong:
        raise LinkDown("Redis went away, and the log with it. Open it again.") from wrong
    finally:
        _forget(stream)


def _say_reading(stream: str) -> None:
    if not _redis().set(wire.reader_key(stream), 1, ex=wire.READER_SECONDS, xx=True):
        raise LinkError("This log was not read for too long and was let go. Open it again.", "reader_away")


def _pop(stream: str) -> list[Any]:
    """What has come: waits a moment when nothing has. LinkDown: the writer is gone."""
    db = _redis()
    first = cast(tuple[str, str] | None, db.blpop([wire.lines_key(stream)], timeout=_PULSE))
    if first is None:
        if not db.exists(wire.writer_key(stream)):
            raise LinkDown("The link went away, and the log with it. Open it again.")
        return []
    more = cast(list[str] | None, db.lpop(wire.lines_key(stream), 500)) or []
    found = (unseal(wire.lines_key(stream), one.encode()) for one in (first[1], *more))
    return [one.get("entry", one) for one in found]


def _forget(stream: str) -> None:
    try:
        _redis().delete(wire.reader_key(stream), wire.lines_key(stream))
    except redis.RedisError:
        return  # both expire by themselves


@cache
def _redis() -> redis.Redis:
    # Blocking reads take _PULSE seconds at most; the socket gives up only well after them.
    return redis.Redis.from_url(settings().redis, decode_responses=True, socket_timeout=3 * _PULSE)


def _wait_for_link(patience: float) -> None:
    until = time.monotonic() + patience
    while not _redis().exists(wire.ALIVE):
        if time.monotonic() > until:
            raise LinkDown
        time.sleep(0.1)


def _send(number: str, request: dict[str, Any], timeout: float) -> None:
    pipe = _redis().pipeline()
    pipe.set(wire.request_key(number), json.dumps(request | {"patience": timeout}), px=int(timeout * 1000))
    pipe.rpush(wire.REQUESTS, number)
    pipe.expire(wire.REQUESTS, wire.REPLY_SECONDS)
    pipe.execute()


def _reply(number: str, timeout: float) -> dict[str, Any] | None:
    until = time.monotonic() + timeout
    while (left := until - time.monotonic()) > 0:
        found = cast(tuple[str, str] | None,
                     _redis().blpop([wire.reply_key(number)], timeout=min(left, _PULSE)))
        if found:
            return cast(dict[str, Any], json.loads(found[1]))
    return None
