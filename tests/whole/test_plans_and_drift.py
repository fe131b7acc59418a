"""A plan is what is applied; what was changed by hand is found, shown and taken back. On a real server."""

from __future__ import annotations

import json
from typing import Any

import pytest

from panel.settings import ROOT
from tests.world import World, wait

pytestmark = pytest.mark.sandbox
SITE = "leaflet.whole.test"
VHOST = "/etc/nginx/sites-enabled/wo-guestbook-vhost.conf"


@pytest.fixture(scope="module")
def site(guestbook: World) -> World:
    """What a static site needs, before it is asked for."""
    guestbook.named(SITE)
    return guestbook


def site_values(world: World) -> dict[str, Any]:
    return {"repo": world.repository("site").address, "domain": SITE, "certificate": "self_signed",
            "command": ["python3", "build.py"], "directory": "public"}


def planned(world: World, name: str, **body: Any) -> dict[str, Any]:
    """A plan whose check has ended well."""
    made = world.ask("POST", f"/resources/{name}/plans", body)
    world.succeeded(made["run"]["id"])
    found = dict(world.ask("GET", f"/plans/{made['plan']['id']}"))
    assert found["state"] == "ready", found["refusal"]
    return found


def applied(world: World, plan: dict[str, Any]) -> dict[str, Any]:
    return world.succeeded(world.ask("POST", f"/plans/{plan['id']}/runs", {})["run"]["id"])


def changed(world: World, run: int) -> list[str]:
    """Names of the steps that changed something."""
    return sorted({one["name"] for one in world.events(run) if one["type"] == "changed"})


def same(world: World, plan: dict[str, Any]) -> list[str]:
    """Apply a plan: what it said would change is what changed."""
    said = sorted({one["name"] for one in plan["changes"]})
    assert changed(world, applied(world, plan)["id"]) == said
    return said


def looked(world: World, name: str) -> dict[str, Any]:
    """Drift, looked at now."""
    world.ended(world.ask("POST", f"/resources/{name}/drift/runs", {})["run"]["id"])
    return dict(world.ask("GET", f"/resources/{name}/drift"))


def by_hand(world: World, name: str = "guestbook") -> str:
    """Change a vhost, a unit and an environment file as somebody does over SSH; the name of the variable."""
    world.root("sed", "-i", "1a # somebody was here", f"/etc/nginx/sites-enabled/wo-{name}-vhost.conf")
    world.root("sh", "-c", f"sed -i '/^\\[Service\\]/a Nice=7' /etc/systemd/system/wo-{name}@.service")
    live = world.root("readlink", f"/srv/webops/{name}/live/release").strip().rpartition("/")[2]
    file = f"/srv/webops/{name}/env/{live}"
    held = json.loads(world.root("cat", file))
    world.root("sh", "-c", f"cat > {file}", text=json.dumps({**held, "ADDED_BY_HAND": "1"}))
    return "ADDED_BY_HAND"


def shown(found: dict[str, Any]) -> str:
    return json.dumps([[one["name"], one["diff"]] for one in found["changes"]])


def test_a_plan_for_a_bare_server_says_what_apply_changes(site: World) -> None:
    values = site_values(site)
    plan = planned(site, "leaflet", kind="static_site", server="web1", values=values)
    # Known before anything is there.
    assert plan["commit"]["id"] == site.repository("site").git("rev-parse", "HEAD")
    assert len(same(site, plan)) > 3
    again = planned(site, "leaflet", kind="static_site", server="web1", values=values)
    assert again["changes"] == [] and changed(site, applied(site, again)["id"]) == []


def test_a_plan_for_a_new_app_says_what_apply_changes(site: World) -> None:
    values = {"repo": site.repository("guestbook").address, "health_path": "/healthz"}
    assert len(same(site, planned(site, "second", kind="django_app", server="web1", values=values))) > 5
    again = planned(site, "second")
    assert again["changes"] == [] and changed(site, applied(site, again)["id"]) == []


def test_what_was_changed_by_hand_is_drift_and_is_taken_back(site: World) -> None:
    before = looked(site, "guestbook")
    assert before["state"] == "in_sync", shown(before)
    name = by_hand(site)
    found = looked(site, "guestbook")
    assert found["state"] == "drifted", found["text"]
    for line in ("# somebody was here", "Nice=7", f"{name}="):
        assert line in shown(found), f"{line} is not in the differences: {shown(found)}"
    fixed = site.succeeded(site.ask("POST", "/resources/guestbook/drift/reconciliation", {})["run"]["id"])
    assert changed(site, fixed["id"]) == sorted({one["name"] for one in found["changes"]})
    wait("in sync again, by the clock", lambda: site.ask(
        "GET", "/resources/guestbook/drift")["state"] == "in_sync", 90)
    assert "somebody" not in site.root("cat", VHOST)


def test_a_plan_for_a_server_changed_by_hand_says_what_apply_changes(site: World) -> None:
    by_hand(site)
    assert len(same(site, planned(site, "guestbook"))) >= 3
    site.root("sed", "-i", "1a # somebody was here", "/etc/nginx/sites-enabled/wo-leaflet-vhost.conf")
    assert len(same(site, planned(site, "leaflet"))) >= 1


def test_a_newer_commit_is_told_and_is_no_drift_and_the_plan_shows_it(site: World) -> None:
    live = site.repository("guestbook").git("rev-parse", "HEAD")
    commit = site.repository("guestbook").commit("A note", {"NOTE.md": "new"})
    found = looked(site, "guestbook")
    assert (found["state"], found["newer"]["id"]) == ("in_sync", commit), shown(found)
    plan = planned(site, "guestbook", action="deploy")
    assert (plan["from"]["id"], plan["commit"]["id"]) == (live, commit)
    assert [one["subject"] for one in plan["facts"]["commits"]] == ["A note"]
    assert same(site, plan)


def refused(world: World, plan: dict[str, Any]) -> str:
    answer = world.api("POST", f"/plans/{plan['id']}/runs", {})
    assert (answer.status_code, answer.json()["code"]) == (409, "plan_moved"), answer.text
    return str(answer.json()["detail"])


def test_a_value_a_role_or_a_commit_that_moved_is_refused(site: World) -> None:
    plan = planned(site, "guestbook", action="deploy")
    values = {**site.guestbook(), "workers": 3, "secrets": [{"name": "CARD", "value": None}]}
    site.succeeded(site.apply("django_app", "guestbook", values))
    assert "'workers' of guestbook was changed from its default to '3'" in refused(site, plan)

    plan = planned(site, "guestbook")
    file = ROOT / "roles" / "static_site" / "tasks" / "restart-by-a-test.yml"
    try:
        file.write_text("---\n")
        assert "the role static_site has changed" in refused(site, plan)
    finally:
        file.unlink()

    for action in ("main", "deploy"):
        plan = planned(site, "guestbook", action=action)
        commit = site.repository("guestbook").commit(f"Another for {action}", {"NOTE.md": action})
        live = site.curl("/healthz")
        run = site.ended(site.ask("POST", f"/plans/{plan['id']}/runs", {})["run"]["id"])
        assert run["state"] == "failed" and f"is now {commit[:7]}" in run["error"], run
        assert "Plan again" in run["next"] and changed(site, run["id"]) == [] and site.curl("/healthz") == live


def test_a_server_that_cannot_be_reached_is_a_failed_check_and_never_drift(site: World) -> None:
    site.ready.box.cut_network(site.ready.server)
    try:
        found = looked(site, "guestbook")
    finally:
        site.ready.box.restore_network(site.ready.server)
    assert found["state"] == "check_failed" and "web1" in found["text"] and found["changes"] == []
    wait("the server is back", lambda: looked(site, "guestbook")["state"] == "in_sync", 120)


def test_an_app_that_was_stopped_on_purpose_has_not_drifted(site: World) -> None:
    site.succeeded(site.act("guestbook", "stop"))
    answer = site.api("POST", "/resources/guestbook/drift/runs", {})
    assert answer.status_code == 409 and "is stopped" in answer.json()["detail"]
    site.succeeded(site.act("guestbook", "start"))
    assert looked(site, "guestbook")["state"] == "in_sync"
    assert "In sync" in site.page("/resources/guestbook")
