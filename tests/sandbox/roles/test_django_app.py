"""A Django app as its role promises it: the guestbook, deployed, changed, broken and taken away."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.sandbox.roles.conftest import Ready
from tests.sandbox.roles.cycle import cycle, nothing, remove
from tests.sandbox.roles.load import Load
from tests.sandbox.roles.play import Played
from tests.sandbox.roles.repositories import Repository

pytestmark = pytest.mark.sandbox
DOMAIN = "guestbook.example.org"
# What stays after `remove`: uploaded files, the app's home, the database, and the Unix user who owns them.
DATA = re.compile(r"\+ file /srv/webops/guestbook(/shared(/(media|data))?)? |\+ (user|group) wo-guestbook |"
                  r"\+ (database|role) guestbook_db|[+-] group webops-apps |[+-] file /etc/g?(passwd|group|shadow) ")
HOSTILE = ["{{ lookup('pipe','touch /tmp/CANARY') }}", "$(touch /tmp/CANARY)", "a\nLD_PRELOAD=/tmp/e.so",
           "'\"\\ `id` %h #", "; }", "é 🌊 "]


class App:
    """The guestbook on one server."""

    def __init__(self, ready: Ready, repository: Repository, name: str = "guestbook", domain: str = DOMAIN) -> None:
        self.ready, self.repository, self.name, self.domain = ready, repository, name, domain
        self.values: dict[str, Any] = {
            "django_app_repo": repository.address, "django_app_domain": domain,
            "django_app_aliases": [f"www.{domain}"], "django_app_certificate": "self_signed",
            "django_app_health_path": "/healthz",
        }

    def play(self, action: str = "main", check: bool = False, until: Callable[[], object] | None = None,
             **more: Any) -> Played:
        account = "webops-admin" if action in ("main", "remove") else "webops-deploy"
        return self.ready.play("django_app", self.name, {**self.values, **more}, account=account, action=action,
                               check=check, until=until)

    def rehearse(self, action: str = "main", **more: Any) -> Played:
        return self.play(action, check=True, **more)

    def succeed(self, action: str = "main", **more: Any) -> Played:
        played = self.play(action, **more)
        assert played.code == 0 and not played.failed, played.words() or played.output
        return played

    def get(self, path: str = "/", *options: str) -> str:
        return self.ready.curl(f"https://{self.domain}{path}", "-k", *options)

    def release(self) -> dict[str, Any]:
        return json.loads(self.ready.run("cat", f"/srv/webops/{self.name}/live/release"))

    def load(self) -> Load:
        return Load(self.ready.server.address, self.domain)

    def python(self, code: str) -> str:
        """What code prints that runs as manage.py shell does, in the app's own environment."""
        done = self.succeed("command", django_app_command=["shell", "--no-imports", "-c", code])
        return "\n".join(done.results["Run the command"]["output"])


@pytest.fixture(scope="module")
def repository(ready: Ready, tmp_path_factory: pytest.TempPathFactory) -> Repository:
    return Repository(ready, "guestbook", tmp_path_factory.mktemp("repositories"))


@pytest.fixture(scope="module")
def app(ready: Ready, repository: Repository) -> Iterator[App]:
    one = App(ready, repository)
    one.succeed()
    return one


def write_message(app: App, name: str, text: str) -> str:
    """Fill in the form as a browser does; the status of the answer."""
    jar = app.ready.place / "cookies"
    jar.unlink(missing_ok=True)
    app.get("/", "-c", str(jar))
    token = jar.read_text().split("csrftoken")[1].split()[0]
    return app.get("/", "-b", str(jar), "-H", f"Origin: https://{app.domain}", "-o", "/dev/null", "-w", "%{http_code}",
                   "--data-urlencode", f"csrfmiddlewaretoken={token}", "--data-urlencode", f"name={name}",
                   "--data-urlencode", f"text={text}")


@pytest.mark.every_release
def test_life(ready: Ready, repository: Repository) -> None:
    app = App(ready, repository)

    def works() -> None:
        assert json.loads(app.get("/healthz")) == {"status": "ok", "database": "postgresql"}
        assert write_message(app, "Ada", "Hello from a test") == "302"
        rows = ready.run("runuser", "-u", "postgres", "--", "psql", "-XAtc", "select name, text from book_message",
                         "guestbook_db")
        assert set(rows.split("\n")) - {""} == {"Ada|Hello from a test"}
        style = re.search(r'/static/[^"]+\.css', app.get())
        assert style and "color-scheme" in app.get(style[0])
        for unit in ("wo-guestbook@a.service", "wo-guestbook.task@build.service"):
            verdict = ready.run("systemd-analyze", "security", "--offline=yes", "--threshold=20", unit, check=False)
            assert float(re.findall(r"level for \S+: (\S+)", verdict)[0]) <= 2.0
        assert ready.run("systemctl", "is-system-running").strip() == "running"

    cycle(ready, "django_app", "guestbook", app.values, works=works, stays=lambda line: bool(DATA.match(line)),
          by_hand="sed -i s/^MemoryMax=.*/MemoryMax=90M/ /etc/systemd/system/wo-guestbook@.service; "
          "systemctl daemon-reload; rm /etc/sudoers.d/wo-guestbook; "
          "sed -i s/SECRET_KEY/SECRET_KEY_NOT/ /srv/webops/guestbook/env/bindings.json",
          remove_data={"django_app_remove_data": "guestbook"})


def test_what_is_switched_off_goes_and_its_data_with_the_app(ready: Ready, repository: Repository) -> None:
    """What only has such a name, and is no part of the app, is left alone by all of it."""
    app = App(ready, repository, "parts", "parts.example.org")
    ready.run("apt-get", "-qy", "install", "--no-install-recommends", "redis-tools")
    before = ready.snapshot()
    app.succeed(django_app_cache=True)
    elsewhere = {"name": "DATABASE_URL", "value": "sqlite:////srv/webops/parts/shared/data/book.sqlite3"}
    off = {"django_app_cache": False, "django_app_database": False, "django_app_domain": "", "django_app_aliases": [],
           "django_app_environment": [elsewhere]}
    rehearsed, switched = app.rehearse(**off), app.succeed(**off)
    assert rehearsed.changed == switched.changed
    assert switched.changed[-5:] == [
        "Let nginx forget the domain", "Remove the certificate and its key",
        "Stop it and remove its unit, its rights and its files", "Remove its socket and who could open it",
        "Forget the database and its password; remove the data, if its name was given"]
    assert app.succeed(**off).changed == []
    records = ready.run("ls", "/etc/webops/resources").split()
    assert [one for one in records if one.startswith("parts")] == ["parts.json"]
    taken = {"nginx_vhost_domain": app.domain, "nginx_vhost_roots": ["/srv"]}
    assert not ready.play("nginx_vhost", "other", taken, check=True).failed, "its domain is not free"
    data = re.compile(r"\+ file /srv/webops/(parts(/shared(/(media|data\S*))?)?|parts-cache(/data\S*)?) |"
                      r"\+ (user|group) wo-parts(-cache)? |\+ (database|role) parts_db|[+-] group webops-apps |"
                      r"[+-] file /etc/g?(passwd|group|shadow) ")
    remove(ready, "django_app", "parts", {**app.values, **off}, before, lambda line: bool(data.match(line)))
    kept = ready.snapshot()
    assert any("database parts_db" in line for line in kept) and any("parts-cache/data" in line for line in kept)
    app.succeed(**off)
    ready.play("redis_db", "parts-cache", {})
    assert app.succeed(**off).changed == []
    app.succeed("remove", **off, django_app_remove_data="parts")
    assert ready.run("systemctl", "is-active", "wo-parts-cache@main").strip() == "active"
    remove(ready, "redis_db", "parts-cache", {"redis_db_remove_data": "parts-cache"}, before, nothing)


@pytest.mark.every_release
def test_no_request_is_lost_by_what_is_done_every_day(app: App) -> None:
    with app.load() as load:
        before = app.release()["id"]
        app.repository.edit("A new lead", "book/templates/book/index.html", "You were here.", "You came by.")
        deployed = app.succeed("deploy")
        assert deployed.changed == ["Fetch the code", "Build the release", "Let traffic go to the new release"]
        assert "You came by." in app.get()
        assert app.release()["before"] == before
        assert app.succeed("deploy").changed == []
        app.succeed("restart")
        greeting = [{"name": "GREETING", "value": "hello"}]
        environment = app.succeed("deploy", django_app_environment=greeting)
        assert environment.changed == ["Hold the variables of the release ready", "Fetch the code",
                                       "Let traffic go to the new release"]
        app.values["django_app_environment"] = greeting
        assert app.succeed("deploy").changed == []
    assert load.failed == {}, load.answers
    assert load.total > 300


@pytest.mark.parametrize(("file", "old", "new", "cause", "error"), [
    ("guestbook/wsgi.py", "import os", "import os, not_there", "does not start", "No module named 'not_there'"),
    ("book/views.py", '    with connection', '    raise RuntimeError("sick")\n    with connection',
     "/healthz gave 500", "RuntimeError: sick"),
    ("requirements.txt", "django==", "no-such-package-here==1\ndjango==", "requirements could not be installed",
     "no-such-package-here"),
    ("guestbook/settings.py", "DEBUG = ", "os.environ['MISSING']\nDEBUG = ", "could not be loaded",
     "KeyError: 'MISSING'"),
    ("book/views.py", '    with connection', '    __import__("time").sleep(60)\n    with connection',
     "/healthz gave no answer within 2 seconds", ""),
])
def test_the_old_release_serves_on_when_a_new_one_fails(app: App, file: str, old: str, new: str, cause: str,
                                                        error: str) -> None:
    before = app.release()["id"]
    with app.load() as load:
        app.repository.edit("Break it", file, old, new)
        # Only what never answers is given little time: what is slow on a busy machine must not look like it.
        short = {"django_app_health_timeout": 2} if "within 2 seconds" in cause else {}
        failed = app.play("deploy", django_app_health_tries=3, **short)
    app.repository.undo()
    assert failed.failed
    assert cause in failed.error["msg"] and error in failed.error["msg"]
    assert failed.error["next"] and failed.error["journal"]
    assert load.failed == {}, load.answers
    assert app.release()["id"] == before
    assert json.loads(app.get("/healthz"))["status"] == "ok"
    assert app.ready.run("systemctl", "is-active", "wo-guestbook@a.service", "wo-guestbook@b.service",
                         check=False).split().count("active") == 1


def test_after_a_failed_deploy_it_is_said_where_the_database_stands(app: App) -> None:
    migration = ("from django.db import migrations\n\n\ndef fail(apps, schema):\n"
                 "    raise ValueError('cannot go on')\n\n\n"
                 "class Migration(migrations.Migration):\n    dependencies = [('book', '{after}')]\n"
                 "    operations = [migrations.RunPython({what})]\n")
    app.repository.commit("Two migrations", {
        "book/migrations/0002_fine.py": migration.format(after="0001_messages", what="migrations.RunPython.noop"),
        "book/migrations/0003_bad.py": migration.format(after="0002_fine", what="fail")})
    failed = app.play("deploy")
    app.repository.undo()
    assert failed.failed == "Migrate the database"
    assert failed.error["msg"] == "The database could not be migrated: ValueError: cannot go on"
    journal = "\n".join(failed.error["journal"])
    assert "Applying book.0002_fine... OK" in journal and "Applying book.0003_bad..." in journal
    assert failed.error["next"].startswith("The database stands at book.0002_fine. ")
    views = (app.repository.path / "book/views.py").read_text()
    app.repository.commit("A migration, and no health", {
        "book/migrations/0002_other.py": migration.format(after="0001_messages", what="migrations.RunPython.noop"),
        "book/views.py": views.replace("    with connection", "    raise RuntimeError('sick')\n    with connection")})
    for _time in ("the first", "once more, with nothing left to migrate"):
        sick = app.play("deploy", django_app_health_tries=3)
        assert sick.failed == "Let traffic go to the new release"
        assert sick.error["next"].endswith("the database stands at book.0002_other.")
    app.repository.undo()
    assert json.loads(app.get("/healthz"))["status"] == "ok"


def test_a_full_disk_is_named_and_leaves_nothing_half_done(app: App) -> None:
    before, releases = app.release()["id"], f"/srv/webops/{app.name}/releases"
    owner = app.ready.run("stat", "-c", "uid=%u,gid=%g,mode=0%a", releases).strip()
    app.ready.run("mount", "-t", "tmpfs", "-o", f"size=200k,{owner}", "tmpfs", releases)
    try:
        app.repository.commit("Something large", {"large.txt": "water\n" * 200_000})
        failed = app.play("deploy")
    finally:
        app.ready.run("umount", releases)
        app.repository.undo()
    assert failed.error["msg"].startswith("The disk of the server is full: ")
    assert "Make room on the server" in failed.error["next"]
    assert app.release()["id"] == before
    assert json.loads(app.get("/healthz"))["status"] == "ok"
    app.succeed("deploy")


def test_a_missing_branch_is_named_with_those_that_are_there(app: App) -> None:
    failed = app.play("deploy", django_app_ref="nope")
    assert failed.error["msg"] == f"Branch 'nope' does not exist in {app.repository.address}. Branches: main."


@pytest.mark.every_release
def test_stop_start_and_reboot(app: App) -> None:
    app.succeed("deploy")
    app.succeed("stop")
    stopped = app.get("/healthz", "-w", "%{http_code}")
    assert "This site is not available at the moment" in stopped and stopped.endswith("502")
    assert app.succeed("stop").changed == []
    app.succeed("start")
    assert json.loads(app.get("/healthz"))["status"] == "ok"
    app.ready.box.stop(app.ready.server)
    app.ready.box.up(app.ready.server.name, app.ready.server.release)
    for _attempt in range(40):
        if app.get("/healthz", "-o", "/dev/null", "-w", "%{http_code}") == "200":
            break
        app.ready.run("sleep", "0.5")
    assert json.loads(app.get("/healthz"))["status"] == "ok"
    active = app.ready.run("systemctl", "is-active", "wo-guestbook@a.service", "wo-guestbook@b.service", check=False)
    assert active.split().count("active") == 1
    assert app.succeed("deploy").changed == []


def test_what_a_killed_run_wrote_and_told_nobody_is_told_by_the_next_apply(app: App) -> None:
    app.succeed()
    app.ready.run("touch", "/etc/systemd/system/wo-guestbook@.service", "/run/webops-due-nginx")
    planned = app.rehearse()
    applied = app.succeed()
    assert planned.changed == applied.changed
    assert applied.changed[:1] == ["Install the units of the app and the right to start them"]
    assert "Let nginx serve the domain" in applied.changed
    needs = app.ready.run("systemctl", "show", "-p", "NeedDaemonReload", "wo-guestbook@*.service")
    assert "NeedDaemonReload=yes" not in needs
    assert app.rehearse().changed == []


def test_hostile_values_arrive_as_they_are(app: App) -> None:
    variables = [{"name": f"V{place}", "value": value} for place, value in enumerate(HOSTILE)]
    app.succeed("deploy", django_app_environment=variables,
                django_app_secrets=[{"name": "TOKEN", "value": "s3cret-{{ 7*7 }}"}])
    names = [f"V{place}" for place in range(len(HOSTILE))] + ["TOKEN"]
    seen = app.python(f"import os, json; print(json.dumps([os.environ[name] for name in {names}]))")
    assert json.loads(seen.splitlines()[-1]) == [*HOSTILE, "s3cret-{{ 7*7 }}"]
    assert app.python("import os; print('LD_PRELOAD' in os.environ)").splitlines()[-1] == "False"
    assert "CANARY" not in app.ready.run("ls", "/tmp")


@pytest.mark.parametrize(("values", "words"), [
    ({"django_app_repo": "ext::sh -c touch% /tmp/CANARY"}, "Only https:// and ssh addresses are allowed."),
    ({"django_app_repo": "file:///etc"}, "Only https:// and ssh addresses are allowed."),
    ({"django_app_repo": "--upload-pack=touch /tmp/CANARY"}, "may not begin with '-'"),
    ({"django_app_ref": "--orphan"}, "may not begin with '-'"),
    ({"django_app_ref": "main; touch /tmp/CANARY"}, "Write the name of a branch"),
    ({"django_app_directory": "../../etc"}, "inside the project"),
    ({"django_app_wsgi": "os;system:x"}, "module:object"),
    ({"django_app_domain": "a.com; } server { listen 81"}, "one full domain"),
    ({"django_app_environment": [{"name": "LD_PRELOAD", "value": "x"}]}, "cannot be set here"),
    ({"django_app_packages": ["-o", "x"]}, "Debian package"),
])
def test_bad_values_are_refused_in_words(app: App, values: dict[str, Any], words: str) -> None:
    failed = app.play(**values)
    assert words in failed.words(), failed.output


def test_commands_run_as_the_app(app: App) -> None:
    done = app.succeed("command", django_app_command=["check", "--deploy", "--fail-level", "ERROR"])
    assert "System check identified" in "\n".join(done.results["Run the command"]["output"])
    failed = app.play("command", django_app_command=["no_such_command"])
    assert "Unknown command: 'no_such_command'" in failed.words()
    text = "{{ 6 * 7 }}; $(id) 'é"
    program = app.succeed("command", django_app_any_program=True, django_app_command=["echo", text])
    assert program.results["Run the command"]["output"] == [text]
    print_twice = "import sys, time; print('one', flush=True); time.sleep(3); print('two', sys.prefix, end='')"
    slow = app.succeed("command", django_app_any_program=True, django_app_command=["python", "-c", print_twice])
    said = slow.results["Run the command"]["output"]
    assert said[0] == "one" and said[1].startswith("two /srv/webops/guestbook/releases/")
    refused = app.play("command", django_app_any_program=True, django_app_command=["no-such-program"])
    assert "no-such-program: No such file or directory" in refused.words()
    assert app.python("import os; print(os.getuid(), os.path.exists('/etc/webops/secrets'))").split()[-2] == \
        app.ready.run("id", "-u", "wo-guestbook").strip()


def test_everyday_actions_do_nothing_as_root_but_the_listed_lines(app: App) -> None:
    since = app.ready.run("date", "+%Y-%m-%d %H:%M:%S").strip()
    app.repository.edit("One more lead", "book/templates/book/index.html", "Leave a line", "Leave some lines")
    for action in ("deploy", "restart", "stop", "start"):
        app.succeed(action)
    log = app.ready.run("journalctl", "-q", "--no-pager", "-o", "cat", "_COMM=sudo", f"--since={since}")
    lines = [line for line in log.splitlines() if "COMMAND=" in line and "webops-deploy" in line.split(":")[0]]
    as_root = {line.split("COMMAND=")[1] for line in lines if "USER=root" in line}
    listed = {line.split("NOPASSWD: ")[1] for line in
              app.ready.run("cat", "/etc/sudoers.d/wo-guestbook").splitlines() if "NOPASSWD" in line}
    assert as_root and as_root <= listed
    assert not [line for line in log.splitlines() if "webops-admin" in line.split(":")[0]]


def test_deploys_keep_as_many_releases_as_were_asked_for(app: App) -> None:
    for number in range(3):
        app.repository.commit(f"Number {number}", {"note.txt": str(number)})
        app.succeed("deploy", django_app_keep=2)
    app.ready.run("sh", "-c", "for _ in $(seq 50); do [ $(ls /srv/webops/guestbook/releases | wc -l) -le 2 ] && exit; "
                  "sleep 0.3; done")
    for place in ("releases", "public", "live/releases"):
        kept = app.ready.run("ls", f"/srv/webops/guestbook/{place}").split()
        assert len(kept) == 2, (place, kept)


def test_two_apps_on_one_server_do_not_meet(app: App) -> None:
    second = App(app.ready, app.repository, "second", "second.example.org")
    second.succeed(django_app_database=False)
    # What is built already meets another database, which has no tables yet.
    rehearsed, given = second.rehearse(), second.succeed()
    assert rehearsed.changed == given.changed and "Migrate the database" in given.changed
    assert write_message(second, "Grace", "Only in the second") == "302"
    assert "Only in the second" in second.get() and "Only in the second" not in app.get()
    inside = ["runuser", "-u", "wo-second", "--", "cat"]
    release = app.release()["id"]
    for path in (f"/srv/webops/guestbook/env/{release}.json", "/srv/webops/guestbook/env/bindings.json",
                 f"/srv/webops/guestbook/releases/{app.release()['build']}/app/manage.py"):
        assert app.ready.run(*inside, path, check=False) == ""
    second.succeed("remove", django_app_remove_data="second")
    assert json.loads(app.get("/healthz"))["status"] == "ok"


def test_deploy_before_apply_says_what_is_needed(ready: Ready, repository: Repository) -> None:
    failed = App(ready, repository, "early", "early.example.org").play("deploy")
    assert failed.error["msg"] == "Needs Apply, because early is not on this server yet."
