"""How far each server of a run is, folded from its events as they pass: in which batch it is, whether it went wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from panel.store.models import PartState, RunServer, State

#: How servers are told of together, in this order.
_SAID = ((PartState.SUCCEEDED, "Done on"), (PartState.FAILED, "Failed on"), (PartState.UNREACHABLE, "Not reached:"),
         (PartState.STOPPED, "Stopped in the middle on"), (PartState.LOST, "Nobody knows of"),
         (PartState.CANCELED, "Canceled on"), (PartState.NOT_BEGUN, "Not begun on"))
#: More servers than this are counted.
_NAMED = 6
_BAD = {"failed": PartState.FAILED, "unreachable": PartState.UNREACHABLE}


class Hosts:
    """`add` the events in order. A host of a batch that is over is done, unless it went wrong there."""

    def __init__(self) -> None:
        self._batch: set[str] = set()
        #: By name of the play, the hosts on which it has begun.
        self._plays: dict[str, set[str]] = {}
        self._play: set[str] = set()
        self._bad: dict[str, PartState] = {}
        self._has_begun = False

    def add(self, kind: str, host: str, name: str, data: Mapping[str, Any]) -> None:
        if kind == "play":
            # With `serial`, Ansible begins the play anew for each batch.
            self._batch, self._play = set(), self._plays.setdefault(name, set())
        elif kind == "task":
            self._has_begun = True
        elif kind == "stats":
            self._count(data.get("hosts", {}))
        elif host:
            self._batch.add(host)
            self._play.add(host)
            if kind in _BAD and "item" not in data:
                self._bad[host] = _BAD[kind]

    def _count(self, hosts: Mapping[str, Mapping[str, int]]) -> None:
        """At the end Ansible tells which failures were rescued and are none."""
        for host, counts in hosts.items():
            if counts.get("unreachable"):
                self._bad[host] = PartState.UNREACHABLE
            elif counts.get("failed"):
                self._bad.setdefault(host, PartState.FAILED)
            else:
                self._bad.pop(host, None)

    def now(self, host: str) -> PartState:
        """While the run goes on."""
        if host in self._bad:
            return self._bad[host]
        if host in self._batch:
            return PartState.RUNNING
        return PartState.SUCCEEDED if self._is_done(host) else PartState.QUEUED

    def at_end(self, host: str, run: State, is_alone: bool = False) -> PartState:
        """When the run has ended so. `is_alone`: it is the run's only host, so what has begun has begun there."""
        if run is State.SUCCEEDED:
            return PartState.SUCCEEDED
        if host in self._bad:
            return self._bad[host]
        if self._is_done(host):
            return PartState.SUCCEEDED
        if not any(host in begun for begun in self._plays.values()) and not (is_alone and self._has_begun):
            return PartState.NOT_BEGUN
        if run is State.FAILED:
            return PartState.STOPPED if self._bad else PartState.FAILED
        return PartState(run.value)

    def _is_done(self, host: str) -> bool:
        return host not in self._batch and bool(self._plays) and all(
            host in begun for begun in self._plays.values() if begun)


def in_words(parts: Sequence[RunServer]) -> str:
    """Which servers of a run came how far: "Done on web1. Failed on web2. Not begun on web3."; "" for a single one."""
    if len(parts) < 2:
        return ""
    found = ((words, [one.server_name for one in parts if one.state is state]) for state, words in _SAID)
    return " ".join(f"{words} {listed(names) if len(names) <= _NAMED else f'{len(names)} servers'}."
                    for words, names in found if names)


def listed(names: Sequence[str]) -> str:
    """web1, web2 and web3; "" for none"""
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1] if names else ""
