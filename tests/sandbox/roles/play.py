"""Playbooks, run the way a person runs them by hand, with values the way the panel hands them over."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]


def untrusted(value: Any) -> Any:
    """The value as the panel writes it: every text, at any depth, is data and never a template."""
    if isinstance(value, str):
        return {"__ansible_unsafe": value}
    if isinstance(value, list):
        return [untrusted(item) for item in value]
    if isinstance(value, dict):
        return {key: untrusted(item) for key, item in value.items()}
    return value


@dataclass(frozen=True)
class Login:
    """Who signs in at a server, and how."""

    address: str
    known_hosts: Path
    user: str
    key: Path | None = None
    password: str = ""

    def variables(self) -> dict[str, str]:
        found = {"ansible_host": self.address, "ansible_user": self.user,
                 "ansible_ssh_common_args": f"-o UserKnownHostsFile={self.known_hosts} -o IdentitiesOnly=yes"}
        if self.key:
            found["ansible_ssh_private_key_file"] = str(self.key)
        if self.password:
            found |= {"ansible_password": self.password, "ansible_become_password": self.password}
        return found


@dataclass
class Played:
    """What a playbook did: the names of its changed steps, and of the failed one with its words."""

    code: int
    output: str
    changed: list[str] = field(default_factory=list)
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    failed: str = ""

    @property
    def error(self) -> dict[str, Any]:
        return self.results.get(self.failed, {})

    def words(self) -> str:
        """All that a person reads of a failure."""
        said = [self.error.get("msg", ""), self.error.get("next", ""), *self.error.get("journal", [])]
        return "\n".join(map(str, said))


def play(kind: str, name: str, values: dict[str, Any], login: Login, place: Path, *, action: str = "main",
         check: bool = False, plain: bool = False, server: str = "web", group: str = "",
         until: Callable[[], object] | None = None) -> Played:
    """Run the kind's playbook for one resource. Files it needs are written into `place`.

    An add-on's kind is the path of its playbook without the ending; `group` is its name then. It is told to end when
    `until` says so.
    """
    host = name if kind == "server" else f"{name}@{server}"
    inventory = place / "hosts.json"
    inventory.write_text(json.dumps({group or kind: {"hosts": {host: login.variables()}}}))
    given = place / "values.json"
    given.write_text(json.dumps({key: untrusted(value) for key, value in values.items()} | {"webops_action": action}))
    # A full path replaces the folder in front of it.
    argv = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(inventory),
            str(ROOT / "playbooks" / f"{kind}.yml"), "-e", f"@{given}", *(["--check", "--diff"] if check else [])]
    environment = {**os.environ, "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json", "ANSIBLE_FORCE_COLOR": "0",
                   "ANSIBLE_HOME": str(place / "ansible"), **({"WEBOPS_PLAIN": "1"} if plain else {})}
    with subprocess.Popen(argv, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True) as running:
        while until and running.poll() is None:
            if until():
                running.terminate()
                break
            time.sleep(0.05)
        try:
            output, errors = running.communicate(timeout=900)
        except BaseException:
            running.kill()
            raise
    return read(running.returncode, output + errors, host)


def read(code: int, output: str, host: str) -> Played:
    played = Played(code, output)
    start = output.find("{\n")
    if start < 0:
        return played
    report, _end = json.JSONDecoder().raw_decode(output[start:])
    for task in (task for one in report["plays"] for task in one["tasks"]):
        result = task["hosts"].get(host, {})
        name = task["task"]["name"].rpartition(" : ")[2]
        played.results[name] = result
        if result.get("changed"):
            played.changed.append(name)
        if result.get("failed") or result.get("unreachable"):
            played.failed = name
    return played
