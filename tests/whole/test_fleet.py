"""docs/fleet.md, command by command: a site on two servers, rolled over, stopped at a failure, retried where it was."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from panel.settings import ROOT
from tests.sandbox.roles.conftest import Ready, boot
from tests.world import RELEASE, World, add_server, wait

pytestmark = pytest.mark.sandbox
DOMAIN, BOOK = "site.whole.test", "book.whole.test"
DOC = ROOT / "docs" / "fleet.md"
FIRST, SECOND = "web1", "web2"


class Fleet:
    """The site `site` on the group `web`: web1, then web2."""

    def __init__(self, world: World, second: Ready) -> None:
        self.world, self.repository = world, world.repository("site")
        self.servers = {FIRST: world.ready, SECOND: second}

    def told(self, line: str, run: int = 0, code: int = 0) -> str:
        """What a command of the document prints, on both of its channels."""
        words = {"https://git.example.org/site.git": self.repository.address, "site.example.org": DOMAIN}
        for doc, here in words.items():
            line = line.replace(doc, here)
        argv = shlex.split(re.sub(r"\b7\b", str(run), line) if run else line)
        argv[0] = str(Path(sys.executable).with_name(argv[0]))
        done = subprocess.run(argv, cwd=ROOT, env=self.world.environment, capture_output=True, text=True, check=False)
        assert done.returncode == code, f"{line}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def title(self, server: str) -> str:
        """What a visitor reads there."""
        page = self.servers[server].curl(f"https://{DOMAIN}/", "-k")
        return page.partition("<h1>")[2].partition("</h1>")[0]

    def titles(self) -> list[str]:
        return [self.title(one) for one in self.servers]

    def retitle(self, old: str, new: str) -> str:
        return self.repository.edit(f"Call it {new}", "pages/index.md", old, new)

    def deploy(self, **more: Any) -> dict[str, Any]:
        body = {"action": "deploy", **more}
        return self.world.ended(self.world.ask("POST", "/resources/site/runs", body)["run"]["id"])

    def retry(self, run: dict[str, Any]) -> dict[str, Any]:
        return self.world.succeeded(self.world.ask("POST", f"/runs/{run['id']}/retry", {})["run"]["id"])

    def hosts(self, run: dict[str, Any]) -> list[str]:
        """The servers that a run did something on, in the order in which it came to them."""
        hosts = [one["host"] for one in self.world.events(run["id"]) if one["host"]]
        return [one.partition("@")[2] for one in dict.fromkeys(hosts)]

    @contextmanager
    def broken(self, server: str) -> Iterator[None]:
        """A server whose mirror of the repository is no mirror."""
        mirror, ready = "/srv/webops/site/shared/repo.git", self.servers[server]
        ready.run("mv", mirror, f"{mirror}.away")
        ready.run("touch", mirror)
        try:
            yield
        finally:
            ready.run("rm", mirror)
            ready.run("mv", f"{mirror}.away", mirror)


def states(run: dict[str, Any]) -> list[tuple[str, str]]:
    return [(one["server"], one["state"]) for one in run["servers"]]


def commands() -> list[list[str]]:
    """The document's commands, block by block."""
    blocks = re.findall(r"^```sh\n(.*?)^```", DOC.read_text(), re.MULTILINE | re.DOTALL)
    return [block.splitlines() for block in blocks]


ROLL_OVER, AGAIN, ONE, CHANGE, BY_HAND = commands()


@pytest.fixture(scope="module")
def fleet(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    box = world.ready.box
    second = boot(box, SECOND, RELEASE, tmp_path_factory.mktemp("second"), trust=[box.root_certificate()])
    add_server(world, SECOND, second)
    one = Fleet(world, second)
    for line in ROLL_OVER:
        one.told(line)
    yield one
    assert world.api("DELETE", f"/servers/{SECOND}").status_code == 204, "nothing of it is left there"
    box.down(second.server)


def test_a_site_serves_on_each_server_of_its_group(fleet: Fleet) -> None:
    assert fleet.titles() == ["Notes from a small harbour"] * 2
    world = fleet.world

    def seen() -> Any:
        row = world.ask("GET", "/resources/site")
        return row if all(one["observed"] == "ok" and one["applied_at"] for one in row["places"]) else None

    row = wait("both places in order", seen)
    assert (row["group"], row["server"], [one["server"] for one in row["places"]]) == (
        "web", None, [FIRST, SECOND])
    assert {one["server"] for one in world.ask("GET", "/resources/site-vhost")["places"]} == {FIRST, SECOND}
    assert "web (2 servers)" in world.webops("list").stdout


def test_by_hand_it_is_a_host_on_each_server(fleet: Fleet) -> None:
    listed = fleet.told(BY_HAND[0])
    assert f"site@{FIRST}" in listed and f"site@{SECOND}" in listed, listed
    program = Path(sys.executable).with_name("ansible-inventory")
    done = subprocess.run([program, "-i", "inventory/panel.webops.yml", "--list"], cwd=ROOT, check=False, text=True,
                          env=fleet.world.environment, capture_output=True)
    found = json.loads(done.stdout)
    ours = [one for one in found["static_site"]["hosts"] if one.startswith("site@")]
    assert ours == [f"site@{FIRST}", f"site@{SECOND}"], done.stderr
    assert found["web"]["hosts"] == [FIRST, SECOND]
    facts = found["_meta"]["hostvars"][f"site@{SECOND}"]
    assert facts["ansible_host"]["__ansible_unsafe"] == fleet.servers[SECOND].server.address
    assert f"--limit site@{FIRST},site@{SECOND}" in fleet.world.webops("values", "site").stdout


def test_what_fails_on_the_second_server_is_done_again_there_alone(fleet: Fleet) -> None:
    wanted = fleet.retitle("a small harbour", "a larger harbour")
    with fleet.broken(SECOND):
        run = fleet.deploy()
        assert run["state"] == "failed" and states(run) == [(FIRST, "succeeded"), (SECOND, "failed")]
        assert fleet.titles() == ["Notes from a larger harbour", "Notes from a small harbour"]
    assert run["error"].startswith(f"{SECOND}: ") and run["next"].startswith(f"Done on {FIRST}. Failed on {SECOND}.")
    # The branch moves on; both servers are to have the same commit all the same.
    fleet.retitle("a larger harbour", "the largest harbour")
    page = fleet.world.page(f"/runs/{run['id']}")
    assert f"Retry on {SECOND}" in page and "1 of 2 servers done." in page
    again = fleet.retry(run)
    assert fleet.hosts(again) == [SECOND] and states(again) == [(SECOND, "succeeded")]
    assert fleet.titles() == ["Notes from a larger harbour"] * 2
    assert wanted[:7] in fleet.world.webops("releases", "site", "--on", SECOND, "--json").stdout


def test_when_the_first_server_fails_the_second_is_not_begun(fleet: Fleet) -> None:
    with fleet.broken(FIRST):
        run = fleet.deploy()
        assert run["state"] == "failed" and states(run) == [(FIRST, "failed"), (SECOND, "not_begun")]
        assert fleet.hosts(run) == [FIRST] and fleet.titles() == ["Notes from a larger harbour"] * 2
    assert f"Not begun on {SECOND}." in run["next"]
    show, retry = AGAIN
    told = fleet.told(show, run["id"])
    assert f"{FIRST}    ▲ failed" in told and "not begun" in told, told
    fleet.told(retry, run["id"])
    assert fleet.titles() == ["Notes from the largest harbour"] * 2
    assert "nothing is left to do" in fleet.told(retry, run["id"] + 1, code=3)


def test_all_at_once_where_that_is_asked_for_and_one_alone(fleet: Fleet) -> None:
    fleet.retitle("the largest harbour", "a quiet harbour")
    with fleet.broken(SECOND):
        stopped = fleet.deploy(batch="100%")
        assert states(stopped) == [(FIRST, "stopped"), (SECOND, "failed")]
        assert fleet.titles() == ["Notes from the largest harbour"] * 2
    run = fleet.deploy(batch="100%")
    assert run["state"] == "succeeded" and fleet.titles() == ["Notes from a quiet harbour"] * 2, run["error"]
    plays = [one for one in fleet.world.events(run["id"]) if one["type"] == "play"]
    assert len(plays) == 1
    deploy, *look = ONE
    alone = re.search(r"Run (\d+)", fleet.told(deploy))
    assert alone and fleet.hosts(fleet.world.run(int(alone[1]))) == [SECOND]
    assert "a quiet harbour" in "".join(map(fleet.told, look))


def test_all_get_one_commit_although_the_branch_moves_meanwhile(fleet: Fleet) -> None:
    world = fleet.world
    wanted = fleet.retitle("a quiet harbour", "a busy harbour")
    number = world.act("site", "deploy")
    wait("the first server's code", lambda: any(
        one["host"] == f"site@{FIRST}" and one["name"] == "Fetch the code" for one in world.events(number)))
    fleet.retitle("a busy harbour", "a late harbour")
    run = world.succeeded(number)
    assert fleet.hosts(run) == [FIRST, SECOND] and fleet.titles() == ["Notes from a busy harbour"] * 2
    fetched = [one["data"]["plan"]["commit"]["id"] for one in world.events(number)
               if "commit" in one["data"].get("plan", {})]
    assert fetched == [wanted] * 2


def test_an_app_has_a_database_on_each_server(fleet: Fleet) -> None:
    """Deployed, restarted and rolled back as one, while each server keeps what was written there."""
    world, repository = fleet.world, fleet.world.repository("guestbook")
    servers = fleet.servers.items()

    def page(server: Ready, *options: str) -> str:
        return server.curl(f"https://{BOOK}/", "-k", *options)

    def write(server: Ready, text: str) -> None:
        jar = str(world.place / f"cookies-{text}")
        page(server, "-c", jar)
        token = Path(jar).read_text().split("csrftoken")[1].split()[0]
        page(server, "-b", jar, "-H", f"Origin: https://{BOOK}", "-o", "/dev/null", "--data-urlencode",
             f"csrfmiddlewaretoken={token}", "--data-urlencode", "name=Ada", "--data-urlencode", f"text={text}")

    def act(action: str, **values: Any) -> None:
        body = {"action": action, "values": values, "batch": "100%"}
        run = world.succeeded(world.ask("POST", "/resources/book/runs", body)["run"]["id"])
        assert states(run) == [(FIRST, "succeeded"), (SECOND, "succeeded")]
        for name, server in servers:
            own, other = (f"from-{one}" in page(server) for one in (name, SECOND if name == FIRST else FIRST))
            assert own and not other, f"after {action}: {name} has what was written there, and that alone"

    values = {"repo": repository.address, "domain": BOOK, "certificate": "self_signed", "health_path": "/healthz"}
    wish = {"kind": "django_app", "group": "web", "values": values, "batch": "100%"}
    world.succeeded(world.ask("PUT", "/resources/book", wish)["run"]["id"])
    before = repository.git("rev-parse", "HEAD")
    for name, server in servers:
        write(server, f"from-{name}")
    repository.edit("A new lead", "book/templates/book/index.html", "You were here.", "You came by.")
    act("deploy")
    assert ["You came by." in page(server) for _name, server in servers] == [True, True]
    act("restart")
    act("rollback", release=before)
    assert ["You were here." in page(server) for _name, server in servers] == [True, True]
    repository.undo()
    world.succeeded(world.act("book", "remove", remove_data="book"))


def test_a_server_is_not_taken_away_from_under_what_lives_on_it(fleet: Fleet) -> None:
    world = fleet.world
    refusals = [world.api("PATCH", "/groups/web", {"remove": [SECOND]}),
                world.api("DELETE", f"/servers/{SECOND}"), world.api("DELETE", "/groups/web")]
    assert [one.status_code for one in refusals] == [409] * 3
    assert f"webops remove site --on {SECOND}" in refusals[0].json()["detail"]


def test_drift_on_one_server_is_said_to_be_there(fleet: Fleet) -> None:
    world = fleet.world
    fleet.servers[SECOND].run("sed", "-i", "s/^server {/server { # by hand/",
                              "/etc/nginx/sites-enabled/wo-site-vhost.conf")
    world.ended(world.ask("POST", "/resources/site/drift/runs", {})["run"]["id"])
    drift = world.ask("GET", "/resources/site/drift")
    assert drift["state"] == "drifted" and f"on {SECOND}:" in drift["text"], drift["text"]
    assert {one["host"] for one in drift["changes"]} == {f"site@{SECOND}"}
    world.succeeded(world.ask("POST", "/resources/site/drift/reconciliation", {})["run"]["id"])
    world.ended(world.ask("POST", "/resources/site/drift/runs", {})["run"]["id"])
    assert world.ask("GET", "/resources/site/drift")["state"] == "in_sync"


def test_a_server_leaves_the_group_and_the_site_goes(fleet: Fleet) -> None:
    world = fleet.world
    batch, off, without, show, back, remove, group = CHANGE
    for line in (batch, off, without):
        fleet.told(line)
    assert fleet.title(FIRST) and "harbour" not in fleet.servers[SECOND].curl(f"https://{DOMAIN}/", "-k", check=False)
    assert [one["server"] for one in world.ask("GET", "/resources/site")["places"]] == [FIRST]
    assert re.search(rf"Servers +{FIRST}$", fleet.told(show), re.MULTILINE)
    fleet.told(back)
    assert "Not applied yet" in world.page("/resources/site")
    for line in (remove, group):
        fleet.told(line)
    assert world.api("GET", "/resources/site").status_code == 404
