"""Keys, chats and measurements straight over ssh, for --local."""

from __future__ import annotations

import getpass
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from cli.exits import Exit, Stop
from cli.local.conversation import Conversation
from cli.local.inventory import Inventory, Resource
from panel.catalog import Kind
from panel.link import apikeys, chats, keyring
from panel.link.client import LinkError
from panel.link.keyring import Where


class NearDesk:
    """As `cli.far.FarDesk`; use of keys is seen by a panel alone. `places`: the resource on each of its servers."""

    def __init__(self, inventory: Inventory, kind: Kind, places: Sequence[Resource]) -> None:
        self._inventory, self._kind, self._places = inventory, kind, places

    def keys(self) -> dict[str, Any]:
        try:
            found = keyring.listed(self._wheres())
        except LinkError as wrong:
            raise _stop(wrong) from None
        shown = [{field: value for field, value in one.items() if field != "sha256"} for one in found.keys]
        return {"name": self._places[0].name, "keys": shown, "trouble": found.trouble}

    def add_key(self, given: dict[str, Any]) -> dict[str, Any]:
        try:
            text, key = apikeys.make(given["name"], given["requests_per_minute"], given["tokens_per_minute"],
                                     getpass.getuser())
            keyring.add(self._wheres(), key)
        except LinkError as wrong:
            raise _stop(wrong) from None
        return {"key": text, **{field: value for field, value in key.items() if field != "sha256"}}

    def revoke_key(self, key: str) -> None:
        try:
            keyring.revoke(self._wheres(), apikeys.name(key))
        except LinkError as wrong:
            raise _stop(wrong) from None

    def spread_keys(self) -> int:
        try:
            return keyring.spread(self._wheres())
        except LinkError as wrong:
            raise _stop(wrong) from None

    def chat(self, asked: dict[str, Any]) -> Iterator[tuple[str, Any]]:
        return self._pieces("chat", asked, chats.question)

    def measure(self, wanted: dict[str, Any]) -> Iterator[tuple[str, Any]]:
        return self._pieces("measure", wanted, chats.measurement)

    def _pieces(self, what: str, asked: dict[str, Any], looked_at: Any) -> Iterator[tuple[str, Any]]:
        self._check("chat")
        server = asked.get("server", self._places[0].server)
        place = next((one for one in self._places if one.server == server), None)
        if place is None:
            raise Stop(f"{self._places[0].name} is not on {server}.", Exit.REFUSED, next_step="webops list --local")
        try:
            wanted = looked_at(asked)
        except LinkError as wrong:
            raise _stop(wrong) from None
        conversation = Conversation(self._inventory.folder, self._inventory.server(place.server))
        try:
            for piece in conversation.ask(what, name=place.name, asked=wanted):
                kind, value = chats.piece(piece)
                yield kind, value
        finally:
            conversation.close()

    def _wheres(self) -> list[Where]:
        self._check("keys")
        return [Where(place.server, partial(self._asked, place)) for place in self._places]

    def _asked(self, place: Resource, change: dict[str, Any]) -> list[dict[str, Any]]:
        """What a server says of its keys. LinkError: it cannot be asked, or refuses."""
        try:
            conversation = Conversation(self._inventory.folder, self._inventory.server(place.server))
            try:
                found = conversation.answer("keys", name=place.name, change=apikeys.change(change))
            finally:
                conversation.close()
        except Stop as stop:
            raise LinkError(stop.message, stop.code or "silent") from stop
        if "error" in found:
            raise LinkError(str(found["error"]), str(found.get("code", "")))
        return apikeys.shown(found["keys"])

    def _check(self, what: str) -> None:
        """Stop: resources of this kind have no such thing."""
        if what not in self._kind.offers:
            raise Stop(f"{self._places[0].name} is a {self._kind.label}, which has no {what}.", Exit.REFUSED,
                       code="not_found")


def _stop(wrong: LinkError) -> Stop:
    return Stop(wrong.message, Exit.REFUSED, code=wrong.code)
