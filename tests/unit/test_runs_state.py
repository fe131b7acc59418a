"""Claiming, waiting, losing and settling runs: the rows, without a worker and without Redis."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from panel.runs import claim, reaper
from panel.runs.errors import AlreadyOver, NoHostKey, NotReady, TimeoutNotPossible, Unknown
from panel.runs.outcome import Outcome
from panel.runs.retention import prune
from panel.runs.settle import Verdict, settle
from panel.runs.submit import cancel, submit
from panel.store import db, seal
from panel.store.models import Event, Resource, Run, Server, State

ADDONS = Path(__file__).parent.parent / "faults" / "addons"


@pytest.fixture
def thing(database, monkeypatch):
    """A resource on a ready server; nobody listens to the bell."""
    from panel.settings import settings

    monkeypatch.setenv("WEBOPS_ADDONS", str(ADDONS))
    settings.cache_clear()
    with db.session() as s:
        server = Server(name="web1", address="192.0.2.1", host_key="ssh-ed25519 AAAA", public_key="",
                        private_key=b"", ready_at=db.now(s))
        row = Resource(kind="trial", name="thing", server=server)
        s.add(row)
        s.commit()
        return row


def _submit(thing, action="main", **more):
    with db.session() as s:
        return submit(s, kind="trial", action=action, actor="ada", door="api",
                      resource=s.get(Resource, thing.id), **more).id


def _claim(number, owner="here:1"):
    with db.session() as s:
        return claim.claim(s, number, owner)


def _run(number):
    with db.session() as s:
        return s.get_one(Run, number)


def test_a_run_is_accepted_although_nobody_hears_the_bell(thing):
    run = _run(_submit(thing, values={"trial_text": "x"}))
    assert (run.state, run.values, run.lock) == (State.QUEUED, {"trial_text": "x"}, f"resource:{thing.id}")


def test_of_many_workers_one_gets_the_run(thing):
    number = _submit(thing)
    with ThreadPoolExecutor(8) as pool:
        won = [run for run in pool.map(lambda n: _claim(number, f"here:{n}"), range(8)) if run]
    assert len(won) == 1 and _run(number).lease_owner == won[0].lease_owner


def test_of_many_runs_of_one_resource_one_is_claimed(thing):
    numbers = [_submit(thing) for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        won = [run for run in pool.map(_claim, numbers) if run]
    assert [run.id for run in won] == [numbers[0]], "first come, first served"
    assert _run(numbers[3]).waits_for.startswith(f"Run {numbers[2]} (main of thing)")


@pytest.mark.parametrize("change,error", [
    ({"host_key": ""}, NoHostKey), ({"ready_at": None}, NotReady)])
def test_a_server_that_is_not_ready_gets_no_run(thing, change, error):
    with db.session() as s:
        server = s.get_one(Server, thing.places[0].server.id)
        for key, value in change.items():
            setattr(server, key, value)
        s.commit()
    with pytest.raises(error):
        _submit(thing)
    with db.session() as s:
        assert s.query(Run).count() == 0


def test_unknown_actions_and_odd_timeouts_are_refused(thing):
    with pytest.raises(Unknown, match="slow"):
        _submit(thing, "dance")
    for seconds in (0, 9, 10**9, -1):
        with pytest.raises(TimeoutNotPossible):
            _submit(thing, timeout=seconds)


def test_cancel_before_it_begins(thing):
    number = _submit(thing)
    with db.session() as s:
        cancel(s, s.get_one(Run, number), "eve")
    run = _run(number)
    assert (run.state, run.error) == (State.CANCELED, "Canceled by eve before it began.")
    assert _claim(number) is None


def test_what_is_over_cannot_be_canceled(thing):
    number = _finished(thing)
    with db.session() as s, pytest.raises(AlreadyOver):
        cancel(s, s.get_one(Run, number), "eve")


def settle_(number, owner="here:1", **verdict):
    return settle(number, owner, Verdict(verdict.pop("state", State.SUCCEEDED), **verdict), Outcome(), 0)


def _finished(thing):
    number = _submit(thing)
    _claim(number)
    assert settle_(number)
    return number


def test_a_run_ends_once(thing):
    number = _finished(thing)
    assert not settle_(number, state=State.FAILED)
    assert _run(number).state is State.SUCCEEDED


def _expire(number):
    with db.session() as s:
        s.get_one(Run, number).lease_until = db.now(s) - timedelta(seconds=1)
        s.commit()


def _look():
    """As one who has reached the database all the time."""
    look = reaper.Reaper()
    look._reached = time.monotonic()
    look.look()


def test_a_dead_run_is_lost_in_words_and_the_next_one_may_begin(thing):
    number, following = _submit(thing), _submit(thing)
    _claim(number)
    _expire(number)
    _look()
    run = _run(number)
    assert run.state is State.LOST and "worker" in run.error and "Run it again" in run.next_step
    assert _claim(following)


def test_a_reaper_that_could_not_see_the_database_counts_no_time(thing):
    number = _submit(thing)
    _claim(number)
    _expire(number)
    reaper.Reaper().look()
    assert _run(number).state is State.RUNNING, "its worker gets a lease's time to come back"


def test_a_late_end_replaces_lost_and_says_so(thing):
    number = _submit(thing)
    _claim(number)
    _expire(number)
    _look()
    assert settle_(number)
    run = _run(number)
    assert (run.state, run.error, run.last_event) == (State.SUCCEEDED, "", 1)
    with db.session() as s:
        assert "taken for lost" in s.query(Event).filter_by(run_id=number).one().data["msg"]


def test_a_lease_can_be_had_back_only_while_nothing_else_has_begun(thing):
    number, following = _submit(thing), _submit(thing)
    _claim(number)
    _expire(number)
    _look()
    with db.session() as s:
        assert claim.renew(s, number, "here:1")
    assert _run(number).state is State.RUNNING
    _expire(number)
    _look()
    assert _claim(following, "there:2")
    with db.session() as s:
        assert not claim.renew(s, number, "here:1")
    assert _run(number).state is State.LOST


def test_old_runs_go_with_their_events_and_the_newest_of_a_resource_stays(thing):
    first, second = _finished(thing), _finished(thing)
    with db.session() as s:
        for number in (first, second):
            s.add(Event(run_id=number, number=1, type="note", at=db.now(s)))
            s.get_one(Run, number).ended_at = db.now(s) - timedelta(days=91)
        s.commit()
        assert prune(s) == 1
        assert [one.id for one in s.query(Run)] == [second]
        assert [one.run_id for one in s.query(Event)] == [second]


def test_the_secrets_of_a_run_are_sealed_and_wiped_at_its_end(thing):
    number = _submit(thing, secrets={"trial_password": "hunter22"})
    blob = _run(number).secrets
    assert blob and b"hunter22" not in blob
    assert seal.unseal(f"run:{number}:secrets", blob) == {"trial_password": "hunter22"}
    _claim(number)
    settle_(number)
    assert _run(number).secrets is None
