"""inventory/hosts.yml and inventory/host_vars/: what is wanted, in files that plain Ansible reads."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from cli import values_file
from cli.exits import Exit, Stop
from panel.settings import ROOT

#: Who signs in for what touches the system; day-to-day actions come as webops-deploy.
ADMIN, DEPLOY = "webops-admin", "webops-deploy"
_HEADER = """\
# Servers and resources. A resource is a host of its own, NAME@SERVER, in the group of its kind;
# its values lie in host_vars/NAME@SERVER/. `webops --local` writes this file anew: comments below here are lost.
"""


def place() -> Path:
    """inventory/ of this checkout, or the folder that WEBOPS_INVENTORY names."""
    return Path(os.environ.get("WEBOPS_INVENTORY") or ROOT / "inventory").resolve()


@dataclass(frozen=True)
class Server:
    """A host of the group `server`."""

    name: str
    address: str
    port: int = 22


@dataclass
class Resource:
    """A host NAME@SERVER with its values."""

    name: str
    kind: str
    server: str
    parent: str | None = None
    values: dict[str, Any] = field(default_factory=dict)
    secrets: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def host(self) -> str:
        return f"{self.name}@{self.server}"


class Inventory:
    """The files as they are now. Stop: they cannot be read."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or place()
        self.hosts_file = self.folder / "hosts.yml"
        self._data = self._read()

    def _read(self) -> dict[str, Any]:
        if not self.hosts_file.exists():
            return {}
        try:
            data = yaml.safe_load(self.hosts_file.read_text())
        except (OSError, yaml.YAMLError) as wrong:
            raise Stop(f"{self.hosts_file} cannot be read: {wrong}", Exit.FAILED) from None
        groups = ((data or {}).get("all") or {}).get("children") or {}
        return {kind: (group or {}).get("hosts") or {} for kind, group in groups.items()}

    def servers(self) -> list[Server]:
        return [Server(name, str((one or {}).get("ansible_host", name)), int((one or {}).get("ansible_port", 22)))
                for name, one in self._data.get("server", {}).items()]

    def server(self, name: str) -> Server:
        found = next((one for one in self.servers() if one.name == name), None)
        if found is None:
            known = ", ".join(one.name for one in self.servers()) or "none yet"
            raise Stop(f"There is no server '{name}' in {self.hosts_file.name} (there: {known}).", Exit.REFUSED,
                       next_step=f"webops server add {name} --address HOST --local")
        return found

    def resources(self) -> list[Resource]:
        return [self._resource(kind, host, facts or {}) for kind, hosts in self._data.items() if kind != "server"
                for host, facts in hosts.items() if "@" in host]

    def _resource(self, kind: str, host: str, facts: dict[str, Any]) -> Resource:
        name, _, server = host.partition("@")
        folder = self.folder / "host_vars" / host
        # What a person wrote beside the host counts as well; what begins with ansible_ is about the connection.
        beside = {key: value for key, value in facts.items() if not key.startswith("ansible_")}
        return Resource(name, kind, server, None, {**beside, **_values(folder / "values.yml")},
                        _values(folder / "secrets.yml"))

    def resource(self, name: str) -> Resource | None:
        return next(iter(self.named(name)), None)

    def named(self, name: str) -> list[Resource]:
        """The resource on each server on which a host of its name is written down."""
        return [one for one in self.resources() if one.name == name]

    def put_server(self, server: Server) -> None:
        self._data.setdefault("server", {})[server.name] = {"ansible_host": server.address, "ansible_port": server.port}
        self._write()

    def drop_server(self, name: str) -> None:
        self._data.get("server", {}).pop(name, None)
        self._write()

    def put(self, one: Resource) -> None:
        """Add or change a resource, values and all."""
        facts = self._data.get(one.kind, {}).get(one.host) or {}
        kept = {key: value for key, value in facts.items() if key.startswith("ansible_")}
        self._data.setdefault(one.kind, {})[one.host] = {**self.connection(one.server), **kept}
        self._write_values(one)
        self._write()

    def _write_values(self, one: Resource) -> None:
        folder = self.folder / "host_vars" / one.host
        folder.mkdir(parents=True, exist_ok=True)
        title = f"{one.name}: values of this {one.kind}, written by `webops apply --local`"
        values_file.write(folder / "values.yml", values_file.text(one.values, title), private=False)
        if one.secrets:
            title = f"{one.name}: secrets; keep this file to yourself"
            values_file.write(folder / "secrets.yml", values_file.text(one.secrets, title), private=True)
        else:
            (folder / "secrets.yml").unlink(missing_ok=True)

    def drop(self, one: Resource) -> None:
        self._data.get(one.kind, {}).pop(one.host, None)
        shutil.rmtree(self.folder / "host_vars" / one.host, ignore_errors=True)
        self._write()

    def connection(self, server: str) -> dict[str, Any]:
        """How the hosts of a server are reached: as the server itself is."""
        facts = self._data["server"].get(server) or {}
        found = self.server(server)
        return {**{key: value for key, value in facts.items() if key.startswith("ansible_")},
                "ansible_host": found.address, "ansible_port": found.port}

    def _write(self) -> None:
        children = {kind: {"hosts": hosts} for kind, hosts in sorted(self._data.items()) if hosts}
        common = {
            "ansible_user": ADMIN,
            "ansible_ssh_private_key_file": str(key_file()),
            "ansible_ssh_common_args": "-o UserKnownHostsFile={{ inventory_dir }}/known_hosts -o IdentitiesOnly=yes",
        }
        body = yaml.safe_dump({"all": {"vars": self._vars() or common, "children": children}}, sort_keys=False,
                              allow_unicode=True, width=200)
        values_file.write(self.hosts_file, f"{_HEADER}---\n{body}", private=False)

    def beside(self, server: str) -> dict[str, Any]:
        """How a host is reached that another inventory than this one names: `inventory_dir` is another there."""
        common = {key: value.replace("{{ inventory_dir }}", str(self.folder)) if isinstance(value, str) else value
                  for key, value in self._vars().items()}
        return {**common, **self.connection(server)}

    def _vars(self) -> dict[str, Any]:
        """Variables of all hosts as a person left them."""
        if not self.hosts_file.exists():
            return {}
        data = yaml.safe_load(self.hosts_file.read_text()) or {}
        return dict((data.get("all") or {}).get("vars") or {})


def _values(path: Path) -> dict[str, Any]:
    return values_file.read(path) if path.exists() else {}


def key_file() -> Path:
    """The private key with which --local signs in everywhere: one per person, made at first use."""
    from cli import config

    return config.path().with_name("local_ed25519")


def known_hosts(folder: Path) -> Path:
    """Accepted host keys."""
    return folder / "known_hosts"


def environment() -> dict[str, str]:
    """What ansible-playbook needs beside what the person's own environment has."""
    roles = [ROOT / "roles", *sorted((ROOT / "addons").glob("*/roles"))]
    return {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_ROLES_PATH": ":".join(map(str, roles)),
            "ANSIBLE_DISPLAY_SKIPPED_HOSTS": "False"}
