"""`webops server … --local`: servers of inventory/, reached with a key of one's own."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import Any

import click

from cli.exits import Exit, Stop
from cli.local.inventory import Inventory, Server, key_file, known_hosts, place
from cli.local.play import play
from cli.servers import accept
from panel.catalog import Refused, catalog, clean, formats
from panel.link import ssh
from panel.settings import ROOT


def add(name: str, address: str, port: int, fingerprint: str | None, login: dict[str, str] | None) -> Exit:
    """Write the server and its accepted host key into inventory/; make it ready where a login is given."""
    for format_name, value in (("name", name), ("address", address)):
        if found := formats.problem(format_name, value):
            raise Stop(f"This {format_name} cannot be used.", Exit.REFUSED, code=found.code,
                       problems=[(format_name, found.message)])
    inventory = Inventory()
    if any(one.name == name for one in inventory.servers()):
        raise Stop(f"There is a server '{name}' already.", Exit.REFUSED, code="name_taken")
    keys = _scan(address, port)
    accepted = accept([{"type": line.split()[0], "fingerprint": ssh.fingerprint(line)} for line in keys], fingerprint)
    if not accepted:
        raise Stop(f"The host key of {name} was not accepted, so it was not added.", Exit.REFUSED)
    _remember(address, port, next(key for key in keys if ssh.fingerprint(key) == accepted))
    inventory.put_server(Server(name, address, port))
    return ready(name, login, {}) if login else Exit.OK


def ready(name: str, login: dict[str, str] | None, given: dict[str, Any]) -> Exit:
    """Run the role `server` there: by the login for the first contact, by webops-admin later."""
    server = Inventory().server(name)
    try:
        cleaned = clean(catalog().kind("server"), "main", {**given, "server_public_keys": [_own_key()]})
    except Refused as wrong:
        raise Stop(f"{len(wrong.problems)} value(s) cannot be used.", Exit.REFUSED, code="invalid_values",
                   problems=[(one.parameter, one.message) for one in wrong.problems]) from None
    with tempfile.TemporaryDirectory(prefix="webops-local-", dir="/dev/shm") as private:
        values = {**cleaned.values, **_connection(login, Path(private))}
        return play(ROOT / "playbooks" / "server.yml", server.name, Inventory().hosts_file, action="main",
                    values=values)


def remove(name: str, check: bool) -> Exit:
    """Take WebOps off the server by the role's `remove`; when it is off, the server leaves inventory/ too."""
    inventory = Inventory()
    server = _unused(inventory, name)
    code = play(ROOT / "playbooks" / "server.yml", server.name, inventory.hosts_file, action="remove", values={},
                check=check)
    if code is Exit.OK and not check:
        inventory.drop_server(server.name)
    return code


def forget(name: str) -> None:
    """Strike the server from inventory/; on the machine nothing changes."""
    inventory = Inventory()
    inventory.drop_server(_unused(inventory, name).name)


def _unused(inventory: Inventory, name: str) -> Server:
    server = inventory.server(name)
    names = sorted(one.name for one in inventory.resources() if one.server == name)
    if names:
        raise Stop(f"{name} still has {', '.join(names)}.", Exit.REFUSED, code="server_in_use",
                   next_step="remove what is on it first")
    return server


def _connection(login: dict[str, str] | None, private: Path) -> dict[str, str]:
    if login is None:
        return {}
    found = {"ansible_user": login["user"]}
    if not {"private_key", "password"} & set(login):
        click.echo(f"{login['user']} must have this line in ~/.ssh/authorized_keys: {_own_key()}", err=True)
    if "private_key" in login:
        key = private / "login_key"
        key.touch(0o600)
        key.write_text(login["private_key"].rstrip("\n") + "\n")
        found["ansible_ssh_private_key_file"] = str(key)
    if "password" in login:
        found |= {"ansible_password": login["password"], "ansible_ssh_private_key_file": ""}
    if sudo := login.get("sudo_password", login.get("password")):
        found["ansible_become_password"] = sudo
    return found


def _own_key() -> str:
    """The public line of this person's key, which is made at first use."""
    private = key_file()
    if not private.exists():
        private.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "webops --local", "-f", str(private)],
                       check=True)
    return private.with_name(f"{private.name}.pub").read_text().strip()


def _scan(address: str, port: int) -> list[str]:
    """Host keys that the server offers, as "type base64" lines, the one that people compare first."""
    done = subprocess.run(["ssh-keyscan", "-T", "10", "-p", str(port), "--", address], capture_output=True, text=True,
                          check=False)
    keys = [line.split(" ", 1)[1] for line in done.stdout.splitlines() if line and not line.startswith("#")]
    if not keys:
        raise Stop(f"Nobody answers with SSH at {address}, port {port}.", Exit.REFUSED,
                   next_step="check the address, the port and the firewall")
    return sorted(keys, key=lambda key: (not key.startswith("ssh-ed25519"), key))


def _remember(address: str, port: int, key: str) -> None:
    name = address if port == 22 else f"[{address}]:{port}"
    file = known_hosts(place())
    old = file.read_text().splitlines() if file.exists() else []
    kept = [line for line in old if line.split(" ", 1)[0] != name]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join([*kept, f"{name} {key}"]) + "\n")
