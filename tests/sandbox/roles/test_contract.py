"""What a repository says of itself, kept on a real server: processes, jobs, commands, limits, and what is refused."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.sandbox.roles.conftest import Ready
from tests.sandbox.roles.cycle import cycle
from tests.sandbox.roles.repositories import Repository
from tests.sandbox.roles.test_django_app import DATA, App

pytestmark = pytest.mark.sandbox
CONTRACT = """
kind: django_app
build: [echo built by the repository > book/static/book/built.txt]
release: [python manage.py check]
processes:
  worker: {command: exec python -u worker.py, count: 2, memory: 200M}
cron:
  - {name: tick, schedule: "*:*:0/2", command: [python, -u, worker.py]}
health: {path: /healthz, status: [200]}
environment: {required: [GREETING]}
needs: {database: true}
limits: {memory: 700M, cpu: 150}
"""
WORKER = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(print("ended well")))
print("at work with", os.environ["GREETING"], os.environ["DATABASE_URL"][:13], os.environ["DJANGO_SETTINGS_MODULE"])
while sys.argv[1:] != ["once"]:
    time.sleep(0.2)
"""


def wait(condition: Callable[[], Any], seconds: float = 15) -> Any:
    until = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < until:
        time.sleep(0.2)
    return found


def values(repository: Repository, name: str = "guestbook") -> App:
    app = App(repository.ready, repository, name)
    del app.values["django_app_health_path"]
    app.values["django_app_environment"] = [{"name": "GREETING", "value": "hello"}]
    return app


@pytest.fixture(scope="module")
def repository(ready: Ready, tmp_path_factory: pytest.TempPathFactory) -> Repository:
    one = Repository(ready, "guestbook", tmp_path_factory.mktemp("repositories"))
    one.ready = ready
    one.commit("What it needs", {"webops.yml": CONTRACT, "worker.py": WORKER})
    return one


@pytest.fixture(scope="module")
def app(ready: Ready, repository: Repository) -> Iterator[App]:
    one = values(repository)
    one.succeed()
    yield one


def active(app: App, *units: str) -> list[str]:
    return app.ready.run("systemctl", "is-active", *(f"wo-{app.name}.{unit}" for unit in units), check=False).split()


def journal(app: App, unit: str) -> str:
    return app.ready.run("journalctl", "-q", "-o", "cat", "-u", f"wo-{app.name}.{unit}")


@pytest.mark.every_release
def test_life(ready: Ready, repository: Repository) -> None:
    app = values(repository)

    def works() -> None:
        assert json.loads(app.get("/healthz"))["status"] == "ok"
        assert app.get("/static/book/built.txt").strip() == "built by the repository"
        assert active(app, "worker@1.service", "worker@2.service", "cron-tick.timer") == ["active"] * 3
        words = "at work with hello postgresql:// guestbook.settings"
        assert words in journal(app, "worker@1.service")
        assert wait(lambda: words in journal(app, "cron-tick.service"))
        shown = ready.run("systemctl", "show", "-p", "MemoryMax,User,TasksMax", "wo-guestbook.worker@2.service")
        assert f"MemoryMax={200 << 20}" in shown and "User=wo-guestbook" in shown
        assert f"MemoryMax={700 << 20}" in ready.run("systemctl", "show", "-p", "MemoryMax", "wo-guestbook@a.service")
        for unit in ("wo-guestbook.worker@1.service", "wo-guestbook.cron-tick.service"):
            verdict = ready.run("systemd-analyze", "security", "--offline=yes", "--threshold=20", unit, check=False)
            assert "→ Overall" in verdict and float(verdict.rsplit(": ", 1)[1].split()[0]) <= 2.0, verdict[-200:]
        record = json.loads(ready.run("cat", "/etc/webops/resources/guestbook.json"))
        assert {"type": "unit", "units": [f"wo-guestbook.worker@{n}.service" for n in (1, 2)]} in record["probes"]
        assert "wo-guestbook.cron-tick.service" in record["journal"]
        assert ready.run("systemctl", "is-system-running").strip() == "running"

    cycle(
        ready,
        "django_app",
        "guestbook",
        app.values,
        works=works,
        stays=lambda line: bool(DATA.match(line)),
        remove_data={"django_app_remove_data": "guestbook"},
    )


def test_processes_are_started_anew_with_the_release(app: App) -> None:
    app.repository.edit("Another word", "worker.py", "at work", "hard at work")
    deployed = app.succeed("deploy")
    assert "worker@1, worker@2" in deployed.results["Let traffic go to the new release"]["webops_summary"]
    for unit in ("worker@1.service", "worker@2.service"):
        assert wait(lambda unit=unit: "hard at work" in journal(app, unit))
        assert "ended well" in journal(app, unit), "the old one was told to end"
    assert app.succeed("deploy").changed == []
    app.succeed("restart")
    assert active(app, "worker@1.service", "worker@2.service") == ["active"] * 2


def test_stop_and_start_take_them_along(app: App) -> None:
    units = ("worker@1.service", "worker@2.service", "cron-tick.timer")
    app.succeed("stop")
    assert wait(lambda: active(app, *units) == ["inactive"] * 3)
    app.succeed("start")
    assert wait(lambda: active(app, *units) == ["active"] * 3)


def test_what_needs_root_is_refused_before_anything_is_built(app: App) -> None:
    app.repository.edit("One more", "webops.yml", "count: 2", "count: 3")
    before = app.release()["id"]
    failed = app.play("deploy")
    assert failed.failed == "Read what the repository says of itself"
    assert failed.error["msg"] == "Needs Apply, because 3 of the process worker are wanted, and 2 are installed."
    assert app.release()["id"] == before
    checked = app.play(check=True)
    assert checked.changed and not checked.failed
    assert app.succeed().changed == checked.changed
    assert active(app, "worker@3.service") == ["active"]
    assert app.succeed("deploy").changed == []


def test_a_number_of_webops_wins_and_none_is_taken_away(app: App) -> None:
    fewer = app.succeed(django_app_processes=[{"name": "worker", "count": 1}])
    assert "Build the release" not in fewer.changed
    assert wait(lambda: active(app, *(f"worker@{n}.service" for n in (1, 2, 3))) == ["active", "inactive", "inactive"])
    assert "worker@2" not in app.ready.run("ls", "/etc/systemd/system/multi-user.target.wants")
    assert app.succeed(django_app_processes=[{"name": "worker", "count": 1}]).changed == []
    app.repository.edit(
        "No jobs", "webops.yml", '  - {name: tick, schedule: "*:*:0/2", command: [python, -u, worker.py]}', ""
    )
    app.succeed()
    assert active(app, "cron-tick.timer") == ["inactive"]
    assert "cron" not in app.ready.run("ls", "/etc/systemd/system")
    assert active(app, *(f"worker@{n}.service" for n in (1, 2, 3))) == ["active"] * 3


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        (
            "webops.yml",
            "count: 3",
            "cuont: 3",
            "line 6: processes.worker.cuont: There is no 'cuont' here. Did you mean 'count'?",
        ),
        (
            "webops.yml",
            "required: [GREETING]",
            "required: [GREETING, STRIPE_KEY]",
            "STRIPE_KEY must be set, says webops.yml",
        ),
        (
            "webops.yml",
            "build: [echo",
            "build: [npm ci, echo",
            "A program of the build command 'npm ci' is not on this server",
        ),
        (
            "webops.yml",
            "python manage.py check",
            "python manage.py nope",
            "A release command failed (python manage.py nope)",
        ),
        ("requirements.txt", "django", "--nope", "The requirements could not be installed"),
    ],
)
def test_what_is_wrong_is_told_and_the_old_release_serves_on(
    app: App, file: str, old: str, new: str, words: str
) -> None:
    before = app.release()["id"]
    app.repository.edit("Wrong", file, old, new)
    failed = app.play("deploy")
    app.repository.undo()
    assert failed.failed and words in failed.error["msg"], failed.words()
    assert failed.error["next"]
    assert app.release()["id"] == before and json.loads(app.get("/healthz"))["status"] == "ok"


def test_a_process_that_ends_at_once_is_told_with_its_last_words(app: App) -> None:
    app.repository.edit("Sick", "worker.py", "import os", "import os, no_such_module")
    failed = app.play("deploy")
    app.repository.undo()
    assert "The release serves, and its process worker does not start: ModuleNotFoundError" in failed.error["msg"]
    assert failed.error["journal"]
    assert json.loads(app.get("/healthz"))["status"] == "ok"
    app.succeed("deploy")
    assert wait(lambda: active(app, "worker@1.service") == ["active"])


def test_after_a_reboot_all_of_it_runs(app: App) -> None:
    app.ready.box.stop(app.ready.server)
    app.ready.box.up(app.ready.server.name, app.ready.server.release)
    assert wait(lambda: active(app, *(f"worker@{n}.service" for n in (1, 2, 3))) == ["active"] * 3, 40)
    assert app.succeed("deploy").changed == []
