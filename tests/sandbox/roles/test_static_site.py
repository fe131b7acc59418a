"""A static site as its role promises it: built, published, changed in one step, and taken away."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sandbox.snapshot import difference
from tests.sandbox.roles.conftest import Ready
from tests.sandbox.roles.cycle import cycle
from tests.sandbox.roles.load import Load
from tests.sandbox.roles.play import Played
from tests.sandbox.roles.repositories import Repository

pytestmark = pytest.mark.sandbox
DOMAIN = "tidewater.example.org"


@pytest.fixture(scope="module")
def repository(ready: Ready, tmp_path_factory: pytest.TempPathFactory) -> Repository:
    return Repository(ready, "site", tmp_path_factory.mktemp("repositories"))


def values(repository: Repository, **more: Any) -> dict[str, Any]:
    return {"static_site_repo": repository.address, "static_site_domain": DOMAIN,
            "static_site_certificate": "self_signed", "static_site_command": ["python3", "build.py"],
            "static_site_directory": "public", **more}


def deploy(ready: Ready, repository: Repository, **more: Any) -> Played:
    return ready.play("static_site", "tidewater", values(repository, **more), account="webops-deploy", action="deploy")


def status(ready: Ready, path: str) -> str:
    return ready.curl(f"https://{DOMAIN}{path}", "-k", "-o", "/dev/null", "-w", "%{http_code}")


@pytest.mark.every_release
def test_life(ready: Ready, repository: Repository) -> None:
    def works() -> None:
        assert "Notes from a small harbour" in ready.curl(f"https://{DOMAIN}/", "-k")
        assert status(ready, "/low-water.html") == "200" and status(ready, "/nothing-here") == "404"
        assert "Nothing washed ashore here" in ready.curl(f"https://{DOMAIN}/nothing-here", "-k")
        assert status(ready, "/build.py") == "404"

    cycle(ready, "static_site", "tidewater", values(repository), works=works, by_hand=(
        "echo '# by hand' >> /etc/nginx/sites-enabled/wo-tidewater-vhost.conf; rm /srv/webops/tidewater/live/current"))


@pytest.mark.every_release
def test_visitors_see_a_new_release_in_one_step(ready: Ready, repository: Repository) -> None:
    assert ready.play("static_site", "tidewater", values(repository)).code == 0
    with Load(ready.server.address, DOMAIN) as load:
        repository.edit("A new title", "pages/index.md", "a small harbour", "a large harbour")
        repository.git("rm", "-q", "pages/low-water.md")
        repository.commit("Low water is gone", {})
        deployed = deploy(ready, repository)
        assert deployed.changed == ["Fetch the code", "Build the release", "Let visitors see the new release"]
        assert deploy(ready, repository).changed == []
    assert load.failed == {}, load.answers
    assert "a large harbour" in ready.curl(f"https://{DOMAIN}/", "-k")
    assert status(ready, "/low-water.html") == "404"


def test_each_kept_release_is_shown_again_as_it_was(ready: Ready, repository: Repository) -> None:
    def seen() -> dict[str, str]:
        live = ready.run("readlink", "/srv/webops/tidewater/live/release").strip()
        return {**json.loads(ready.run("cat", f"/srv/webops/tidewater/live/{live}")),
                "page": ready.curl(f"https://{DOMAIN}/", "-k")}

    def back(**more: Any) -> Played:
        return ready.play("static_site", "tidewater", {"static_site_name": "tidewater", **more},
                          account="webops-deploy", action="rollback")

    before = seen()
    repository.edit("Another title", "pages/index.md", "a large harbour", "a harbour that silted up")
    assert deploy(ready, repository).code == 0
    after = seen()
    with Load(ready.server.address, DOMAIN) as load:
        gone_back = back(webops_run={"id": 12, "actor": "ada {{ 7*7 }}"})
        assert gone_back.changed == ["Let visitors see the earlier release"], gone_back.output
    assert load.failed == {}, load.answers
    assert seen()["page"] == before["page"] and seen()["id"] == before["id"]
    assert (seen()["back"]["run"], seen()["back"]["from"]) == (12, after["id"])
    assert back(static_site_release=after["commit"][:9]).code == 0 and seen()["page"] == after["page"]
    assert "run" not in seen()["back"], "played by hand"
    unknown = back(static_site_release="20200101-000000-0000000")
    assert unknown.failed and "There is no release '20200101-000000-0000000'" in unknown.words()
    assert back(static_site_release=before["id"]).code == 0


@pytest.mark.parametrize(("more", "words"), [
    ({"static_site_command": ["python3", "-c", "raise SystemExit('no paper left')"]}, "The build command ended with 1"),
    ({"static_site_command": ["no-such-program"]}, "The build command 'no-such-program' is not on this server."),
    ({"static_site_directory": "elsewhere"}, "There is no directory 'elsewhere' in the repository after the build."),
    ({"static_site_command": ["ln", "-s", "/etc", "out"], "static_site_directory": "out"},
     "'out' in the repository points outside the project."),
    ({"static_site_directory": "../../etc"}, "inside the project"),
    ({"static_site_command": ["touch", "{{ lookup('pipe','touch /tmp/CANARY') }}", "$(touch /tmp/CANARY)"],
      "static_site_directory": "none"}, "The build command ended with 1: touch {{ lookup('pipe',"),
])
def test_a_failed_build_leaves_the_site_as_it_was(ready: Ready, repository: Repository, more: dict[str, Any],
                                                  words: str) -> None:
    failed = deploy(ready, repository, **more)
    assert failed.failed and words in failed.words(), failed.output
    assert "a large harbour" in ready.curl(f"https://{DOMAIN}/", "-k")
    assert ready.run("ls", "/tmp").find("CANARY") < 0


def test_what_only_has_such_a_name_stays(ready: Ready, repository: Repository) -> None:
    vhost = {"nginx_vhost_domain": "other.example.org", "nginx_vhost_roots": ["/var/www/html"]}
    assert ready.play("nginx_vhost", "other-vhost", vhost).code == 0
    before = ready.snapshot()
    for check in (True, False):
        gone = ready.play("static_site", "other", {}, action="remove", check=check)
        assert gone.code == 0 and gone.changed == [], gone.words() or gone.output
    assert difference(before, ready.snapshot()) == []
    ready.run("sh", "-c", 'echo \'{"kind": "django_app", "name": "other"}\' > /etc/webops/resources/other.json')
    before = ready.snapshot()
    for check in (True, False):
        refused = ready.play("static_site", "other", {}, action="remove", check=check)
        assert "is taken on this server by a resource of kind django_app" in refused.words(), refused.output
    assert difference(before, ready.snapshot()) == []
    assert ready.play("static_site", "tidewater", values(repository)).code == 0
    record = json.loads(ready.run("cat", "/etc/webops/resources/tidewater-vhost.json"))
    assert record["part_of"] == "tidewater"
    # A site of a version that did not say so is removed with its parts all the same.
    ready.run("sh", "-ec",
              "sed -i 's/\"part_of\": .tidewater./\"part_of\": \"\"/' /etc/webops/resources/tidewater-*.json")
    gone = ready.play("static_site", "tidewater", {}, action="remove")
    assert gone.code == 0, gone.words() or gone.output
    assert ready.run("sh", "-c", "ls -d /etc/nginx/sites-enabled/wo-tidewater* /etc/webops/certs/tidewater* "
                     "/etc/webops/resources/tidewater* || true") == ""
