"""Keys, chats and measurements straight over ssh, for --local."""

from __future__ import annotations

import getpass
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from cli.exits import Exit, Stop
from cli.local.conversation import Conversation
from cli.local.inventory import Inventory, Resource
from panel.link import apikeys, chats, keyring
from panel.link.client import LinkError
from panel.link.keyring import Where


def listed(inventory: Inventory, places: Sequence[Resource]) -> dict[str, Any]:
    """As the API tells it; use is seen by a panel alone."""
    try:
        found = keyring.listed(_wheres(inventory, places))
    except LinkError as wrong:
        raise Stop(wrong.message, Exit.REFUSED, code=wrong.code) from None
    return {"name": places[0].name, "keys": found.keys, "trouble": found.trouble}


def add(inventory: Inventory, places: Sequence[Resource], given: dict[str, Any]) -> dict[str, Any]:
    """LinkError: it cannot be."""
    text, key = apikeys.make(given["name"], given["requests_per_minute"], given["tokens_per_minute"], getpass.getuser())
    keyring.add(_wheres(inventory, places), key)
    return {"key": text, **{field: value for field, value in key.items() if field != "sha256"}}


def revoke(inventory: Inventory, places: Sequence[Resource], key: str) -> None:
    """LinkError: it cannot be, or only in part."""
    keyring.revoke(_wheres(inventory, places), apikeys.name(key))


def _wheres(inventory: Inventory, places: Sequence[Resource]) -> list[Where]:
    def asked(place: Resource, change: dict[str, Any]) -> list[dict[str, Any]]:
        try:
            conversation = Conversation(inventory.folder, inventory.server(place.server))
            try:
                found = conversation.answer("keys", name=place.name, change=apikeys.change(change))
            finally:
                conversation.close()
        except Stop as stop:
            raise LinkError(stop.message, stop.code or "silent") from stop
        if "error" in found:
            raise LinkError(str(found["error"]), str(found.get("code", "")))
        return apikeys.shown(found["keys"])

    return [Where(place.server, partial(asked, place)) for place in places]


def chat(inventory: Inventory, place: Resource, asked: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    return _pieces(inventory, place, "chat", chats.question(asked))


def measure(inventory: Inventory, place: Resource, wanted: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    return _pieces(inventory, place, "measure", chats.measurement(wanted))


def _pieces(inventory: Inventory, place: Resource, what: str, asked: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    conversation = Conversation(inventory.folder, inventory.server(place.server))
    try:
        for piece in conversation.ask(what, name=place.name, asked=asked):
            kind, value = chats.piece(piece)
            yield kind, value
    finally:
        conversation.close()
