"""Redis is a doorbell and may be lost; the database may be away for a while: no run, no event is lost or doubled."""

from __future__ import annotations

import sqlite3
import time

from tests.faults.conftest import Installation, wait


def _whole(installation: Installation, number: int) -> int:
    """The events are 1..n; returns n."""
    numbers = [one.number for one in installation.events(number)]
    assert numbers == list(range(1, installation.run(number).last_event + 1))
    return len(numbers)


def test_redis_dies_and_comes_back_empty(installation: Installation):
    """A run that is going does not notice; one that was queued, and one that was asked for meanwhile, still come."""
    going = installation.submit("slow", values={"trial_seconds": 6})
    installation.begun(going, "Sleep long")
    queued = installation.submit("main")
    installation.kill_redis()
    meanwhile = installation.submit("main")
    assert installation.run(meanwhile).state == "queued", "accepted without Redis"
    assert installation.ended(going).state == "succeeded"
    installation.start_redis(keep=False)
    for number in (queued, meanwhile):
        assert installation.ended(number).state == "succeeded"
    for number in (going, queued, meanwhile):
        _whole(installation, number)


def test_redis_dies_and_comes_back_with_its_data(installation: Installation):
    going = installation.submit("slow", values={"trial_seconds": 4})
    installation.begun(going, "Sleep long")
    queued = installation.submit("main")
    installation.kill_redis()
    installation.start_redis(keep=True)
    assert installation.ended(going).state == "succeeded"
    assert installation.ended(queued).state == "succeeded"
    assert _whole(installation, queued) == _whole(installation, queued)


def test_the_database_is_locked_for_longer_than_a_lease(installation: Installation):
    """Nobody could renew anything: the run is not lost, and every event comes once, in order."""
    number = installation.submit("many", values={"trial_count": 300})
    wait("its first events", lambda: installation.run(number).last_event > 5)
    blocker = sqlite3.connect(installation.state / "webops.db", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    time.sleep(8)
    before = installation.run(number).last_event
    blocker.execute("ROLLBACK")
    blocker.close()
    run = installation.ended(number)
    assert (run.state, run.error) == ("succeeded", "")
    assert _whole(installation, number) >= 300 > before
    items = [one.data["item"] for one in installation.events(number) if "item" in one.data]
    assert items == [str(n) for n in range(300)]
