"""Releases that a person sees, compares and goes back to: on a real server, through every door."""

from __future__ import annotations

import json
from typing import Any

import pytest

from panel.runs.releases import BY_HAND
from tests.world import World, wait

pytestmark = pytest.mark.sandbox
HIDDEN = "Motto-S3cret-7be1"


def listed(world: World) -> dict[str, Any]:
    return dict(world.ask("GET", "/resources/guestbook/releases"))


def live(world: World) -> dict[str, Any] | None:
    """The live release as the link saw it last; it may have looked in the middle of the run."""
    return next((one for one in listed(world)["releases"] if one["live"]), None)


def seen(world: World, subject: str) -> dict[str, Any]:
    """The live release once the link has seen it."""
    return dict(wait(f"'{subject}' live", lambda: (one := live(world)) and one["subject"] == subject and one))


def test_two_releases_are_compared_and_gone_back_to(guestbook: World) -> None:
    world = guestbook
    # Whatever others left on its branch and in its values is live first.
    world.repository("guestbook").commit("Begin here", {"note.txt": "begin"})
    world.succeeded(world.apply("django_app", "guestbook", world.guestbook()))
    first = seen(world, "Begin here")
    assert first["run"] and first["actor"] == world.panel.admin and first["seconds"] > 0 and first["went_live"]
    world.repository("guestbook").commit("Say more on the page", {"note.txt": "more"})
    values = {**world.guestbook(), "environment": [{"name": "MOTTO", "value": HIDDEN}]}
    run = world.succeeded(world.apply("django_app", "guestbook", values))
    second = seen(world, "Say more on the page")
    assert second["run"] == run["id"] and second["seconds"] == pytest.approx(run["seconds"], abs=0.01)
    told = world.ask("GET", f"/resources/guestbook/releases/{first['id']}..{second['id']}")
    assert [one["subject"] for one in told["commits"]] == ["Say more on the page"] and not told["commits_gone"]
    assert told["environment"] == {"added": ["MOTTO"], "removed": [], "changed": []}
    assert HIDDEN not in json.dumps([told, listed(world), world.ask("GET", "/resources/guestbook")["observed_data"]])
    printed = world.webops("releases", "guestbook", f"{first['id']}..{second['id']}").stdout
    assert "+ environment: MOTTO" in printed and "Say more on the page" in printed
    page = world.page(f"/resources/guestbook/releases?a={first['id']}&b={second['id']}")
    assert "Say more on the page" in page and "MOTTO" in page and HIDDEN not in page

    back = world.succeeded(world.act("guestbook", "rollback", release=first["id"]))
    now = seen(world, first["subject"])
    assert (now["id"], now["back"]["run"], now["run"]) == (first["id"], back["id"], first["run"])
    words = listed(world)["rolled_back"]
    assert (words["from"], words["commits"], words["variables"]) == (second["id"], 1, ["MOTTO"])
    assert "the branch is ahead by 1 commit; the values asked for since are not live (MOTTO)" in world.page(
        "/resources/guestbook")
    assert "Rolled back to" in world.webops("releases", "guestbook").stdout

    world.ended(world.ask("POST", "/resources/guestbook/drift/runs", {})["run"]["id"])
    drift = world.ask("GET", "/resources/guestbook/drift")
    assert "comes from going back, and not from a change by hand" in drift["text"], drift["text"]
    assert "MOTTO" in drift["text"] and HIDDEN not in json.dumps(drift)

    world.succeeded(world.act("guestbook", "rollback", release=second["id"]))
    seen(world, "Say more on the page")
    assert listed(world)["rolled_back"] is None
    assert BY_HAND not in world.webops("releases", "guestbook").stdout
