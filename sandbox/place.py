"""Where a sandbox keeps its things, and the names that keep several sandboxes apart."""

from __future__ import annotations

import fcntl
import hashlib
import ipaddress
import os
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sandbox.errors import SandboxError

REPOSITORY = Path(__file__).resolve().parent.parent
NAME = re.compile(r"[a-z](?:-?[a-z0-9]){0,29}\Z")


@dataclass(frozen=True)
class Place:
    """One sandbox: its state directory, the cache that all sandboxes share, and its wishes for the network.

    ``subnet`` and ``bridge`` are None where the sandbox may choose free ones itself.
    """

    state: Path
    cache: Path
    subnet: str | None = None
    bridge: str | None = None

    @property
    def tag(self) -> str:
        """Five characters that stand for the state directory in names of interfaces, namespaces and rules."""
        return hashlib.sha256(str(self.state).encode()).hexdigest()[:5]

    def server_dir(self, name: str) -> Path:
        return self.state / "servers" / name

    def lock(self, name: str) -> Path:
        """A lock file of this sandbox; it lies in the cache, so that deleting the state deletes no lock in use."""
        return self.cache / "locks" / f"{self.tag}-{name}"

    def record(self) -> Path:
        """Where the machine remembers that this sandbox exists."""
        return self.cache / "states" / self.tag

    def images(self) -> Path:
        return self.cache / "images"

    def layers(self) -> Path:
        return self.cache / "layers"


def find_place(
    state: Path | str | None = None,
    subnet: str | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Place:
    """The sandbox that the arguments, else the environment, else the repository name.

    Reads WEBOPS_SANDBOX_STATE, WEBOPS_SANDBOX_CACHE, WEBOPS_SANDBOX_SUBNET and WEBOPS_SANDBOX_BRIDGE.
    Raises SandboxError for a subnet or a path that cannot work.
    """
    chosen = Path(state or environ.get("WEBOPS_SANDBOX_STATE") or REPOSITORY / "var" / "sandbox").absolute()
    cache = Path(environ.get("WEBOPS_SANDBOX_CACHE") or "/var/cache/webops-sandbox").absolute()
    for path in (chosen, cache):
        if set(str(path)) & set(":,\\"):
            raise SandboxError(f"{path} cannot hold a sandbox: overlayfs refuses ':', ',' and '\\' in paths.")
    subnet = subnet or environ.get("WEBOPS_SANDBOX_SUBNET") or None
    if subnet:
        check_subnet(subnet)
    bridge = environ.get("WEBOPS_SANDBOX_BRIDGE") or None
    if bridge and not re.fullmatch(r"[a-z][a-z0-9-]{0,14}", bridge):
        raise SandboxError(f"{bridge} cannot name a bridge: use up to 15 small letters, digits and dashes.")
    return Place(chosen, cache, subnet, bridge)


def check_subnet(subnet: str) -> ipaddress.IPv4Network:
    """The subnet as a network; raises SandboxError unless it is a private IPv4 network of /16 to /28."""
    try:
        network = ipaddress.IPv4Network(subnet)
    except ValueError as error:
        raise SandboxError(f"{subnet} is no subnet ({error}): write it like 10.77.3.0/24.") from None
    if not network.is_private or not 16 <= network.prefixlen <= 28:
        raise SandboxError(f"{subnet} cannot be used: take a private network of /16 to /28, like 10.77.3.0/24.")
    return network


def check_name(name: str) -> str:
    """The name itself; raises SandboxError where it cannot be a hostname here."""
    if not NAME.match(name):
        raise SandboxError(f"{name!r} cannot name a server: start with a small letter, then up to 29 small "
                           "letters, digits or single dashes, like web1.")
    return name


def write_whole(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file so that a reader finds the old text or the new one, never half of it."""
    half = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}")
    half.touch(mode=0o600)
    half.write_text(text)
    half.chmod(mode)
    half.rename(path)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file at path: whoever comes second waits. A dead holder's lock is free at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
