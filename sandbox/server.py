"""Servers of a sandbox: boot, stop, reset, list."""

from __future__ import annotations

import ipaddress
import json
import secrets
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from sandbox import boot, guest, host, identity, image, network, process, registries
from sandbox.errors import SandboxError
from sandbox.place import Place, check_name, locked, write_whole

# Names under which servers find what the sandbox offers at its gateway.
SERVICES = ("acme.sandbox.test", "git.sandbox.test")


@dataclass(frozen=True)
class Server:
    """A server of a sandbox. ``pid`` is the host's number of its PID 1, None while it is stopped.

    root comes in by ``ssh_key``; ``password`` is the one of the user ``debian``, for SSH and for sudo.
    """

    name: str
    release: str
    address: str
    ssh_user: str
    ssh_key: Path
    known_hosts: Path
    password: str
    layers: tuple[Path, ...]
    pid: int | None = None

    @property
    def running(self) -> bool:
        return self.pid is not None

    def ssh(self, *command: str, user: str | None = None) -> list[str]:
        """The ssh command line that reaches this server, with strict checking of its host key."""
        return ["ssh", "-i", str(self.ssh_key), "-o", f"UserKnownHostsFile={self.known_hosts}",
                "-o", "StrictHostKeyChecking=yes", "-o", "IdentitiesOnly=yes",
                f"{user or self.ssh_user}@{self.address}", *command]


def up(place: Place, name: str, release: str | None = None, layers: Sequence[Path] = (),
       say: Callable[[str], None] = lambda line: None) -> Server:
    """Boot the server, new or stopped, and return when its SSH answers; one that runs is returned as it is.

    Without a release, that of the stopped server, else Debian 12. `layers` are directories between the server's
    own files and the base image, the uppermost first. Raises CannotBoot, or SandboxError where the name exists
    with another release or other layers.
    """
    host.must_boot()
    check_name(name)
    found = find(place, name)
    if found:
        must_fit(found, release, layers)
        if found.running:
            return found
    base = image.ensure(place, release or (found.release if found else image.RELEASES[0]), say)
    wired = network.ensure(place)
    with locked(place.lock("servers")):
        server = found or create(place, wired, name, base.release, (*layers, base.root))
        if ipaddress.IPv4Address(server.address) not in ipaddress.IPv4Network(wired.subnet):
            server = replace(server, address=free_address(place, wired))
        save(place, server)
    return start(place, server, wired)


def must_fit(found: Server, release: str | None, layers: Sequence[Path]) -> None:
    if release not in (None, found.release):
        said = f"with {found.release}"
    elif layers and found.layers[:-1] != tuple(layers):
        said = "over another layer"
    else:
        return
    raise SandboxError(f"{found.name} exists {said}: `down {found.name}` first, or take another name.")


def create(place: Place, wired: network.Network, name: str, release: str, layers: tuple[Path, ...]) -> Server:
    key = identity.key_pair(place)
    return Server(name, release, free_address(place, wired), "root", key, key.with_name("known_hosts"),
                  secrets.token_urlsafe(12), layers)


def free_address(place: Place, wired: network.Network) -> str:
    taken = {server.address for server in servers(place)} | {wired.gateway}
    for address in ipaddress.IPv4Network(wired.subnet).hosts():
        if str(address) not in taken and int(address) & 0xFF >= 10:
            return str(address)
    raise SandboxError(f"The subnet {wired.subnet} is full: stop a server with `down NAME`.")


def start(place: Place, server: Server, wired: network.Network) -> Server:
    directory = place.server_dir(server.name)
    disk = identity.Disk(directory / "upper", server.layers)
    identity.write_identity(place, disk, server.name, server.address, server.password,
                            f"{wired.gateway} {' '.join(SERVICES)}")
    registries.start_cache(place, wired.gateway)
    binds = registries.write_settings(disk, wired.gateway)
    identity.write_known_hosts(place)
    network.attach(place, wired, server.name, server.address)
    boot.start(place, server.name, server.layers, binds)
    boot.wait_ssh(place, server.name, server.address)
    # sshd greets a moment before pam_nologin lets others than root in.
    guest.wait_booted(place, server.name)
    return replace(server, pid=boot.first_process(place, server.name))


def save(place: Place, server: Server) -> None:
    directory = place.server_dir(server.name)
    (directory / "upper").mkdir(parents=True, exist_ok=True)
    record = asdict(replace(server, pid=None))
    identity.host_key(directory, server.name)
    write_whole(directory / "address", server.address)
    write_whole(directory / "server.json", json.dumps(record, default=str, indent=1), 0o600)


def find(place: Place, name: str) -> Server | None:
    """The server of this name, running or stopped, or None."""
    path = place.server_dir(name) / "server.json"
    if not path.exists():
        return None
    record = json.loads(path.read_text())
    for key in ("ssh_key", "known_hosts"):
        record[key] = Path(record[key])
    record["layers"] = tuple(map(Path, record["layers"]))
    record["pid"] = boot.first_process(place, name)
    return Server(**record)


def get(place: Place, name: str) -> Server:
    """The server of this name; raises SandboxError where there is none."""
    if server := find(place, name):
        return server
    raise SandboxError(f"There is no server {name} in {place.state}: `python3 -m sandbox list` shows those that are.")


def servers(place: Place) -> list[Server]:
    """All servers of this sandbox by name, running or stopped."""
    names = sorted(path.parent.name for path in place.state.glob("servers/*/server.json"))
    return [server for name in names if (server := find(place, name))]


def stop(place: Place, name: str) -> Server:
    """Shut the server down in order and keep its disk; `up` boots it again."""
    server = get(place, name)
    boot.shut_down(place, name)
    network.detach(place, name, server.address)
    return replace(server, pid=None)


def reset(place: Place, name: str) -> Server:
    """Make the server bare again: same name, address, keys and layers, an empty disk."""
    server = get(place, name)
    boot.pull_plug(place, name)
    empty(place.server_dir(name))
    return start(place, server, network.ensure(place))


def empty(directory: Path) -> None:
    for part in ("upper", "work", "root"):
        shutil.rmtree(directory / part, ignore_errors=True)
    (directory / "upper").mkdir(parents=True)


def down(place: Place, name: str) -> None:
    """Delete the server and everything of it. Nothing happens where there is none."""
    boot.pull_plug(place, name)
    if server := find(place, name):
        network.detach(place, name, server.address)
    shutil.rmtree(place.server_dir(name), ignore_errors=True)
    if (place.state / "ssh").is_dir():
        identity.write_known_hosts(place)


def down_all(place: Place) -> None:
    """Delete every server, process, mount, namespace, cable, bridge and rule of this sandbox, also after a crash."""
    names = {path.name for path in place.state.glob("servers/*")} | set(boot.leftover_groups(place))
    for name in sorted(names):
        boot.pull_plug(place, name)
    process.stop(place)
    network.remove(place)
    deadline = time.monotonic() + 5
    while place.state.exists() and time.monotonic() < deadline:
        shutil.rmtree(place.state, ignore_errors=True)
    place.record().unlink(missing_ok=True)
