"""Servers that were made ready once and are booted from their saved disk for every test file."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sandbox import layer
from sandbox.errors import StaleLayer
from sandbox.place import locked
from sandbox.server import Server
from sandbox.suite import Sandbox, sandbox
from tests.sandbox.roles.play import ROOT, Login, Played, play

# What `cycle` compares is shown where it differs.
pytest.register_assert_rewrite("tests.sandbox.roles.cycle")

HERE = Path(__file__).resolve().parent
# Ready servers of this many versions of what makes them are kept, for checkouts side by side.
VERSIONS = 4
# What decides how a ready server looks: its role, and the modules that the role uses.
SOURCES = ("roles/server", "playbooks/server.yml", *(
    f"plugins/modules/webops_{name}.py" for name in ("account", "certificate", "files", "nginx", "packages", "tool")))


@pytest.fixture(scope="session")
def box() -> Iterator[Sandbox]:
    with sandbox("roles") as one:
        yield one


@dataclass(frozen=True)
class Ready:
    """A ready server, with the keys that its accounts know."""

    box: Sandbox
    server: Server
    key: Path
    place: Path

    def login(self, account: str = "webops-admin") -> Login:
        return Login(self.server.address, self.server.known_hosts, account, self.key)

    def play(self, kind: str, name: str, values: dict[str, Any], *, account: str = "webops-admin",
             **options: Any) -> Played:
        return play(kind, name, values, self.login(account), self.place, **options)

    def run(self, *argv: str, text: str = "", check: bool = True) -> str:
        """A command as root on the server; its output."""
        return self.box.guest(self.server, argv, text=text, check=check).stdout

    def snapshot(self) -> list[str]:
        # A unit that the boot still starts would look like one that came with what is done next.
        self.run("systemctl", "is-system-running", "--wait", check=False)
        # Ansible's own directory in the home of whoever signs in is no part of a resource.
        return [line for line in self.box.snapshot_list(self.server) if not line.startswith("file /home/webops-")]

    def curl(self, url: str, *options: str, check: bool = True) -> str:
        """What a visitor of the domain gets from this server."""
        host = url.split("/")[2]
        lead = [f"{host}:{port}:{self.server.address}" for port in (80, 443)]
        done = subprocess.run(["curl", "-sS", "--max-time", "20", "--resolve", lead[0], "--resolve", lead[1],
                               *options, url], capture_output=True, text=True, check=False)
        assert done.returncode == 0 or not check, done.stderr
        return done.stdout


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What a release of Debian hardly changes is seen on the first one, and on every one in `make soak`."""
    if os.environ.get("WEBOPS_SOAK"):
        return
    skip = pytest.mark.skip(reason="seen on bookworm; on every release with WEBOPS_SOAK=1")
    for item in items:
        given = getattr(getattr(item, "callspec", None), "params", {})
        if "trixie" in given.values() and HERE in item.path.parents and not item.get_closest_marker("every_release"):
            item.add_marker(skip)


def stamp() -> str:
    digest = hashlib.sha256()
    for source in SOURCES:
        path = ROOT / source
        for file in sorted([path] if path.is_file() else path.rglob("*")):
            if file.is_file() and file.suffix != ".pyc":
                digest.update(str(file.relative_to(ROOT)).encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def key_pair(box: Sandbox) -> Path:
    """The key that ready servers know; it lies beside their disks, in the cache."""
    key = box.place.cache / "ready-key"
    with locked(box.place.cache / "locks" / "ready-key"):
        if not key.exists():
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "webops-tests", "-f", str(key)],
                           check=True)
    return key


def boot(box: Sandbox, name: str, release: str, place: Path, trust: Sequence[Path] = ()) -> Ready:
    """A ready server of this release, from its saved disk; the first one of a session may have to be made."""
    key = key_pair(box)
    with locked(box.place.cache / "locks" / f"ready-{release}"):
        try:
            server = box.up(name, release, from_layer=f"ready-{stamp()}", trust=trust)
        except StaleLayer:
            make_layer(box, release, key, place)
            server = box.up(name, release, from_layer=f"ready-{stamp()}", trust=trust)
    return Ready(box, server, key, place)


def make_layer(box: Sandbox, release: str, key: Path, place: Path) -> None:
    bare = box.up(f"maker-{release}", release)
    login = Login(bare.address, bare.known_hosts, "root", bare.ssh_key)
    made = play("server", "web", {"server_public_keys": [key.with_suffix(".pub").read_text().strip()]}, login, place)
    assert made.code == 0, made.words() or made.output
    # Packages belong to the server: with PostgreSQL there, the lists of its roles' tests are short.
    box.guest(bare, ["apt-get", "-qy", "install", "--no-install-recommends", "postgresql"], timeout=600)
    box.guest(bare, ["rm", "-rf", "/etc/webops/resources/web.json"])
    box.save(bare, f"ready-{stamp()}")
    box.down(bare)
    kept = [one for one in layer.layers(box.place) if one.release == release and one.name.startswith("ready-")]
    for old in sorted(kept, key=lambda one: one.roots[0].parent.name.rpartition("-")[2])[:-VERSIONS]:
        layer.forget(box.place, old.name, release)


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def ready(request: pytest.FixtureRequest, box: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ready]:
    """A fresh ready server per test file and release."""
    name = request.module.__name__.rpartition("_")[2].replace("_", "-")
    one = boot(box, f"{name}-{request.param}"[:30], request.param, tmp_path_factory.mktemp("play"))
    yield one
    box.down(one.server)
