"""What is measured on: one sandbox server that is ready for apps, the guestbook's repository, and its page."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sandbox import guest
from sandbox.errors import StaleLayer
from sandbox.place import REPOSITORY
from sandbox.server import Server
from sandbox.suite import Sandbox, sandbox

DOMAIN = "guestbook.example.org"
SAMPLE = "examples/guestbook"
LAYER = "bench-ready"
TOOLS = REPOSITORY / ".venv" / "bin"
# A git that asks nobody who it is.
AUTHOR = ["-c", "user.name=WebOps", "-c", "user.email=webops@example.org", "-c", "commit.gpgsign=false"]


@dataclass
class Ground:
    """The server, as it is before a first deploy, and what is deployed."""

    box: Sandbox
    server: Server
    scratch: Path
    repo: str
    number: int = 0

    @property
    def work_tree(self) -> Path:
        return self.scratch / "guestbook"

    @property
    def key(self) -> Path:
        return self.scratch / "key"

    def ssh_options(self) -> list[str]:
        return ["-o", f"UserKnownHostsFile={self.server.known_hosts}", "-o", "IdentitiesOnly=yes"]

    def fresh(self) -> None:
        """The ready server again: no app, no data, PostgreSQL runs, wheels in the cache beside it."""
        self.server = self.box.reset(self.server)
        guest.trust(self.box.place, self.server.name, self.box.root_certificate())
        for account in ("webops-admin", "webops-deploy"):
            home = f"/home/{account}"
            script = (f"umask 077; mkdir -p {home}/.ssh; cat > {home}/.ssh/authorized_keys; "
                      f"chown -R {account}: {home}/.ssh")
            self.box.guest(self.server, ["sh", "-c", script], text=self.key.with_suffix(".pub").read_text())
        wait_for_postgresql(self.box, self.server)

    def change(self) -> None:
        """Commit a change of the code that needs no other requirements."""
        self.number += 1
        page = self.work_tree / "book/templates/book/index.html"
        kept = page.read_text().split("\n<!-- change ")[0]
        page.write_text(f"{kept}\n<!-- change {self.number} -->\n")
        git(self.work_tree, "commit", "-qam", f"Change {self.number}")

    def require(self, *more: str) -> None:
        """Commit that the guestbook needs these besides what it always needs; without any: that and no more."""
        always = (REPOSITORY / SAMPLE / "requirements.txt").read_text()
        (self.work_tree / "requirements.txt").write_text(always + "".join(f"{one}\n" for one in more))
        self.change()

    def check(self, before: int = 0) -> None:
        """The site answers over https with the last commit, or that many before; raises AssertionError otherwise."""
        wanted = f"<!-- change {self.number - before} -->"
        found = ""
        deadline = time.monotonic() + 10
        # Whoever does not wait for nginx's reload is believed a moment later.
        while wanted not in found and time.monotonic() < deadline:
            time.sleep(0.1)
            found = self.page()
        assert wanted in found, f"The page does not show the commit ({wanted}):\n{found[-800:]}"

    def page(self) -> str:
        """What a visitor gets; empty where nobody answers."""
        return subprocess.run(
            ["curl", "-sk", "--max-time", "10", "--resolve", f"{DOMAIN}:443:{self.server.address}", f"https://{DOMAIN}/"],
            capture_output=True, text=True, check=False).stdout


@contextmanager
def ground() -> Iterator[Ground]:
    """A sandbox of its own, gone at the end."""
    with sandbox("bench") as box:
        scratch = box.place.state / "bench"
        scratch.mkdir(parents=True)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(scratch / "key")], check=True)
        server = ready_server(box)
        found = Ground(box, server, scratch, publish(box, scratch))
        found.change()
        yield found


def publish(box: Sandbox, scratch: Path) -> str:
    """The guestbook as a repository of its own, served over https."""
    tree = scratch / "guestbook"
    shutil.copytree(REPOSITORY / SAMPLE, tree, ignore=shutil.ignore_patterns("__pycache__", "*.sqlite3"))
    git(tree, "init", "-q", "-b", "main")
    git(tree, "add", ".")
    git(tree, "commit", "-qm", "The guestbook")
    return box.publish(tree, "guestbook")


def git(tree: Path, *arguments: str) -> None:
    subprocess.run(["git", *AUTHOR, *arguments], cwd=tree, check=True)


def ready_server(box: Sandbox) -> Server:
    """A server over the layer that `server` was applied to; the layer is made first where it is missing or old."""
    tasks = (REPOSITORY / "roles/server/tasks/main.yml").read_text()
    modules = {f"plugins/modules/{name}.py" for name in re.findall(r"\bwebops_(?!values)\w+(?=:)", tasks)}
    stamp = stamp_of("roles/server", *sorted(modules))
    try:
        return box.up("bench", from_layer=LAYER, stamp=stamp)
    except StaleLayer:
        print("Making a server ready (kept for the next time) …", flush=True)
    bare = box.up("bench")
    make_ready(bare)
    box.guest(bare, ["apt-get", "-qy", "install", "--no-install-recommends", "postgresql"])
    box.save(bare, LAYER, stamp)
    box.down(bare)
    return box.up("bench", from_layer=LAYER, stamp=stamp)


def stamp_of(*names: str) -> str:
    digest = hashlib.sha256()
    files = [path for name in names for path in [REPOSITORY / name, *(REPOSITORY / name).rglob("*")] if path.is_file()]
    for path in sorted(path for path in files if "__pycache__" not in path.parts):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def make_ready(server: Server) -> None:
    options = f"-o UserKnownHostsFile={server.known_hosts} -o IdentitiesOnly=yes -o ControlMaster=no"
    inventory = server.known_hosts.with_name("bare.yml")
    inventory.write_text(
        "server:\n  hosts:\n    bench:\n"
        f"      ansible_host: {server.address}\n      ansible_user: root\n"
        f"      ansible_ssh_private_key_file: {server.ssh_key}\n      ansible_ssh_common_args: {options}\n")
    subprocess.run([TOOLS / "ansible-playbook", "-i", inventory, "playbooks/server.yml"], cwd=REPOSITORY, check=True,
                   stdout=subprocess.DEVNULL, env={**os.environ, "PATH": f"{TOOLS}:{os.environ['PATH']}"})


def wait_for_postgresql(box: Sandbox, server: Server) -> None:
    deadline = time.monotonic() + 30
    asked = ["runuser", "-u", "postgres", "--", "psql", "-qtAc", "SELECT 1"]
    while box.guest(server, asked, check=False).returncode:
        assert time.monotonic() < deadline, "PostgreSQL does not answer on the server."
        time.sleep(0.1)
