"""SIGKILL in the middle of a run: it ends in a true state, nothing of it stays, the next one works."""

from __future__ import annotations

import signal
import time

import psutil

from panel.runs import claim
from panel.settings import settings
from panel.store import db
from panel.store.models import Run
from tests.faults.conftest import Installation, wait


def _sleeps() -> list[int]:
    return [one.pid for one in psutil.process_iter(["cmdline"]) if one.info["cmdline"] == ["sleep", "617"]]


def _sleeping(installation: Installation, resource: object = None, seconds: int = 617) -> int:
    number = installation.submit("slow", resource, values={"trial_seconds": seconds})
    installation.begun(number, "Sleep long")
    return number


def test_the_process_of_a_run_is_killed(installation: Installation):
    """Nothing is left of it, it is lost at once and in words, and the next run of the resource works."""
    resource = installation.resource()
    number = _sleeping(installation, resource)
    wait("the sleep", _sleeps)
    waiting = installation.submit("main", resource)
    began = time.monotonic()
    installation.horse(number).kill()
    run = installation.ended(number, 30)
    assert (run.state, run.error) == ("lost", "The worker that did this run stopped during 'Sleep long'.")
    assert "Run it again" in run.next_step
    assert time.monotonic() - began < 30
    installation.gone(number)
    assert not _sleeps()
    assert installation.ended(waiting).state == "succeeded"
    events = installation.events(number)
    assert [one.number for one in events] == list(range(1, len(events) + 1))


def test_the_worker_above_a_run_is_killed(installation: Installation):
    """The run goes on to its end: its own process renews its lease."""
    number = _sleeping(installation, seconds=8)
    installation.worker_processes()[0].kill()
    assert installation.ended(number).state == "succeeded"
    installation.gone(number)
    wait("a new worker", installation.worker_processes)
    assert installation.ended(installation.submit("main")).state == "succeeded"


def test_all_of_a_worker_machine_is_killed(installation: Installation):
    """Parent, worker and run at once, as when the power fails: lost within 30 s of the next worker's start."""
    number = _sleeping(installation)
    assert installation.worker
    parent = psutil.Process(installation.worker.pid)
    for process in (parent, *installation.worker_processes(), installation.horse(number)):
        process.kill()
    installation.worker.wait()
    assert installation.run(number).state == "running", "nobody is there to say otherwise"
    installation.start_worker()
    wait("the new worker", installation.worker_processes)
    began = time.monotonic()
    run = installation.ended(number)
    assert run.state == "lost" and time.monotonic() - began < 30
    installation.gone(number)
    assert not _sleeps()


def test_the_child_is_killed(installation: Installation):
    """Ansible's own parent dies: Ansible goes with it, the run fails in words."""
    number = _sleeping(installation)
    child = installation.horse(number).children()[0]
    child.kill()
    run = installation.ended(number)
    assert (run.state, run.error) == ("failed", "Ansible was ended from outside at the step 'Sleep long'.")
    installation.gone(number)
    assert not _sleeps()


def test_a_worker_that_slept_comes_back_and_says_so(installation: Installation):
    """Stopped for longer than its lease, the run is taken for lost; its true end replaces that."""
    number = _sleeping(installation, seconds=1)
    horse = installation.horse(number)
    _freeze(installation, number)
    run = wait("lost", lambda: (one := installation.run(number)).state == "lost" and one, 30)
    assert run.ended_at
    # What is frozen is not ended, so that this test can wake it; a machine that slept was not reachable either.
    horse.send_signal(signal.SIGCONT)
    run = wait("its true end", lambda: (one := installation.run(number)).state not in ("lost", "running") and one, 30)
    assert run.state in ("succeeded", "failed")
    installation.gone(number)


def test_a_worker_that_slept_while_another_run_began_stops_itself(installation: Installation):
    """Two at once on one resource must not be: the one that was taken for dead ends, and stays lost."""
    number = _sleeping(installation)
    run = installation.run(number)
    with db.session() as s:
        one = s.get_one(Run, number)
        assert claim.expire(s, number, one.lease_owner, "gone", "again")
        s.commit()
        resource = one.resource
    other = _sleeping_without_worker(installation, resource)
    installation.gone(number, settings().lease * 2 + 10)
    assert installation.run(number).state == "lost"
    assert installation.run(other).state == "running"
    assert run.lease_owner


def _sleeping_without_worker(installation: Installation, resource: object) -> int:
    """A run of the same resource that another machine has claimed."""
    from datetime import timedelta

    with db.session() as s:
        first = s.query(Run).filter_by(resource_id=resource.id).first()
        run = Run(lock=first.lock, kind="trial", resource_id=resource.id, resource_name=resource.name, action="main",
                  state="running", actor="ada", door="api", timeout=60, lease_owner="elsewhere:1",
                  lease_until=db.now(s) + timedelta(hours=1))
        s.add(run)
        s.commit()
        return run.id


def _freeze(installation: Installation, number: int) -> None:
    """The run's own process, and only in the database's eyes: its directory is left to it."""
    horse = installation.horse(number)
    horse.send_signal(signal.SIGSTOP)
    # Each thread of it stops when it next gets a processor.
    still = (psutil.STATUS_STOPPED, psutil.STATUS_SLEEPING)
    wait("it stands still", lambda: psutil.Process(horse.pid).status() in still)


def test_a_worker_that_is_told_to_end_finishes_its_run(installation: Installation):
    number = _sleeping(installation, seconds=4)
    assert installation.worker
    installation.worker.send_signal(signal.SIGTERM)
    assert installation.worker.wait(40) == 0
    assert installation.run(number).state == "succeeded"
    installation.gone(number)


def test_a_worker_that_is_told_twice_stops_its_run_in_words(installation: Installation):
    number = _sleeping(installation)
    assert installation.worker
    installation.worker.send_signal(signal.SIGTERM)
    time.sleep(1.5)
    installation.worker.send_signal(signal.SIGTERM)
    assert installation.worker.wait(40) == 0
    run = installation.run(number)
    assert (run.state, run.error) == ("failed", "WebOps' worker was stopped during 'Sleep long'.")
    installation.gone(number)
    assert not _sleeps()
