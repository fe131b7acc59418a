"""`webops up`: everything comes up, what dies comes back, and the end leaves nothing."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from cli.supervisor import Child, Supervisor
from panel.settings import ROOT


class Installation:
    """A state folder of its own, on a port of its own."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.state = folder / "s"
        kept = {key: value for key, value in os.environ.items() if not key.startswith("WEBOPS_")}
        self.environment = {**kept, "WEBOPS_STATE": str(self.state), "WEBOPS_BIND": f"127.0.0.1:{self.port}",
                            "WEBOPS_BASE_URL": f"http://127.0.0.1:{self.port}"}

    def webops(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", "cli", *words], cwd=ROOT, env=self.environment, check=False,
                              capture_output=True, text=True, timeout=240)

    def processes(self) -> list[psutil.Process]:
        """Everything that runs for this installation, whoever its parent is."""
        mine = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get("WEBOPS_STATE") == str(self.state) and process.status() != "zombie":
                    mine.append(process)
        return mine

    def child(self, words: str) -> psutil.Process:
        main = psutil.Process(int((self.state / "webops.pid").read_text()))
        return next(one for one in main.children() if words in " ".join(one.cmdline()))

    def answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=5) as line:
            line.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            return b" 200 " in line.recv(100)
        return False


@pytest.fixture
def installation() -> Iterator[Installation]:
    import tempfile

    # Not pytest's own folder: the path of a socket may have 107 characters.
    with tempfile.TemporaryDirectory(prefix="wo-") as folder:
        made = Installation(Path(folder))
        yield made
        made.webops("down")
        for process in made.processes():
            process.kill()


def wait_for(what: Callable[[], object], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.1)


def test_all_comes_up_what_dies_comes_back_and_nothing_is_left(installation: Installation) -> None:
    done = installation.webops("up", "--detach")
    assert done.returncode == 0, done.stdout + done.stderr
    assert installation.answers()
    assert "is up already" in installation.webops("up", "--detach").stdout
    assert installation.webops("up").returncode == 3

    for words in ("valkey-server", "panel.runs.worker", "panel.link", "gunicorn"):
        before = installation.child(words)
        before.kill()
        wait_for(lambda gone=before: not gone.is_running() or gone.status() == "zombie")
        wait_for(lambda name=words, old=before.pid: _other(installation, name, old))
    wait_for(installation.answers)
    log = (installation.state / "log" / "up.log").read_text()
    assert "worker: ended (by SIGKILL); starting it again" in log

    assert oct(installation.state.stat().st_mode)[-3:] == "700"
    assert oct((installation.state / "redis.sock").stat().st_mode)[-3:] == "700"
    # Killed itself, it takes everything along, and starts again.
    os.kill(int((installation.state / "webops.pid").read_text()), signal.SIGKILL)
    wait_for(lambda: installation.processes() == [])
    assert "does not run" in installation.webops("down").stdout
    assert installation.webops("user", "add", "ada").returncode == 0
    assert installation.webops("up", "--detach").returncode == 0
    looked = installation.webops("doctor")
    assert looked.returncode == 0, looked.stdout
    assert installation.webops("down").returncode == 0
    assert installation.processes() == []
    assert not installation.answers()


def _other(installation: Installation, words: str, old: int) -> bool:
    with contextlib.suppress(StopIteration, psutil.Error, ValueError):
        return installation.child(words).pid != old
    return False


def test_a_port_that_is_taken_is_said_before_anything_starts(installation: Installation) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", installation.port))
        other.listen()
        done = installation.webops("up")
    assert done.returncode == 1
    assert "WEBOPS_BIND" in done.stderr
    assert installation.processes() == []


def test_people_are_added_and_their_passwords_shown_once(installation: Installation) -> None:
    made = installation.webops("user", "add", "ada", "--admin")
    assert made.returncode == 0, made.stderr
    password = made.stdout.strip()
    assert len(password) >= 20
    assert installation.webops("user", "add", "ada").returncode == 3
    assert installation.webops("user", "add", "Ada; x").returncode == 3
    assert installation.webops("user", "password", "ada").stdout.strip() != password
    assert "ada" in installation.webops("user", "list").stdout
    assert password.encode() not in (installation.state / "webops.db").read_bytes()


def test_help_answers_at_once(installation: Installation) -> None:
    took = []
    for _ in range(3):
        began = time.perf_counter()
        assert installation.webops("--help").returncode == 0
        took.append(time.perf_counter() - began)
    done = subprocess.run([sys.executable, "-X", "importtime", "-m", "cli", "--help"], cwd=ROOT, capture_output=True,
                          text=True, check=True, env=installation.environment)
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not loaded & {"requests", "rich.console", "yaml", "ansible", "sqlalchemy", "flask"}, "imported for --help"


def test_what_is_killed_again_and_again_is_soon_back_each_time() -> None:
    """It waits longer only for what ends as soon as it was started."""
    child = Child("worker", ["true"], grace=1)
    keeper = Supervisor([child], Path("/nowhere"), ROOT, say=lambda _words: None)

    def pause(lived: float) -> float:
        child.started = time.monotonic() - lived
        keeper._ended(child, int(signal.SIGKILL))
        assert child.again_at is not None
        return child.again_at - time.monotonic()

    assert all(pause(lived=12) <= 0.5 for _ in range(8))
    crashing = [pause(lived=0.1) for _ in range(8)]
    assert [round(one) for one in crashing[:5]] == [1, 2, 4, 8, 10] and crashing[-1] <= 10
