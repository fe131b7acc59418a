"""What surrounds WebOps in the demo: a sandbox server, a certificate authority, and repositories to deploy from."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.exits import Exit, Stop
from panel.settings import ROOT
from sandbox import Place, Sandbox, Server, debian, find_place, host, network
from sandbox import server as servers

NAME = "web1"
#: Where a Debian server keeps all certificates that it trusts; the sandbox's own is among them there.
_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
_INSTEAD = "`make run` starts the panel alone, for servers of your own."
_GIT = {"GIT_AUTHOR_NAME": "WebOps demo", "GIT_AUTHOR_EMAIL": "demo@example.org", "GIT_COMMITTER_NAME": "WebOps demo",
        "GIT_COMMITTER_EMAIL": "demo@example.org", "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}


@dataclass(frozen=True)
class Site:
    """One thing that the demo deploys."""

    kind: str
    name: str
    domain: str
    repository: str
    values: dict[str, Any]
    #: A part of the page that proves it is this site.
    path: str = "/"

    @property
    def url(self) -> str:
        return f"https://{self.domain}/"


@dataclass(frozen=True)
class World:
    """Everything that the demo talks to besides WebOps."""

    place: Place
    server: Server
    subnet: str
    ca: Path
    sites: list[Site]

    def fingerprints(self) -> set[str]:
        """Of the host keys that the server really has: what a person would compare on its console."""
        found = set()
        for line in self.server.known_hosts.read_text().splitlines():
            names, _, key = line.split()[:3]
            if self.server.address in names:
                digest = hashlib.sha256(base64.b64decode(key)).digest()
                found.add("SHA256:" + base64.b64encode(digest).decode().rstrip("="))
        return found

    def must_answer(self, site: Site) -> None:
        """GET over HTTPS with the demo's authority as the only one trusted. Stop: it does not answer with 200."""
        context = ssl.create_default_context(cafile=str(self.ca))
        try:
            with socket.create_connection((self.server.address, 443), timeout=20) as plain, \
                    context.wrap_socket(plain, server_hostname=site.domain) as line:
                line.sendall(f"GET {site.path} HTTP/1.1\r\nHost: {site.domain}\r\nConnection: close\r\n\r\n".encode())
                status = line.recv(64).split(b"\r\n")[0].decode(errors="replace")
        except OSError as wrong:
            raise Stop(f"{site.url} does not answer: {wrong}.", Exit.FAILED) from None
        if " 200" not in status:
            raise Stop(f"{site.url} answers '{status}'.", Exit.FAILED)


def why_not() -> str | None:
    """One sentence on why this machine cannot boot a sandbox server and what works instead."""
    if os.uname().sysname != "Linux":
        return f"The demo boots a server, and that needs Linux; {_INSTEAD}"
    if os.geteuid() != 0:
        return f"The demo boots a server, and that needs root (try again with sudo); {_INSTEAD}"
    if host.missing() and not shutil.which("apt-get"):
        lacking = " ".join(sorted({need.package for need in host.missing()}))
        return f"The demo needs {lacking}, and this machine has no apt-get to install them with; {_INSTEAD}"
    return None


def install_packages(say: Callable[[str], None]) -> None:
    """The Debian packages that are missing, named before they are installed. SandboxError: that failed."""
    if not host.missing():
        say("Everything that is needed is installed")
        return
    debian.install(host.requirements())
    if why := host.why_not():
        raise Stop(why, Exit.FAILED)


def ensure(folder: Path, say: Callable[[str], None]) -> World:
    """The server booted, the authority and the git server running; what is there already is left alone."""
    place = find_place(folder / "sandbox")
    box = Sandbox(place)
    wired = network.ensure(place)
    acme = box.acme()
    there = servers.find(place, NAME)
    one = there if there and there.running else box.up(NAME, trust=[box.root_certificate()])
    say(f"{NAME}: Debian at {one.address}, " + ("runs already" if one is there else "booted"))
    sites = [_guestbook(box, folder, acme.directory), _site(box, folder, acme.directory)]
    for site in sites:
        box.point(site.domain, one)
    box.add_hosts(one, {site.domain: one.address for site in sites})
    return World(place, one, wired.subnet, acme.root, sites)


def _guestbook(box: Sandbox, folder: Path, directory: str) -> Site:
    address = box.publish(repository(folder, "guestbook"), "guestbook")
    values = {
        "repo": address, "ref": "main", "domain": "guestbook.demo.test", "database": True,
        "acme_directory": directory, "acme_ca_bundle": _BUNDLE, "acme_terms": True,
    }
    return Site("django_app", "guestbook", "guestbook.demo.test", address, values, "/healthz")


def _site(box: Sandbox, folder: Path, directory: str) -> Site:
    address = box.publish(repository(folder, "site"), "site")
    values = {
        "repo": address, "ref": "main", "domain": "site.demo.test", "command": ["python3", "build.py"],
        "directory": "public",
        "acme_directory": directory, "acme_ca_bundle": _BUNDLE, "acme_terms": True,
    }
    return Site("static_site", "site", "site.demo.test", address, values)


def repository(folder: Path, name: str) -> Path:
    """examples/<name> as a git repository of its own; a new commit only where the example has changed."""
    target = folder / "repositories" / name
    target.mkdir(parents=True, exist_ok=True)
    if not (target / ".git").exists():
        _git(target, "init", "-q", "-b", "main")
    for old in target.iterdir():
        if old.name != ".git":
            shutil.rmtree(old) if old.is_dir() else old.unlink()
    shutil.copytree(ROOT / "examples" / name, target, dirs_exist_ok=True,
                    ignore=shutil.ignore_patterns("__pycache__", "*.pyc", "*.sqlite3", ".venv", ".git"))
    _git(target, "add", "-A")
    if _git(target, "status", "--porcelain"):
        _git(target, "commit", "-q", "-m", f"The {name} example")
    return target


def _git(directory: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(directory), *words], capture_output=True, text=True, check=False,
                          env={**os.environ, **_GIT})
    if done.returncode:
        raise Stop(f"git {words[0]} failed in {directory}: {done.stderr.strip()}", Exit.FAILED)
    return done.stdout.strip()


def remove(folder: Path) -> None:
    """The server, its network and every process of this sandbox away."""
    place = find_place(folder / "sandbox")
    servers.down_all(place)
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(place.state)
