"""A sandbox for a test suite or a script: everything in one object, and nothing left when it ends."""

from __future__ import annotations

import fcntl
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from sandbox import acme, authority, cache, gitserver, guest, host, layer, network, server, snapshot
from sandbox.errors import SandboxError
from sandbox.place import Place, find_place
from sandbox.server import Server


@dataclass(frozen=True)
class Sandbox:
    """The sandbox at a place. Each method is the function of the module that it is named after."""

    place: Place

    def up(self, name: str, release: str | None = None, *, from_layer: str | None = None, stamp: str | None = None,
           trust: Sequence[Path] = ()) -> Server:
        """Boot a server, bare or over a layer, that trusts the certificates given. Raises StaleLayer, SandboxError."""
        if from_layer:
            one = layer.up(self.place, name, from_layer, release, stamp)
        else:
            one = server.up(self.place, name, release)
        if trust:
            guest.trust(self.place, name, *trust)
        return one

    def stop(self, one: Server) -> Server:
        return server.stop(self.place, one.name)

    def reset(self, one: Server) -> Server:
        return server.reset(self.place, one.name)

    def down(self, one: Server) -> None:
        server.down(self.place, one.name)

    def save(self, one: Server, name: str, stamp: str = "") -> layer.Layer:
        """Keep the stopped server's disk as a layer; what that replaces is deleted as soon as no server needs it."""
        kept = layer.save(self.place, one.name, name, stamp)
        cache.clear(self.place)
        return kept

    def guest(self, one: Server, argv: Sequence[str], *, text: str | None = None, check: bool = True,
              timeout: float = 300) -> subprocess.CompletedProcess[str]:
        return guest.run(self.place, one.name, argv, text=text, check=check, timeout=timeout)

    def add_hosts(self, one: Server, addresses: Mapping[str, str]) -> None:
        guest.add_hosts(self.place, one.name, addresses)

    def cut_network(self, one: Server) -> None:
        """Pull the server's cable: open connections hang and new ones get no answer."""
        network.set_cable(self.place, one.address, up=False)

    def restore_network(self, one: Server) -> None:
        network.set_cable(self.place, one.address, up=True)

    def snapshot_list(self, one: Server) -> list[str]:
        return snapshot.snapshot_list(self.place, one.name)

    def acme(self) -> acme.Acme:
        return acme.start(self.place)

    def point(self, domain: str, one: Server | None) -> None:
        acme.point(self.place, domain, one.address if one else None)

    def publish(self, repository: Path, name: str, user: str = "", password: str = "") -> str:
        return gitserver.publish(self.place, repository, name, user, password)

    def root_certificate(self) -> Path:
        """What servers must trust to use the git server and the ACME server."""
        return authority.root(self.place)

    def gateway(self) -> str:
        """This machine's address as the servers see it."""
        return network.ensure(self.place).gateway


@contextmanager
def sandbox(suite: str, subnet: str | None = None) -> Iterator[Sandbox]:
    """A sandbox that is empty at the start and gone at the end, also after an error, Ctrl-C, SIGTERM or SIGHUP.

    What an earlier run of the same suite left when it was killed is cleared first. Raises SandboxError while the
    same suite runs elsewhere; different suites run side by side.
    """
    place = find_place(f"{find_place().state}-{suite}", subnet)
    host.must_boot()
    path = place.lock("suite")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SandboxError(f"The suite {suite} runs already on this machine: wait for it to end.") from None
        with ended_by_signals():
            server.down_all(place)
            try:
                yield Sandbox(place)
            finally:
                with deaf():
                    server.down_all(place)


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the program as an exception, so that what must be cleaned is cleaned."""
    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def deaf() -> Iterator[None]:
    """Finish what is begun: a second Ctrl-C must not leave half of the cleaning undone."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
