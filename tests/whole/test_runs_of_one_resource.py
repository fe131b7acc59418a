"""Two runs of one resource, cancel and time-out of a build on the server, and what the everyday actions may do."""

from __future__ import annotations

from typing import Any

import pytest

from tests.world import World, wait

pytestmark = pytest.mark.sandbox
BUILD = "wo-builder.task@build.service"


@pytest.fixture(scope="module")
def builder(world: World) -> dict[str, Any]:
    """Values of a site; with its command it takes as long as it is told."""
    world.named("builder.whole.test")
    return {"repo": world.repository("site").address, "domain": "builder.whole.test", "certificate": "self_signed",
            "directory": "public", "command": ["python3", "build.py"]}


def _builds(world: World) -> bool:
    return "activating" in world.root("systemctl", "is-active", BUILD, check=False)


def test_the_second_one_waits_and_says_for_what(guestbook: World) -> None:
    """Two workers are free; still the runs of one resource come one after the other. What a command writes is seen
    while it goes on, and printed once."""
    slow = "import time; print('half way', flush=True); time.sleep(6)"
    first = guestbook.act("guestbook", "command", any_program=True, command=["python", "-c", slow])
    second = guestbook.act("guestbook", "restart")
    guestbook.begun(first, "Run the command")
    waiting = guestbook.run(second)
    assert waiting["state"] == "queued" and str(first) in waiting["waits_for"], waiting
    assert waiting["waits_for"] in guestbook.page(f"/runs/{second}")
    wait("its first line", lambda: "half way" in guestbook.page(f"/runs/{first}"))
    assert guestbook.run(first)["state"] == "running"
    one, other = guestbook.succeeded(first), guestbook.succeeded(second)
    assert one["ended_at"] <= other["started_at"]
    assert guestbook.webops("run", "follow", str(first)).stdout.split("\n").count("half way") == 1


def test_cancel_stops_the_build_on_the_server(world: World, builder: dict[str, Any]) -> None:
    number = world.apply("static_site", "builder", builder | {"command": ["sleep", "616"]})
    wait("the build", lambda: _builds(world))
    world.ask("POST", f"/runs/{number}/cancellation")
    run = world.ended(number, 60)
    assert run["state"] == "canceled" and run["error"].startswith("Canceled by ada"), run
    assert f"Stopped there: {BUILD}." in run["next"]
    assert not _builds(world)
    assert world.root("pgrep", "-fx", "sleep 616", check=False) == ""
    world.whole(number)


def test_a_time_out_stops_it_too(world: World, builder: dict[str, Any]) -> None:
    body = {"kind": "static_site", "server": "web1", "values": builder | {"command": ["sleep", "617"]}, "timeout": 25}
    number = int(world.ask("PUT", "/resources/builder", body)["run"]["id"])
    run = world.ended(number, 120)
    assert run["state"] == "failed" and "time-out of 25 seconds" in run["error"], run
    assert not _builds(world)
    assert world.root("pgrep", "-fx", "sleep 617", check=False) == ""
    world.succeeded(world.apply("static_site", "builder", builder))


def test_everyday_actions_are_root_only_for_the_listed_lines(guestbook: World) -> None:
    """deploy, restart, stop, start through the panel: what sudo wrote down meanwhile."""
    since = guestbook.root("date", "+%Y-%m-%d %H:%M:%S").strip()
    repository = guestbook.repository("guestbook")
    repository.commit("Something new", {"note.txt": since})
    numbers = [guestbook.act("guestbook", action) for action in ("deploy", "restart", "stop", "start")]
    for number in numbers:
        guestbook.succeeded(number)
    log = guestbook.root("journalctl", "-q", "--no-pager", "-o", "cat", "_COMM=sudo", f"--since={since}").splitlines()
    commands = [line for line in log if "COMMAND=" in line]
    assert {line.split(":")[0].strip() for line in commands} == {"webops-deploy"}
    as_root = {line.split("COMMAND=")[1] for line in commands if "USER=root" in line}
    rules = guestbook.root("cat", "/etc/sudoers.d/wo-guestbook").splitlines()
    listed = {line.split("NOPASSWD: ")[1] for line in rules if "NOPASSWD" in line}
    assert as_root and as_root <= listed, as_root - listed
    assert not [line for line in listed if "*" in line]
