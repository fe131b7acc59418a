"""Projects that others wrote, deployed as they are and used: one with a database, one with a worker, one whose assets
are built. What is set here stands in docs/public-projects.md."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from tests.sandbox.roles.archives import Archive, worked_examples
from tests.sandbox.roles.conftest import Ready
from tests.sandbox.roles.repositories import Repository
from tests.sandbox.roles.test_django_app import App

pytestmark = pytest.mark.sandbox
PASSWORD = "a long word of the tests"
ARCHIVES = [
    Archive("ara", "1.8.0", "3579c8a80b6ce1b08bdbb557418cf0e12971ba6b8734158f7502b5a2bcd850c0"),
    Archive("django-ca", "3.2.0", "d631b2c91d27b0fd362db1197a4712703caa1bdce52b935c8e1b61e6c3984c07"),
    Archive("coldfront", "1.1.10", "77831a1192da3a5c7f57bce0b33243e63a25a48f8ee3342a0dc172990cdaff36",
            built="coldfront/static/bundles"),
]
NAMES = [one.name for one in ARCHIVES]


def deployed(ready: Ready, archive: Archive, place: Path) -> App:
    source = archive.unpack(ready.box, place / "archive")
    if archive.built:
        shutil.rmtree(source / archive.built)
    own = replace(ready, place=place)
    app = App(own, Repository(own, archive.name, place, source), archive.name, f"{archive.name}.example.org")
    del app.values["django_app_health_path"], app.values["django_app_aliases"]
    app.values |= worked_examples()[f"{archive.name} {archive.version}"]
    app.values["django_app_secrets"] = [{"name": "DJANGO_SUPERUSER_PASSWORD", "value": PASSWORD}]
    app.succeed()
    return app


@pytest.fixture(scope="module")
def apps(ready: Ready, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, App]]:
    """All three on one server, deployed at the same time."""
    with ThreadPoolExecutor() as pool:
        made = {one.name: pool.submit(deployed, ready, one, tmp_path_factory.mktemp(one.name)) for one in ARCHIVES}
    yield {name: one.result() for name, one in made.items()}


def sign_in(app: App) -> str:
    """Make a superuser, sign in at Django's admin as a browser does; its first page."""
    app.succeed("command", django_app_command=["createsuperuser", "--noinput", "--username", "ada", "--email",
                                               "ada@example.org"])
    jar, login = str(app.ready.place / "cookies"), "/admin/login/?next=/admin/"
    token = re.search(r'csrfmiddlewaretoken" value="([^"]+)"', app.get(login, "-c", jar))
    assert token
    app.get(login, "-b", jar, "-c", jar, "-H", f"Referer: https://{app.domain}/admin/login/", "-o", "/dev/null",
            "--data-urlencode", f"csrfmiddlewaretoken={token[1]}", "--data-urlencode", "username=ada",
            "--data-urlencode", f"password={PASSWORD}")
    return app.get("/admin/", "-b", jar)


@pytest.mark.parametrize("name", NAMES)
def test_somebody_signs_in_and_sees_styled_pages(apps: dict[str, App], name: str) -> None:
    page = sign_in(apps[name])
    assert "Log out" in page and "ada" in page
    style = re.search(r'/static/[^"]+\.css', page)
    assert style and len(apps[name].get(style[0])) > 1000


def test_what_is_written_is_in_the_database(apps: dict[str, App], ready: Ready) -> None:
    app = apps["ara"]
    playbook = json.dumps({"ansible_version": "2.19.0", "path": "/srv/harbour.yml", "status": "completed"})
    app.get("/api/v1/playbooks", "-H", "Content-Type: application/json", "-d", playbook)
    assert "/srv/harbour.yml" in app.get("/")
    rows = ready.run("runuser", "-u", "postgres", "--", "psql", "-XAtc", "select path from playbooks", "ara_db")
    assert rows.strip() == "/srv/harbour.yml"


def test_the_worker_does_what_the_web_process_asks_for(apps: dict[str, App], ready: Ready) -> None:
    app = apps["django-ca"]
    app.succeed("command", django_app_command=["init_ca", "Root", "CN=Root of the harbour"])
    done = re.compile(r"Task django_ca\.tasks\.generate_crl\S+ succeeded")
    until = time.monotonic() + 30
    while not (found := done.search(ready.run("journalctl", "-q", "-o", "cat", "-u", "wo-django-ca.worker@1.service"))):
        assert time.monotonic() < until, "The worker did nothing."
        time.sleep(0.5)
    assert found
    before = ready.run("ls", "-R", "/srv/webops/django-ca/shared/data/ca/files/ca")
    assert ".key" in before
    app.repository.commit("A new release", {"README.md": "Another word."})
    app.succeed("deploy")
    live = app.release()["id"]
    kept = ready.run("ls", "-R", f"/srv/webops/django-ca/releases/{live}/app/ca/files/ca")
    assert kept.partition(":")[2] == before.partition(":")[2], "the keys are kept"
    assert app.succeed().changed == []


def test_the_assets_that_are_served_were_built_on_the_server(apps: dict[str, App], ready: Ready) -> None:
    app = apps["coldfront"]
    assert not (app.repository.path / "coldfront" / "static" / "bundles").exists()
    for kind in ("js", "css"):
        asset = re.search(rf'/static/[^"]*coldfront[^"]*\.{kind}', app.get("/"))
        assert asset and len(app.get(asset[0])) > 100_000
    assert "DB_URL" in ready.run("cat", "/srv/webops/coldfront/env/bindings.json")
