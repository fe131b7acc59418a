"""However a sandbox ends, nothing of it is left on the machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox import Place, SandboxError, find_place, process, sandbox, server, why_not
from sandbox.place import REPOSITORY

pytestmark = [pytest.mark.sandbox, pytest.mark.skipif(bool(why_not()), reason=str(why_not()))]

SUITE = "ending-tests"
# Boots, says so and sleeps, until somebody ends it.
SCRIPT = f"""
import sys, time
from sandbox import sandbox
with sandbox("{SUITE}") as box:
    print("begun", flush=True)
    box.up("web1")
    box.acme()
    print("booted", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def place() -> Iterator[Place]:
    one = find_place(f"{find_place().state}-{SUITE}")
    server.down_all(one)
    yield one
    server.down_all(one)


def left(place: Place) -> list[str]:
    """Everything on this machine that carries the sandbox's tag, its state directory or a process of it."""
    found = [str(pid) for pid in process.marked(place)]
    for words in (["ip", "-o", "link"], ["ip", "netns"], ["iptables-save"], ["cat", "/proc/self/mountinfo"]):
        said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
        found += [line for line in said.splitlines() if place.tag in line or str(place.state) in line]
    found += [str(path) for path in Path("/sys/fs/cgroup").glob(f"*/webops-sandbox-{place.tag}*")]
    found += [str(path) for path in Path("/run/netns").glob(f"*{place.tag}*")]
    return found + ([str(place.state)] if place.state.exists() else [])


def begin(place: Place, until: str) -> subprocess.Popen[str]:
    child = subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, text=True, cwd=REPOSITORY)
    assert child.stdout
    while (line := child.stdout.readline()).strip() != until:
        assert line, "the script ended too early"
    return child


def test_the_end_of_the_block_takes_everything_away(place: Place) -> None:
    with sandbox(SUITE) as box:
        box.up("web1")
        box.acme()
        assert len(left(place)) > 10
    assert left(place) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_tidily(place: Place, number: signal.Signals) -> None:
    child = begin(place, "booted")
    child.send_signal(number)
    assert child.wait(30) != 0
    assert left(place) == []


@pytest.mark.parametrize("after", [0.05, 0.2, 0.35, 0.6])
def test_a_signal_in_the_middle_of_booting_ends_it_tidily(place: Place, after: float) -> None:
    child = begin(place, "begun")
    time.sleep(after)
    child.send_signal(signal.SIGTERM)
    child.wait(30)
    assert left(place) == []


@pytest.mark.parametrize("after", [0.1, 0.3, 0.5, 1.5])
def test_what_a_killed_suite_left_is_found_and_removed(place: Place, after: float) -> None:
    child = begin(place, "begun")
    deadline = time.monotonic() + 30
    while not left(place) and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(after)
    child.kill()
    child.wait()
    assert left(place)
    server.down_all(place)
    assert left(place) == []


def test_a_server_whose_supervisor_was_killed_is_cleared(place: Place) -> None:
    with sandbox(SUITE) as box:
        box.up("web1")
        supervisor = process.find(place, "server:web1")
        assert supervisor
        os.kill(supervisor, signal.SIGKILL)
        time.sleep(0.3)
        assert not server.get(place, "web1").running
        assert box.up("web1").running
    assert left(place) == []


def test_a_lost_state_directory_loses_no_process(place: Place) -> None:
    child = begin(place, "booted")
    child.kill()
    child.wait()
    subprocess.run(["rm", "-rf", str(place.state / "servers"), str(place.state / "network.json")], check=True)
    server.down_all(place)
    assert left(place) == []


def test_the_same_suite_twice_is_refused_and_two_suites_run_side_by_side(place: Place) -> None:
    with sandbox(SUITE) as box:
        one = box.up("web1")
        with pytest.raises(SandboxError, match="runs already"), sandbox(SUITE):
            pass
        with sandbox(f"{SUITE}-2") as other:
            assert other.up("web1").address != one.address
            other_place = other.place
        assert left(other_place) == []
        assert server.get(place, "web1").running
    assert left(place) == []
