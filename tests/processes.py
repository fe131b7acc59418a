"""WebOps' own processes for a test: started in a folder of their own, all of them gone with the test."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from panel.settings import ROOT


@dataclass(frozen=True)
class Panel:
    """A running panel, and how to sign in."""

    url: str
    admin: str
    password: str
    state: Path


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Processes:
    """Processes of WebOps in a folder of their own; all of them end with the test."""

    def __init__(self, state: Path, **more: str) -> None:
        self.state = state
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.environment = {**os.environ, "WEBOPS_STATE": str(state), "WEBOPS_BIND": f"127.0.0.1:{port}",
                            "WEBOPS_BASE_URL": self.url, **more}
        self._started: list[subprocess.Popen[bytes]] = []

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        with (self.state / f"{words[0]}.out").open("wb") as log:
            one = subprocess.Popen([sys.executable, "-m", "cli", *words], cwd=ROOT, env=self.environment, stdout=log,
                                   stderr=subprocess.STDOUT)
        self._started.append(one)
        return one

    @property
    def pid(self) -> int:
        """Of what was started last."""
        return self._started[-1].pid

    def run(self, *words: str) -> str:
        return subprocess.run([sys.executable, *words], cwd=ROOT, env=self.environment, check=True, text=True,
                              capture_output=True).stdout

    def answers(self, seconds: float = 180) -> None:
        limit = time.monotonic() + seconds
        while time.monotonic() < limit:
            try:
                urllib.request.urlopen(f"{self.url}/healthz", timeout=5).read()
                return
            except (OSError, urllib.error.URLError):
                time.sleep(0.1)
        told = "\n".join(path.read_text()[-2000:] for path in self.state.glob("*.out"))
        pytest.fail(f"The panel does not answer.\n{told}")

    def stop(self) -> None:
        for one in reversed(self._started):
            one.terminate()
        for one in reversed(self._started):
            try:
                one.wait(70)
            except subprocess.TimeoutExpired:
                one.kill()
                one.wait()


def short_folder(name: str) -> Path:
    """A path that is short enough for the sockets in it."""
    folder = Path("/tmp") / f"webops-{name}-{os.getpid()}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    return folder


def fingerprints(known_hosts: Path, address: str) -> set[str]:
    """Of the host keys that a server really has: what a person would compare on its console."""
    keys = [line.split()[2] for line in known_hosts.read_text().splitlines() if address in line.split()[0]]
    return {"SHA256:" + base64.b64encode(hashlib.sha256(base64.b64decode(key)).digest()).decode().rstrip("=")
            for key in keys}


@contextmanager
def empty_panel(name: str, **more: str) -> Iterator[Panel]:
    """All of WebOps in a folder of its own, empty, with one administrator."""
    folder = short_folder(name)
    processes = Processes(folder, **more)
    try:
        processes.start("up")
        processes.answers()
        shown = processes.run("-m", "cli", "user", "add", "ada", "--admin").strip().splitlines()
        yield Panel(processes.url, "ada", shown[-1].split()[-1], folder)
    finally:
        processes.stop()
        shutil.rmtree(folder, ignore_errors=True)
