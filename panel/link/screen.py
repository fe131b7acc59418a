"""A terminal as other processes hold it: open it, read what it shows, type. Synchronous, as `client` is."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any, cast

import redis

from panel.link import client, terminals, wire

_AWAY = "Redis cannot be reached, so there is no terminal. Check that it is running."


def opened(stream: str, owner: int, resource_id: int, number: int, **wanted: Any) -> None:
    """Start a command (see `terminals.wanted`) on a resource's server; `number` is its row. Errors as `client.ask`."""
    try:
        client._redis().set(wire.reader_key(stream), 1, ex=wire.READER_SECONDS)
        client._redis().set(wire.owner_key(stream), owner, ex=int(terminals.LONGEST) + wire.READER_SECONDS)
    except redis.RedisError as wrong:
        raise client.LinkDown(_AWAY) from wrong
    client.ask("terminal", stream=stream, resource_id=resource_id, number=number, **wanted)


def is_of(stream: str, owner: int) -> bool:
    """Whether this terminal is open and belongs to this person."""
    try:
        return bool(client._redis().get(wire.owner_key(stream)) == str(owner))
    except redis.RedisError as wrong:
        raise client.LinkDown(_AWAY) from wrong


def shown(stream: str) -> Iterator[list[Any] | None]:
    """["out", base64], ["note", words], at last ["exit", code]; None when nothing came for some seconds.

    Closing the iterator ends the terminal.
    """
    try:
        yield from client.read(stream)
    finally:
        closed(stream)


def typed(stream: str, number: int, pressed: dict[str, Any]) -> None:
    """Pass on {"data": base64}, {"columns", "rows"} or {} (nothing more comes). A number that came already is not
    typed twice. LinkError: the window cannot be like that."""
    message = {"do": "type", **pressed}
    if "columns" in pressed:
        columns, rows = terminals.size(pressed)
        message = {"do": "resize", "columns": columns, "rows": rows}
    key = wire.keys_key(stream)
    try:
        before = cast(str | None, client._redis().get(f"{key}:number"))
        if before is not None and int(before) >= number:
            return
        pipe = client._redis().pipeline()
        pipe.set(f"{key}:number", number, ex=int(terminals.LONGEST))
        pipe.rpush(key, terminals.sealed_keys(stream, message))
        pipe.expire(key, wire.READER_SECONDS)
        pipe.execute()
    except redis.RedisError as wrong:
        raise client.LinkDown(_AWAY) from wrong


def data(raw: bytes) -> dict[str, Any]:
    """Typed bytes as `typed` takes them."""
    return {"data": base64.b64encode(raw).decode()}


def closed(stream: str) -> None:
    """Nobody looks any more: the link ends it within seconds."""
    try:
        key = wire.keys_key(stream)
        client._redis().delete(wire.reader_key(stream), wire.owner_key(stream), key, f"{key}:number")
    except redis.RedisError:
        return  # they run out by themselves
