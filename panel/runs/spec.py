"""What a run's child process is told: everything decided here, as data, so that the child decides nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from panel.catalog import Kind, catalog
from panel.runs import redact
from panel.settings import ROOT, settings
from panel.store.models import Mode, Run, Server
from panel.store.seal import unseal

ADMIN, DEPLOY = "webops-admin", "webops-deploy"
#: Secrets of a run whose name begins so belong to the connection, not to the role.
LOGIN = "login"


@dataclass(frozen=True)
class Spec:
    """`told` goes to the child's stdin as JSON; `secrets` are the texts that must not be stored or shown."""

    told: dict[str, Any]
    secrets: list[str]


def build(run: Run, directory: Path) -> Spec:
    """What `run` needs, secrets opened. SecretContextError, NoSuchKind: it cannot be run."""
    kind = catalog().kind(run.kind)
    secrets: dict[str, Any] = unseal(f"run:{run.id}:secrets", run.secrets) if run.secrets else {}
    login = secrets.pop(LOGIN, None)
    hosts = {part.host: _connection(part.server, run, kind, login, directory) for part in run.servers if part.server}
    told = {
        "parent": os.getpid(),
        "directory": str(directory),
        "project": str(ROOT),
        "playbook": str(kind.playbook),
        "check": run.mode is Mode.CHECK,
        "variables": {**run.values, **secrets, **run.conditions, "webops_action": run.action,
                      # A check touches nothing, so it looks at all servers at once.
                      "webops_batch": "100%" if run.mode is Mode.CHECK else run.batch,
                      # Written down with the release that it makes live.
                      "webops_run": {"id": run.id, "actor": run.actor}},
        "inventory": {"all": {"children": {run.kind: {"hosts": hosts}}}},
        "files": dict(_files(run, login)),
    }
    return Spec(told, list(_secret_texts(run, login, secrets)))


def ssh_arguments(directory: Path) -> list[str]:
    """Options for every ssh of ours: our host keys and our key only, nothing of the machine's own configuration."""
    options = {
        "ControlMaster": "auto", "ControlPersist": "30s",
        "ServerAliveInterval": "15", "ServerAliveCountMax": "4", "ConnectTimeout": "15",
        "StrictHostKeyChecking": "yes", "UserKnownHostsFile": f"{directory}/known_hosts",
        "GlobalKnownHostsFile": "/dev/null", "UpdateHostKeys": "no",
        "IdentitiesOnly": "yes", "IdentityAgent": "none", "ForwardAgent": "no",
    }
    return ["-F", "none", *(word for key, value in options.items() for word in ("-o", f"{key}={value}"))]


def known_hosts(server: Server) -> str:
    """The accepted host keys of a server as lines of a known_hosts file."""
    name = server.address if server.port == 22 else f"[{server.address}]:{server.port}"
    return "".join(f"{name} {line.strip()}\n" for line in server.host_key.splitlines() if line.strip())


def key_of(server: Server) -> str:
    """The private key that WebOps made for a server."""
    opened: str = unseal(f"server:{server.name}:private_key", server.private_key)
    return opened


def _connection(server: Server, run: Run, kind: Kind, login: dict[str, Any] | None, directory: Path) -> dict[str, Any]:
    found: dict[str, Any] = {
        "ansible_host": server.address, "ansible_port": server.port,
        # Mitogen puts its own (300 s) before what ssh_arguments says.
        "mitogen_ssh_keepalive_interval": 15, "mitogen_ssh_keepalive_count": 4}
    if login is None:
        action = kind.actions.get(run.action)
        found["ansible_user"] = DEPLOY if action and action.privilege == "deploy" else ADMIN
        found["ansible_ssh_private_key_file"] = str(directory / key_name(server))
        return found
    found["ansible_user"] = login["user"]
    if login.get("private_key"):
        found["ansible_ssh_private_key_file"] = str(directory / "login_key")
    elif _uses_our_key(login):
        found["ansible_ssh_private_key_file"] = str(directory / key_name(server))
    if login.get("password"):
        found["ansible_password"] = login["password"]
    if login.get("sudo_password") or login.get("password"):
        found["ansible_become_password"] = login.get("sudo_password") or login["password"]
    return found


def _uses_our_key(login: dict[str, Any] | None) -> bool:
    """Our accounts always; somebody else's where our public key was put among their authorized keys."""
    return login is None or not (login.get("password") or login.get("private_key"))


def key_name(server: Server) -> str:
    return f"key-{server.id}"


def _files(run: Run, login: dict[str, Any] | None) -> Iterator[tuple[str, str]]:
    """Files of the private directory. The key is a file on tmpfs and not in an agent: there is no process to forget."""
    servers = [part.server for part in run.servers if part.server]
    yield "known_hosts", "".join(known_hosts(server) for server in servers)
    if _uses_our_key(login):
        for server in servers:
            yield key_name(server), key_of(server)
    elif login and login.get("private_key"):
        yield "login_key", login["private_key"].rstrip("\n") + "\n"


def _secret_texts(run: Run, login: dict[str, Any] | None, secrets: dict[str, Any]) -> Iterator[str]:
    yield from redact.texts(list(secrets.values()))
    if login:
        yield from redact.texts([login.get(key) for key in ("password", "private_key", "sudo_password")])
    if _uses_our_key(login):
        yield from (key_of(part.server) for part in run.servers if part.server)


def environment(directory: Path) -> dict[str, str]:
    """The whole environment of the child: nothing of the worker's own, which knows the keys of the installation.

    HOME is the mark by which every process of a run is found again (panel.runs.tree.marked).
    """
    roles = [ROOT / "roles", *_addon_roles()]
    return {
        "HOME": str(directory), "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
        "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "TZ": "UTC", "TMPDIR": str(directory / "tmp"),
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_ROLES_PATH": ":".join(map(str, roles)),
        "ANSIBLE_HOME": str(directory / "ansible"), "ANSIBLE_LOCAL_TEMP": str(directory / "tmp"),
        "ANSIBLE_CALLBACK_PLUGINS": str(ROOT / "plugins" / "runner"),
        "ANSIBLE_HOST_KEY_CHECKING": "True", "ANSIBLE_SSH_ARGS": " ".join(ssh_arguments(directory)),
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(directory / "control"), "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_INVENTORY_ENABLED": "yaml",
        "ANSIBLE_DISPLAY_SKIPPED_HOSTS": "True", "ANSIBLE_DIFF_ALWAYS": "True",
        # Whole results reach us, and we cut them; ansible-runner would drop a large one entirely.
        "MAX_EVENT_RES": str(1 << 28),
    }


def _addon_roles() -> list[Path]:
    return sorted(settings().addons.glob("*/roles"))


def roles_version() -> str:
    """Commit of the roles as they are now, "modified" where the folder differs from it, "" outside of git."""
    paths = ("--", "roles", "playbooks", "plugins")
    try:
        if _git("status", "--porcelain", *paths):
            return "modified"
        return _git("log", "-1", "--format=%h", *paths)
    except (OSError, subprocess.SubprocessError):
        return ""


def _git(*words: str) -> str:
    # The checkout may belong to another user than the one that the worker runs as.
    command = ["git", "--no-optional-locks", "-c", f"safe.directory={ROOT}", "-C", str(ROOT), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    return done.stdout.strip()
