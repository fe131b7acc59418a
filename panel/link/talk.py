"""Chats and measurements as other processes hold them. Synchronous, as `client` is."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import redis

from panel.link import chats, client, wire
from panel.store.seal import seal

_AWAY = "Redis cannot be reached, so nothing can be asked. Check that it is running."


def chat(resource_id: int, question: Any, server_id: int | None = None) -> Iterator[list[Any] | None]:
    """Ask a model. ["text", words], ["thought", words], at last ["done", figures]; None when nothing came for some
    seconds. Errors as `client.ask`, raised before the first piece where possible. Close the iterator to break it off.
    """
    wanted, stream = chats.question(question), uuid.uuid4().hex
    try:
        # Sealed, and not in the request: what people ask is nobody's business who reads Redis or its disk.
        client._redis().set(wire.asked_key(stream), seal(wire.asked_key(stream), wanted), ex=wire.READER_SECONDS)
    except redis.RedisError as wrong:
        raise client.LinkDown(_AWAY) from wrong
    return _begun("chat", stream, resource_id=resource_id, server_id=server_id)


def measure(resource_id: int, wanted: dict[str, Any], server_id: int | None = None) -> Iterator[list[Any] | None]:
    """As many clients as each level says ask at a time: ["row", figures] per level, ["note", words]. As `chat`."""
    return _begun("measure", uuid.uuid4().hex, resource_id=resource_id, server_id=server_id,
                  **chats.measurement(wanted))


def _begun(method: str, stream: str, **params: Any) -> Iterator[list[Any] | None]:
    try:
        client._redis().set(wire.reader_key(stream), 1, ex=wire.READER_SECONDS)
    except redis.RedisError as wrong:
        raise client.LinkDown(_AWAY) from wrong
    client.ask(method, stream=stream, **params)
    return client.read(stream)
