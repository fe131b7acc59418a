"""The ways that are compared. Each can deploy for the first time, and again."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from sandbox.place import REPOSITORY
from tests.bench.ground import DOMAIN, TOOLS, Ground

HERE = Path(__file__).resolve().parent
PYINFRA = REPOSITORY / "var/bench/pyinfra"


class Failed(Exception):
    """A measured command did not succeed: its last lines."""


def timed(argv: list[str], log: Path, *, text: str | None = None, env: dict[str, str] | None = None) -> float:
    """Seconds that the command took from start to end; raises Failed unless it succeeds."""
    with log.open("w") as out:
        began = time.monotonic()
        ended = subprocess.run(argv, input=text, text=True, stdout=out, stderr=subprocess.STDOUT, cwd=REPOSITORY,
                               env={**os.environ, **(env or {})}, check=False)
        took = time.monotonic() - began
    if ended.returncode:
        raise Failed(f"{argv[0]} ended with {ended.returncode}:\n" + "\n".join(log.read_text().splitlines()[-40:]))
    return took


@dataclass
class Way:
    """One way to deploy. `name` is the heading of its column."""

    ground: Ground
    name: str = ""

    def log(self) -> Path:
        return self.ground.scratch / f"{type(self).__name__.lower()}.log"

    def first(self) -> float:
        raise NotImplementedError

    def again(self) -> float:
        raise NotImplementedError

    def back(self) -> float:
        """To the release before."""
        raise NotImplementedError


@dataclass
class WebOps(Way):
    """The playbook, as a person runs it in this folder."""

    name: str = "WebOps"
    playbook: str = "playbooks/django_app.yml"
    extra: tuple[str, ...] = ()

    def first(self) -> float:
        return self.play("main", "webops-admin")

    def again(self) -> float:
        return self.play("deploy", "webops-deploy")

    def back(self) -> float:
        return self.play("rollback", "webops-deploy")

    def play(self, action: str, user: str) -> float:
        """Each run opens a connection of its own: none is left over from the one before."""
        controls = self.ground.scratch / "control"
        shutil.rmtree(controls, ignore_errors=True)
        controls.mkdir()
        argv = [str(TOOLS / "ansible-playbook"), "-i", str(self.inventory(user)), self.playbook,
                "-e", json.dumps({"webops_action": action}), *self.extra]
        took = timed(argv, self.log(), env={**self.environment(), "ANSIBLE_SSH_CONTROL_PATH_DIR": str(controls),
                                            "PATH": f"{TOOLS}:{os.environ['PATH']}"})
        for control in controls.iterdir():
            subprocess.run(["ssh", "-O", "exit", "-o", f"ControlPath={control}", "bench"], check=False,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return took

    def environment(self) -> dict[str, str]:
        return {}

    def inventory(self, user: str) -> Path:
        hosts = {"django_app": {"hosts": {"guestbook@bench": {
            "ansible_host": self.ground.server.address, "ansible_user": user,
            "ansible_ssh_private_key_file": str(self.ground.key),
            "ansible_ssh_common_args": " ".join(self.ground.ssh_options()),
            **values(self.ground)}}}}
        path = self.ground.scratch / f"hosts-{user}.json"
        path.write_text(json.dumps(hosts))
        return path


def values(ground: Ground) -> dict[str, object]:
    return {"django_app_repo": ground.repo, "django_app_domain": DOMAIN, "django_app_certificate": "self_signed"}


PLAIN_CONFIG = """[defaults]
roles_path = {root}/roles
library = {root}/plugins/modules
module_utils = {root}/plugins/module_utils
action_plugins = {root}/plugins/action
test_plugins = {root}/plugins/test
filter_plugins = {root}/plugins/filter
collections_path = {root}/collections
"""
PLAIN_PLAYBOOK = """- hosts: django_app
  tasks:
    - ansible.builtin.include_role:
        name: django_app
        tasks_from: "{{ webops_action | default('main') }}"
"""


@dataclass
class PlainAnsible(WebOps):
    """The same roles with what Ansible does by default: linear strategy, no pipelining, facts gathered."""

    name: str = "plain Ansible"

    def __post_init__(self) -> None:
        self.config = self.ground.scratch / "plain.cfg"
        self.config.write_text(PLAIN_CONFIG.format(root=REPOSITORY))
        self.playbook = str(self.ground.scratch / "plain.yml")
        Path(self.playbook).write_text(PLAIN_PLAYBOOK)

    def environment(self) -> dict[str, str]:
        return {"ANSIBLE_CONFIG": str(self.config)}


@dataclass
class Script(Way):
    """deploy.sh over one SSH connection."""

    name: str = "shell script"

    def first(self) -> float:
        return self.run("first")

    def again(self) -> float:
        return self.run("again")

    def back(self) -> float:
        return self.run("back")

    def run(self, step: str) -> float:
        argv = ["ssh", "-i", str(self.ground.key), *self.ground.ssh_options(),
                f"webops-admin@{self.ground.server.address}",
                f"sudo bash -s -- {step} {self.ground.repo} {DOMAIN}"]
        return timed(argv, self.log(), text=same() + (HERE / "deploy.sh").read_text())


def same() -> str:
    """The texts that all ways but ours install, as variables of the script."""
    texts = {path.name.replace(".", "_"): path.read_text() for path in sorted((HERE / "same").iterdir())}
    return "".join(f"{name}=$(cat <<'END-OF-TEXT'\n{text}END-OF-TEXT\n)\n" for name, text in texts.items())


@dataclass
class Pyinfra(Way):
    """with_pyinfra.py, in a virtual environment of its own."""

    name: str = "pyinfra"

    def __post_init__(self) -> None:
        wanted = (HERE / "requirements-bench.txt").read_text()
        stamp = PYINFRA / "requirements"
        if not stamp.exists() or stamp.read_text() != wanted:
            shutil.rmtree(PYINFRA, ignore_errors=True)
            subprocess.run([TOOLS / "uv", "venv", "-q", "--python", TOOLS / "python", PYINFRA], check=True)
            subprocess.run([TOOLS / "uv", "pip", "sync", "-q", "--require-hashes", "--python", PYINFRA / "bin/python",
                            HERE / "requirements-bench.txt"], check=True)
            stamp.write_text(wanted)

    def first(self) -> float:
        return self.run("first")

    def again(self) -> float:
        return self.run("again")

    def back(self) -> float:
        return self.run("back")

    def run(self, step: str) -> float:
        options = {"ssh_user": "webops-admin", "ssh_key": str(self.ground.key),
                   "ssh_known_hosts_file": str(self.ground.server.known_hosts),
                   "ssh_strict_host_key_checking": "yes",
                   "repo": self.ground.repo, "domain": DOMAIN, "step": step,
                   "password": "a-password-of-the-bench", "secret_key": "a-secret-key-of-the-bench" * 2}
        inventory = self.ground.scratch / "inventory.py"
        inventory.write_text(f"servers = [({self.ground.server.address!r}, {options!r})]\n")
        return timed([str(PYINFRA / "bin/pyinfra"), "-y", str(inventory), str(HERE / "with_pyinfra.py")], self.log())
