"""The API keys of a resource over all of its servers. Each server holds its own list; here they are one.

What cannot be reached is said: a key that was revoked everywhere else still opens the door there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from panel.link import client
from panel.link.client import LinkError


class Where(NamedTuple):
    """A server of the resource, and how its keys are asked for or changed there: {} or a change -> all of them."""

    server: str
    ask: Callable[[dict[str, Any]], list[dict[str, Any]]]


@dataclass
class Keyring:
    """`keys`: each with `on`, the servers that have it. `trouble`: why a server could not be asked, by its name."""

    keys: list[dict[str, Any]] = field(default_factory=list)
    trouble: dict[str, str] = field(default_factory=dict)


class Half(LinkError):
    """Done on some servers and not on others; the message says where and what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(message, "half_done")


def through_link(resource_id: int, servers: Sequence[tuple[int, str]]) -> list[Where]:
    """The servers of a resource, (id, name) each, asked through the link."""
    def asking(server_id: int) -> Callable[[dict[str, Any]], list[dict[str, Any]]]:
        return lambda change: list(client.ask("keys", resource_id=resource_id, server_id=server_id,
                                              change=change)["keys"])

    return [Where(name, asking(number)) for number, name in servers]


def listed(places: Sequence[Where]) -> Keyring:
    """By name. LinkError: no server could be asked."""
    found = Keyring()
    by_name: dict[str, dict[str, Any]] = {}
    for place in places:
        try:
            for key in place.ask({}):
                by_name.setdefault(key["name"], {**key, "on": []})["on"].append(place.server)
        except LinkError as wrong:
            if len(places) == 1:
                raise
            found.trouble[place.server] = wrong.message
    if places and len(found.trouble) == len(places):
        raise LinkError(next(iter(found.trouble.values())))
    found.keys = sorted(by_name.values(), key=lambda one: str(one["name"]).casefold())
    return found


def add(places: Sequence[Where], key: dict[str, Any]) -> None:
    """On every server, or on none. LinkError: it cannot be, and why. Half: it stays on some of them."""
    there = listed(places)
    if there.trouble:
        server, why = next(iter(there.trouble.items()))
        raise LinkError(f"Nothing was added, because a key has to be on every server: {server}: {why}")
    done: list[Where] = []
    for place in places:
        try:
            place.ask({"add": key})
            done.append(place)
        except LinkError as wrong:
            _take_back(done, key["name"], f"{place.server}: {wrong.message}")
            if len(places) == 1:
                raise
            raise LinkError(f"Nothing was added. {place.server}: {wrong.message}", wrong.code) from wrong


def spread(places: Sequence[Where]) -> int:
    """Give each server the keys that others have, as to one that came to the group later; how many were given.

    LinkError: a server cannot be asked, or has another key of that name.
    """
    there = listed(places)
    if there.trouble:
        server, why = next(iter(there.trouble.items()))
        raise LinkError(f"Nothing was copied. {server}: {why}")
    given = 0
    for key in there.keys:
        for place in places:
            if place.server not in key["on"]:
                place.ask({"add": {name: value for name, value in key.items() if name != "on"}})
                given += 1
    return given


def _take_back(done: Sequence[Where], name: str, why: str) -> None:
    left = [place.server for place in done if not _revoked(place, name)]
    if left:
        raise Half(f"The key '{name}' is on {', '.join(left)} and not everywhere, and could not be taken back there. "
                   f"Revoke it. ({why})")


def _revoked(place: Where, name: str) -> bool:
    try:
        place.ask({"revoke": name})
    except LinkError:
        return False
    return True


def revoke(places: Sequence[Where], name: str) -> None:
    """On every server that can be reached. Half: it still opens the door on others. LinkError: nobody has it."""
    gone: list[str] = []
    unknown: list[tuple[str, str]] = []
    trouble: list[tuple[str, str]] = []
    for place in places:
        try:
            place.ask({"revoke": name})
            gone.append(place.server)
        except LinkError as wrong:
            if len(places) == 1:
                raise
            (unknown if wrong.code == "unknown_key" else trouble).append((place.server, wrong.message))
    if trouble:
        where = f"It is revoked on {', '.join(gone)}. " if gone else ""
        server, why = trouble[0]
        raise Half(f"The key '{name}' still works on {', '.join(one for one, _ in trouble)}. {where}Revoke it again "
                   f"when {server} can be reached. ({why})")
    if not gone:
        raise LinkError(unknown[0][1], "unknown_key")
