"""Going back: to a release that is kept, with its variables and files, and where it is wanted with its data."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.sandbox.roles.conftest import Ready
from tests.sandbox.roles.load import Load
from tests.sandbox.roles.repositories import Repository
from tests.sandbox.roles.test_django_app import App, write_message

pytestmark = pytest.mark.sandbox
ADD_PLACE = """
from django.db import migrations, models

class Migration(migrations.Migration):
    dependencies = [("book", "0001_messages")]
    operations = [migrations.AddField("message", "place", models.TextField(null=True)),
                  migrations.RunSQL("update book_message set text = 'overwritten by a bad migration'")]
"""
RAISE = """
from django.db import migrations

class Migration(migrations.Migration):
    dependencies = [("book", "0002_place")]
    operations = [migrations.RunSQL("select no_such_thing")]
"""
ADD_MORE = """
from django.db import migrations, models

class Migration(migrations.Migration):
    dependencies = [("book", "0002_place")]
    operations = [migrations.AddField("message", "more", models.TextField(null=True))]
"""


@pytest.fixture(scope="module")
def repository(ready: Ready, tmp_path_factory: pytest.TempPathFactory) -> Repository:
    return Repository(ready, "guestbook", tmp_path_factory.mktemp("repositories"))


@pytest.fixture(scope="module")
def app(ready: Ready, repository: Repository) -> Iterator[App]:
    one = App(ready, repository, "goback", "goback.example.org")
    one.succeed()
    return one


def content(app: App) -> dict[str, Any]:
    """All of a release that a visitor or the app could notice."""
    live = app.release()
    home = f"/srv/webops/{app.name}"
    sums = app.ready.run("sh", "-c", f"cd {home}/releases/{live['build']}/app && find . -type f ! -name '*.pyc' "
                         f"-exec sha256sum {{}} + | sort -k2; cd {home}/live/current && find . -type f "
                         "-exec sha256sum {} + | sort -k2")
    return {"id": live["id"], "commit": live["commit"], "files": sums,
            "greeting": app.python("import os; print(os.environ.get('GREETING'))").splitlines()[-1]}


def rows(app: App) -> list[str]:
    return app.ready.run("runuser", "-u", "postgres", "--", "psql", "-XAtc",
                         "select text from book_message order by id", "goback_db").splitlines()


@pytest.mark.every_release
def test_each_kept_release_comes_back_as_it_was_and_no_request_is_lost(app: App) -> None:
    known = [content(app)]
    for number in range(3):
        app.values["django_app_environment"] = [{"name": "GREETING", "value": f"hello {number}"}]
        app.repository.commit(f"Number {number}", {"note.txt": str(number), "book/static/book/extra.txt": str(number)})
        app.succeed("deploy")
        known.append(content(app))
    with Load(app.ready.server.address, app.domain) as load:
        for before in [*known[:-1], known[-1]]:
            gone_back = app.succeed("rollback", django_app_release=before["id"])
            assert gone_back.changed == ["Let the earlier release serve again"]
            assert content(app) == before
    assert load.failed == {}, load.answers
    assert app.succeed("rollback").changed
    assert content(app) == known[-2], "without a name it is the release before"
    assert app.succeed("rollback", django_app_release=known[-2]["commit"][:9]).changed == []
    app.succeed("deploy")
    assert content(app)["commit"] == known[-1]["commit"]


@pytest.mark.every_release
def test_a_bad_migration_is_undone_with_its_data_in_one_command(app: App) -> None:
    assert write_message(app, "Ada", "Before the migration") == "302"
    # PostgreSQL's counters follow a connection that stays open by up to ten seconds.
    app.ready.run("sleep", "11")
    before = app.release()["id"]
    app.repository.commit("Two bad migrations", {"book/migrations/0002_place.py": ADD_PLACE,
                                                 "book/migrations/0003_more.py": RAISE})
    assert app.play("deploy").failed == "Migrate the database"
    # The first one was applied: the database is not as the release knows it any more.
    app.repository.commit("One that raises no more", {"book/migrations/0003_more.py": ADD_MORE})
    deployed = app.succeed("deploy")
    assert {"Keep the database as it is", "Migrate the database"} <= set(deployed.changed)
    assert "stays, from before an earlier try" in deployed.results["Keep the database as it is"]["webops_summary"]
    assert rows(app) == ["overwritten by a bad migration"]
    assert write_message(app, "Bob", "After it") == "302"
    app.ready.run("sleep", "11")
    planned = app.rehearse("rollback", django_app_rollback_data=True)
    assert planned.results["Let the earlier release serve again"]["lost"]["tables"]["public.book_message"] == 1
    assert len(rows(app)) == 2, "a plan brings nothing back"
    seen = Watch(app)
    with seen:
        gone_back = app.succeed("rollback", django_app_rollback_data=True)
    lost = gone_back.results["Let the earlier release serve again"]["lost"]
    assert lost["tables"]["public.book_message"] == 1, lost
    assert rows(app) == ["Before the migration"]
    assert app.release()["id"] == before
    assert json.loads(app.get("/healthz"))["status"] == "ok"
    assert write_message(app, "Cleo", "It works again") == "302"
    assert set(seen.answers) <= {"200", "503"} and "503" in seen.answers, seen.answers
    app.repository.git("revert", "--no-edit", "HEAD", "HEAD~1")


DROP_TEXT = """
from django.db import migrations

class Migration(migrations.Migration):
    dependencies = [("book", "0001_messages")]
    operations = [migrations.RenameField("message", "text", "words")]
"""


def test_a_migration_that_takes_something_away_waits_for_a_confirmation(app: App) -> None:
    before = app.release()["id"]
    app.repository.commit("Rename a column", {"book/migrations/0002_words.py": DROP_TEXT})
    planned = app.rehearse("deploy")
    assert planned.results["Fetch the code"]["webops_plan"]["migrations"] == [
        {"name": "book.0002_words", "takes_away": ["renames the column text of message to words"]}]
    refused = app.play("deploy")
    assert refused.error["msg"] == ("Migrations take something away: book.0002_words renames the column text of "
                                    "message to words.")
    assert refused.error["next"].endswith("confirmed migrations: book.0002_words")
    assert app.release()["id"] == before and write_message(app, "Dora", "Still here") == "302"
    app.succeed("deploy", django_app_confirmed_migrations=["book.0002_words"])
    assert app.release()["id"] != before
    app.succeed("rollback", django_app_rollback_data=True)
    assert "Still here" in rows(app)
    app.repository.undo()


def test_a_rollback_with_its_data_comes_to_its_end_when_its_run_is_ended(app: App) -> None:
    before = app.release()["id"]
    app.repository.commit("A bad migration", {"book/migrations/0002_place.py": ADD_PLACE})
    app.succeed("deploy")
    assert set(rows(app)) == {"overwritten by a bad migration"}
    page = f"/srv/webops/{app.name}/live/maintenance"
    # What is to be kept first has to wait for this.
    busy = threading.Thread(target=app.ready.run, args=(
        "runuser", "-u", "postgres", "--", "psql", "-Xqc",
        "begin; lock table book_message in access exclusive mode; select pg_sleep(8)", "goback_db"))
    busy.start()
    ended = app.play("rollback", django_app_rollback_data=True, until=lambda: app.ready.run("ls", page, check=False))
    assert ended.code != 0
    assert app.get("/", "-o", "/dev/null", "-w", "%{http_code}") == "503", "the database still waits"
    busy.join()
    nothing_of_a_play_is_left(app)
    assert app.ready.run("ls", page, check=False) == ""
    assert json.loads(app.get("/healthz"))["status"] == "ok"
    assert app.release()["id"] == before and "overwritten by a bad migration" not in rows(app)
    assert one_slot(app)
    app.repository.undo()
    assert app.succeed("rollback", check=True, django_app_release=before).changed == []


def test_a_deploy_whose_run_is_ended_takes_its_release_back(app: App) -> None:
    before = app.release()["id"]
    app.repository.edit("Slow", "book/views.py", "    with connection",
                        '    __import__("time").sleep(60)\n    with connection')
    ended = app.play("deploy", django_app_request_timeout=2, django_app_health_timeout=60,
                     until=lambda: active(app) == 2)
    app.repository.undo()
    assert ended.code != 0
    nothing_of_a_play_is_left(app)
    assert one_slot(app) and app.release()["id"] == before
    assert json.loads(app.get("/healthz"))["status"] == "ok"


def one_slot(app: App) -> bool:
    """Whether just the slot runs that traffic goes to, now and after a reboot."""
    live = f"/srv/webops/{app.name}/live"
    pointed = app.ready.run("readlink", f"{live}/sock").strip()[-6]
    described = [slot for slot in "ab" if app.ready.run("ls", f"{live}/{slot}", check=False)]
    return described == [pointed] and active(app) == 1


def active(app: App) -> int:
    units = [f"wo-{app.name}@{slot}.service" for slot in "ab"]
    return app.ready.run("systemctl", "is-active", *units, check=False).split().count("active")


def nothing_of_a_play_is_left(app: App) -> None:
    """Wait for the end of what a module had begun."""
    while app.ready.run("pgrep", "-u", "webops-deploy", "-f", "mitogen", check=False):
        time.sleep(0.1)


class Watch:
    """What visitors get meanwhile."""

    def __init__(self, app: App) -> None:
        self.app, self.answers = app, dict[str, int]()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.is_set():
            answer = self.app.get("/", "-o", "/dev/null", "-w", "%{http_code}")
            self.answers[answer] = self.answers.get(answer, 0) + 1
            time.sleep(0.05)
