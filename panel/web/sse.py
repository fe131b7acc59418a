"""Server-sent events: how a live page is fed. Reading only, by session cookie, and never too many at once."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Iterator

from flask import Response, request

#: Streams that one person may hold open in this process; browsers allow six per host without HTTP/2.
PER_PERSON = 12
IN_ALL = 3000
#: Milliseconds that a browser waits before it connects again.
_RETRY = 1500

_open: Counter[int] = Counter()
_turn = threading.Lock()


class TooManyStreams(Exception):
    """This person has too many live pages open."""

    message = "Too many live pages are open. Close some of them; this one refreshes itself without being live."


class InvalidEventId(Exception):
    """Last-Event-ID is not one of ours."""

    message = "Last-Event-ID must be the number of an event: a whole number, 0 or more."


def last_event_id(default: str = "0") -> int:
    """After which event to go on: what the browser saw last, else `?after=`. InvalidEventId."""
    text = request.headers.get("Last-Event-ID") or request.args.get("after", default)
    if not re.fullmatch(r"[0-9]{1,15}", text, re.ASCII):
        raise InvalidEventId(InvalidEventId.message)
    return int(text)


def message(event: str, data: str, number: int | None = None) -> str:
    """One message; every line of the data is marked as such."""
    lines = "".join(f"data: {line}\n" for line in data.splitlines() or [""])
    identity = f"id: {number}\n" if number is not None else ""
    return f"{identity}event: {event}\n{lines}\n"


def _take(person: int) -> None:
    with _turn:
        if _open[person] >= PER_PERSON or sum(_open.values()) >= IN_ALL:
            raise TooManyStreams(TooManyStreams.message)
        _open[person] += 1


def _give_back(person: int) -> None:
    with _turn:
        _open[person] -= 1
        if _open[person] <= 0:
            del _open[person]


def _counted(messages: Iterator[str], person: int) -> Iterator[str]:
    try:
        yield f"retry: {_RETRY}\n\n"
        yield from messages
    finally:
        _give_back(person)


class _Body:
    """Gives the place back also when the server closes the answer before its first line was read."""

    def __init__(self, messages: Iterator[str], person: int) -> None:
        self._messages, self._person, self._begun = messages, person, False
        self._lines = _counted(messages, person)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        self._begun = True
        return next(self._lines)

    def close(self) -> None:
        self._lines.close()  # type: ignore[attr-defined]  # a generator
        if not self._begun:
            _give_back(self._person)
        close = getattr(self._messages, "close", None)
        if close:
            close()


def event_stream(messages: Iterator[str], person: int) -> Response:
    """The answer that carries these messages. TooManyStreams."""
    _take(person)
    headers = {"X-Accel-Buffering": "no", "Cache-Control": "no-store"}
    return Response(_Body(messages, person), mimetype="text/event-stream", headers=headers)
