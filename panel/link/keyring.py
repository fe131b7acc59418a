"""The API keys of a resource over all of its servers. Each server holds its own list; here they are one.

What cannot be reached is said: a key that was revoked everywhere else still opens the door there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from panel.link import client
from panel.link.client import LinkDown, LinkError

T = TypeVar("T")


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
    told = _each(places, lambda place: place.ask({}))
    for place, keys in told:
        if isinstance(keys, LinkError):
            found.trouble[place.server] = keys.message
            continue
        for key in keys:
            by_name.setdefault(key["name"], {**key, "on": []})["on"].append(place.server)
    if places and len(found.trouble) == len(places):
        raise _failed(told)[0][1]
    found.keys = sorted(by_name.values(), key=lambda one: str(one["name"]).casefold())
    return found


def _each(places: Sequence[Where], do: Callable[[Where], T]) -> list[tuple[Where, T | LinkError]]:
    """What each server says, all asked side by side: those that do not answer are waited for together."""
    def one(place: Where) -> T | LinkError:
        try:
            return do(place)
        except LinkError as wrong:
            return wrong

    with ThreadPoolExecutor(max(1, len(places))) as threads:
        return list(zip(places, threads.map(one, places), strict=True))


def _failed(told: Sequence[tuple[Where, Any]]) -> list[tuple[Where, LinkError]]:
    return [(place, one) for place, one in told if isinstance(one, LinkError)]


def add(places: Sequence[Where], key: dict[str, Any]) -> None:
    """On every server, or on none. LinkError: it cannot be, and why. Half: it may be on some of them."""
    there = listed(places)
    if there.trouble:
        server, why = next(iter(there.trouble.items()))
        raise LinkError(f"Nothing was added, because a key has to be on every server: {server}: {why}")
    failed = _failed(_each(places, lambda place: place.ask({"add": key})))
    if not failed:
        return
    place, wrong = failed[0]
    # Everywhere: where no answer came in time, it may have been written all the same.
    left = [one.server for one, _ in _failed(_each(places, lambda one: _take_back(one, key)))]
    if left:
        raise Half(f"The key '{key['name']}' could not be added everywhere, and may be on {', '.join(left)}. Nobody "
                   f"was shown it; revoke it when {left[0]} can be reached. ({place.server}: {wrong.message})")
    if len(places) == 1:
        raise wrong
    raise LinkError(f"Nothing was added. {place.server}: {wrong.message}", wrong.code)


def _take_back(place: Where, key: dict[str, Any]) -> None:
    """By its digest: another key of that name stays. LinkError: nobody knows whether it is there."""
    if any(one["sha256"] == key["sha256"] for one in place.ask({})):
        place.ask({"revoke": key["name"]})


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


def revoke(places: Sequence[Where], name: str) -> None:
    """On every server that can be reached. Half: it still opens the door on others. LinkError: nobody has it."""
    told = _each(places, lambda place: place.ask({"revoke": name}))
    failed = _failed(told)
    trouble = [(place.server, wrong) for place, wrong in failed if wrong.code != "unknown_key"]
    if failed and (len(places) == 1 or all(isinstance(one, LinkDown) for _, one in told)):
        raise failed[0][1]
    if trouble:
        gone = [place.server for place, one in told if not isinstance(one, LinkError)]
        where = f"It is revoked on {', '.join(gone)}. " if gone else ""
        server, why = trouble[0]
        raise Half(f"The key '{name}' still works on {', '.join(one for one, _ in trouble)}. {where}Revoke it again "
                   f"when {server} can be reached. ({why.message})")
    if len(failed) == len(places):
        raise failed[0][1]
