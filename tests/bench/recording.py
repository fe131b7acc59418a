"""What recording costs: the same playbook bare, and through panel.runs with its events stored in SQLite.

As a program it is the worker: told (as JSON) about the server, it plays a run for each line that it reads,
and answers with the seconds from claim to settled end and the number of events.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sandbox.place import REPOSITORY
from tests.bench.ground import Ground
from tests.bench.ways import Failed, WebOps, values
from tests.panels import Embedded

#: The way without a panel.
BARE = "ansible-playbook, bare"


@dataclass
class Recorded:
    """A worker that stands ready, as in an installation: its start is no part of a run."""

    process: subprocess.Popen[str]

    def apply(self) -> float:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise Failed("The recorded run did not succeed; its error is above.")
        told = json.loads(answer)
        assert told["events"] > 30, told
        return float(told["seconds"])


@dataclass
class Bare(WebOps):
    """ansible-playbook alone, asked for the same as the panel asks for."""

    extra: tuple[str, ...] = ("--diff",)

    def apply(self) -> float:
        return self.play("main", "webops-admin")


@contextmanager
def recorder(ground: Ground) -> Iterator[Recorded]:
    """An installation of its own: database, Redis, one worker."""
    state = ground.scratch / "state"
    shutil.rmtree(state, ignore_errors=True)
    redis = Embedded(state)
    redis.start()
    told = {"address": ground.server.address, "key": ground.key.read_text(), "values": values(ground),
            "known_hosts": ground.server.known_hosts.read_text()}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.recording"], cwd=REPOSITORY, text=True, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, env={**os.environ, "WEBOPS_STATE": str(state)}, start_new_session=True)
    try:
        assert process.stdin
        process.stdin.write(json.dumps(told) + "\n")
        yield Recorded(process)
    finally:
        process.stdin.close()
        process.wait()
        redis.stop()


def rounds(ground: Ground, count: int) -> dict[str, list[float]]:
    """A B A B …: the app is there and stays as it is, so that every round does the same."""
    bare = Bare(ground)
    bare.first()
    found: dict[str, list[float]] = {"WebOps, recorded": [], BARE: []}
    with recorder(ground) as recorded:
        recorded.apply()
        for number in range(count):
            found["WebOps, recorded"].append(recorded.apply())
            found[BARE].append(bare.apply())
            print(f"round {number + 1} · " + " · ".join(f"{name} {times[-1]:.2f} s" for name, times in found.items()),
                  flush=True)
    return found


def main() -> None:
    from panel.runs.job import execute
    from panel.store import db

    told = json.loads(sys.stdin.readline())
    db.upgrade()
    prepare(told)
    for _line in sys.stdin:
        number = ask()
        began = time.monotonic()
        execute(number)
        answer(number, time.monotonic() - began)


def prepare(told: dict[str, Any]) -> None:
    from panel.store import db
    from panel.store.models import Resource, Server
    from panel.store.seal import seal

    host_key = next(line for line in told["known_hosts"].splitlines() if told["address"] in line.split()[0].split(","))
    with db.session() as session:
        server = Server(name="bench", address=told["address"], host_key=host_key.split(" ", 1)[1], public_key="",
                        private_key=seal("server:bench:private_key", told["key"]), ready_at=db.now(session))
        session.add(Resource(kind="django_app", name="guestbook", server=server, values=told["values"]))
        session.commit()


def ask() -> int:
    from panel.runs.submit import submit
    from panel.store import db
    from panel.store.models import Resource

    with db.session() as session:
        resource = session.query(Resource).one()
        return submit(session, kind=resource.kind, action="main", actor="bench", door="cli", resource=resource,
                      values=resource.values).id


def answer(number: int, seconds: float) -> None:
    from sqlalchemy import func, select

    from panel.store import db
    from panel.store.models import Event, Run, State

    with db.session() as session:
        run = session.get_one(Run, number)
        if run.state is not State.SUCCEEDED:
            sys.exit(f"Run {number}: {run.error}")
        events = session.scalar(select(func.count()).select_from(Event).where(Event.run_id == number))
    print(json.dumps({"seconds": seconds, "events": events}), flush=True)


if __name__ == "__main__":
    main()
