"""Drift: what a look at a server comes to, and when it is begun; without a worker and without Redis."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import update

from panel.runs import claim, drift, events, reaper, resources
from panel.runs.errors import NotApplied
from panel.runs.outcome import Outcome
from panel.runs.settle import Verdict, settle
from panel.runs.submit import cancel
from panel.settings import settings
from panel.store import db
from panel.store.models import Mode, Resource, Run, Server, State
from panel.store.planned import Drift, DriftState, Interval
from tests.unit.test_runs_resources import KEY


@pytest.fixture
def s(database):
    settings.cache_clear()
    with db.session() as session:
        for name in ("web1", "web2"):
            server = Server(name=name, address="192.0.2.1", host_key=KEY, public_key="", private_key=b"",
                            ready_at=db.now(session))
            for number in range(3):
                session.add(Resource(kind="ssl_cert", name=f"{name}-c{number}", server=server,
                                     values={"ssl_cert_domain": f"{name}-{number}.example.org"},
                                     applied_at=db.now(session)))
        session.commit()
        yield session


def _due(s):
    """All are due now."""
    drift.tick(s)
    s.execute(update(Drift).values(due=db.now(s) - timedelta(seconds=1)))
    s.commit()


def _end(s, run, state=State.SUCCEEDED, changed=(), plan=None):
    assert claim.claim(s, run.id, "here:1")
    rows = []
    for place, name in enumerate(("Look", *changed), 1):
        row = {"run_id": run.id, "at": run.created_at, "step": place, "name": name, "role": "x", "seconds": None,
               "data": {"plan": plan} if plan and name in changed else {}}
        found = "changed" if name in changed else "ok"
        rows += [{**row, "number": 2 * place - 1, "type": "task", "host": ""},
                 {**row, "number": 2 * place, "type": found, "host": run.servers[0].host}]
    events.insert(s, rows)
    s.commit()
    verdict = Verdict(state, "" if state is State.SUCCEEDED else "web1 cannot be reached.", "Is it on?")
    assert settle(run.id, "here:1", verdict, Outcome(), len(rows))
    s.expire_all()


def _one(s, name="web1-c0"):
    return s.query(Resource).filter_by(name=name).one()


def test_new_resources_are_spread_over_the_day_and_nothing_is_looked_at_at_once(s):
    assert drift.tick(s) == []
    rows = s.query(Drift).all()
    assert len(rows) == 6 and {row.interval for row in rows} == {Interval.DAILY}
    assert all(timedelta(0) < row.due - db.now(s) < timedelta(days=1, minutes=1) for row in rows)


def test_at_most_one_look_per_server_at_a_time(s):
    _due(s)
    begun = drift.tick(s)
    assert {s.get(Run, number).servers[0].server_name for number in begun} == {"web1", "web2"} and len(begun) == 2
    assert drift.tick(s) == [], "both servers are being looked at"
    first = s.get(Run, begun[0])
    assert (first.mode, first.purpose, first.action, first.actor) == (Mode.CHECK, "drift", "main", "webops")
    assert first.conditions == {"webops_planned": {"commit": "live"}}
    _end(s, first)
    assert len(drift.tick(s)) == 1


def test_several_workers_never_double_a_look(s):
    _due(s)
    start = threading.Barrier(4)

    def work(_):
        start.wait()
        with db.session() as own:
            return drift.tick(own)

    with ThreadPoolExecutor(4) as pool:
        begun = [number for several in pool.map(work, range(4)) for number in several]
    with db.session() as later:
        looks = later.query(Run).filter_by(purpose="drift").all()
        assert sorted(begun) == [run.id for run in looks]
        assert len({run.servers[0].server_id for run in looks}) == len(looks) <= 2
        assert len({run.resource_id for run in looks}) == len(looks)


def test_two_looks_at_one_server_are_refused_by_the_database_itself(s):
    one, other = _one(s), _one(s, "web1-c1")
    drift.check(s, one, "webops", "clock", drift_server=one.server.id)
    assert drift._start(s, other.id, other.server.id) is None
    assert s.query(Run).filter_by(purpose="drift").count() == 1
    assert drift.of(s, other).due > db.now(s), "it comes again"


@pytest.mark.parametrize("changed,found,words", [
    ((), DriftState.IN_SYNC, "1 steps were looked at; nothing would change."),
    (("Write the vhost", "Write the unit"), DriftState.DRIFTED,
     "2 of 3 steps would change something: Write the vhost; Write the unit.")])
def test_what_a_look_comes_to(s, changed, found, words):
    run = drift.check(s, _one(s), "ada", "api")
    _end(s, run, changed=changed)
    row = _one(s).drift
    assert (row.state, row.text, row.run_id) == (found, words, run.id)
    assert [one["name"] for one in row.changes] == list(changed)


@pytest.mark.parametrize("before", [(), ("Write the vhost",)])
def test_a_server_that_cannot_be_reached_is_a_failed_check_whatever_was_seen_before(s, before):
    _end(s, drift.check(s, _one(s), "ada", "api"), State.FAILED, changed=before)
    row = _one(s).drift
    assert (row.state, row.changes) == (DriftState.CHECK_FAILED, [])
    assert row.text == "web1 cannot be reached. Is it on?"


def test_a_look_gives_way_to_what_people_ask_for_and_comes_again_soon(s):
    run = drift.check(s, _one(s), "webops", "clock", drift_server=_one(s).server.id)
    asked = resources.act(s, resource=_one(s), action="renew", given={}, actor="ada", door="api")
    s.expire_all()
    assert s.get(Run, run.id).state is State.CANCELED and asked.state is State.QUEUED
    row = drift.of(s, _one(s))
    assert row.state is DriftState.UNKNOWN and row.due - db.now(s) < timedelta(minutes=2)
    assert drift.tick(s) == [], "the server is busy"


def test_a_look_that_a_person_asked_for_is_waited_for(s):
    begun = drift.check(s, _one(s), "webops", "clock", drift_server=_one(s).server.id)
    assert drift.check(s, _one(s), "webops", "clock").id == begun.id and begun.gives_way
    mine = drift.check(s, _one(s), "ada", "cli")
    assert (mine.id, mine.actor, mine.door) == (begun.id, "ada", "cli"), "what the clock began is hers now"
    assert drift.check(s, _one(s), "grace", "api").actor == "ada"
    asked = resources.act(s, resource=_one(s), action="renew", given={}, actor="ada", door="api")
    s.expire_all()
    assert mine.state is State.QUEUED and asked.waits_for.startswith(f"Run {mine.id} ")
    _end(s, mine)
    assert drift.of(s, _one(s)).state is DriftState.IN_SYNC
    assert claim.claim(s, asked.id, "here:1"), "and then comes what waited"


def test_a_look_that_was_just_canceled_is_begun_anew_for_a_person(s):
    first = drift.check(s, _one(s), "webops", "clock", drift_server=_one(s).server.id)
    with db.session() as other:
        cancel(other, other.get(Run, first.id), "webops")
    assert not drift._taken_over(s, first, "ada", "cli")
    assert drift.check(s, _one(s), "ada", "cli").id != first.id


@pytest.mark.parametrize("found", [State.SUCCEEDED, State.FAILED])
def test_what_is_off_is_not_looked_at_after_a_change_either(s, found):
    _end(s, drift.check(s, _one(s), "ada", "api"), found, changed=["Write the vhost"])
    drift.set_interval(s, _one(s), Interval.OFF)
    _end(s, drift.reconcile(s, _one(s), "ada", "browser"))
    row = drift.of(s, _one(s))
    assert row.due is None and "looked at in a moment" not in row.text
    assert found is not State.SUCCEEDED or "nobody has looked since" in row.text
    drift.check(s, _one(s), "webops", "clock", drift_server=_one(s).server.id)
    resources.act(s, resource=_one(s), action="renew", given={}, actor="ada", door="api")
    s.expire_all()
    assert drift.of(s, _one(s)).due is None, "a look that was on when it was switched off does not come again"
    row.due = db.now(s) - timedelta(seconds=1)
    s.commit()
    assert _one(s).id not in [s.get(Run, one).resource_id for one in drift.tick(s)]


def test_after_a_reconciliation_it_is_looked_at_again(s):
    _end(s, drift.check(s, _one(s), "ada", "api"), changed=["Write the vhost"])
    run = drift.reconcile(s, _one(s), "ada", "browser")
    assert (run.mode, run.conditions) == (Mode.APPLY, drift.LIVE)
    _end(s, run, changed=["Write the vhost"])
    assert _one(s).drift.state is DriftState.UNKNOWN
    [again] = drift.tick(s)
    _end(s, s.get(Run, again))
    assert _one(s).drift.state is DriftState.IN_SYNC


def test_what_was_never_applied_or_not_to_its_end_is_no_drift(s):
    resource = _one(s)
    run = resources.act(s, resource=resource, action="main", given={}, actor="ada", door="api")
    _end(s, run, State.FAILED, changed=["Write the vhost"])
    run.servers[0].changed = 1
    s.commit()
    with pytest.raises(NotApplied, match="did not succeed"):
        drift.check(s, _one(s), "ada", "api")
    _one(s).applied_at = None
    s.commit()
    with pytest.raises(NotApplied, match="never applied"):
        drift.check(s, _one(s), "ada", "api")


def test_an_apply_that_was_refused_before_it_changed_anything_is_in_nobodys_way(s):
    resource = _one(s)
    for end in (State.SUCCEEDED, State.FAILED):
        _end(s, resources.act(s, resource=resource, action="main", given={}, actor="ada", door="api"), end)
    assert drift.check(s, _one(s), "ada", "api")


def test_what_was_asked_for_and_canceled_is_no_drift(s):
    resource = _one(s)
    _end(s, resources.act(s, resource=resource, action="main", given={}, actor="ada", door="api"))
    run = resources.act(s, resource=resource, action="main", given={"domain": "other.example.org"}, actor="ada",
                        door="api")
    cancel(s, run, "ada")
    assert "stay those of web1-c0, and come with its next run" in run.next_step
    with pytest.raises(NotApplied, match=rf"run {run.id}\) did not succeed"):
        drift.check(s, _one(s), "ada", "api")
    _end(s, resources.act(s, resource=resource, action="main", given={}, actor="ada", door="api"))
    cancel(s, resources.act(s, resource=resource, action="main", given={}, actor="ada", door="api"), "ada")
    assert drift.check(s, _one(s), "ada", "api"), "what was canceled wanted nothing else"


def test_a_look_whose_worker_died_has_failed(s):
    run = drift.check(s, _one(s), "ada", "api")
    assert claim.claim(s, run.id, "gone:1")
    s.expire_all()
    assert reaper.take_for_lost(s, run)
    s.expire_all()
    row = drift.of(s, _one(s))
    assert row.state is DriftState.CHECK_FAILED and "worker that did this run stopped" in row.text


def test_other_roles_are_told_from_other_hands(s):
    resource = _one(s)
    applied = resources.act(s, resource=resource, action="main", given={}, actor="ada", door="api")
    applied.roles_version = "4f1c9aa"
    _end(s, applied)
    for version, words in (("4f1c9aa", ""), ("5e2d8bb", f"another version when it was applied (run {applied.id})")):
        run = drift.check(s, _one(s), "ada", "api")
        run.roles_version = version
        _end(s, run, changed=["Write the vhost"])
        text = drift.of(s, _one(s)).text
        assert words in text and ("another version" in text) is bool(words)


def test_off_means_off_and_old_looks_are_not_kept(s):
    drift.set_interval(s, _one(s), Interval.OFF)
    assert drift.of(s, _one(s)).due is None
    drift.set_interval(s, _one(s), Interval.HOURLY)
    assert drift.of(s, _one(s)).due - db.now(s) <= timedelta(minutes=10)
    for _ in range(13):
        _end(s, drift.check(s, _one(s), "ada", "api"))
    assert s.query(Run).filter_by(purpose="drift").count() == drift._KEPT_CHECKS


def test_after_going_back_a_look_says_that_nobody_changed_it_by_hand(s):
    row = _one(s)
    row.places[0].observed_data = {"releases": [
        {"id": "20261122-100000-81aa0de", "commit": "81aa0de", "served": True,
         "newest": {"commits": 1, "environment": {"added": ["MOTTO"]}}},
        {"id": "20261120-100000-4f1c9aa", "commit": "4f1c9aa", "served": True, "live": True,
         "back": {"at": "2026-11-22T11:00:00Z", "run": None, "actor": "grace"}}]}
    s.commit()
    run = drift.check(s, row, "ada", "api")
    _end(s, run, changed=("Keep the variables",), plan={"environment": {"added": ["MOTTO"], "removed": []}})
    text = _one(s).drift.text
    assert text.startswith("Rolled back to 20261120-100000-4f1c9aa by grace; the branch is ahead by 1 commit; ")
    assert "That MOTTO is as in that release comes from going back, and not from a change by hand" in text
    assert text.endswith("1 of 2 steps would change something: Keep the variables.")
