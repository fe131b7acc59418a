"""A resource on a group of servers: its rows, its runs batch by batch, how each server ends, the same again."""

from __future__ import annotations

import pytest

from panel.catalog import Refused
from panel.link import ledger
from panel.link.ssh import Target
from panel.runs import claim, drift, groups, plans, reaper, resources, retry, servers, spec
from panel.runs.errors import GroupInUse, NameTaken, NothingToRetry, NotReady, ServerInUse, Unknown
from panel.runs.outcome import Outcome
from panel.runs.settle import Verdict, settle
from panel.runs.submit import Extra
from panel.store import db
from panel.store.models import Event, Mode, Observed, PartState, Resource, Run, Server, State
from panel.store.places import Group, Place
from tests.unit.test_runs_resources import KEY

APP = {"repo": "https://192.0.2.200/shop.git", "domain": "shop.example.org"}
NAMES = ["web2", "web1", "web3"]


@pytest.fixture
def s(database, monkeypatch):
    from panel.settings import settings

    monkeypatch.setenv("WEBOPS_GIT_NETWORKS", "192.0.2.0/24")
    settings.cache_clear()
    with db.session() as session:
        for number in range(1, 5):
            session.add(Server(name=f"web{number}", address=f"192.0.2.{number}", host_key=KEY, private_key=b"",
                               public_key="ssh-ed25519 AAAA webops", ready_at=db.now(session)))
        session.commit()
        groups.add(session, "web", NAMES)
        yield session


def _ask(s, **more):
    return resources.ask(s, kind="django_app", name="shop", where="web", given=APP, actor="ada", door="api", **more)


def _act(s, action="deploy", **more):
    return resources.act(s, resource=_shop(s), action=action, given={}, actor="ada", door="api", **more)


def _shop(s, name="shop"):
    return s.query(Resource).filter_by(name=name).one()


def _end(s, run, story, state=None):
    """The run as Ansible told it: batches of {server: "ok" or how it ended there}."""
    claim.claim(s, run.id, "here:1")
    outcome, number = Outcome(), 0
    rows = []
    for batch in story:
        rows.append({"type": "play", "host": "", "name": "Django apps", "data": {}})
        rows.append({"type": "task", "host": "", "name": "Fetch the code", "data": {}})
        for server, result in batch.items():
            data = {"msg": "It broke.", "next": "Mend it."} if result != "ok" else {
                "plan": {"commit": {"id": "4f1c9aa" + "0" * 33}}}
            rows.append({"type": result, "host": f"{run.resource_name}@{server}", "name": "Fetch the code",
                         "data": data})
    bad = any(result in ("failed", "unreachable") for batch in story for result in batch.values())
    for row in rows:
        number += 1
        outcome.add({**row, "step": 1})
        s.add(Event(run_id=run.id, number=number, at=db.now(s), step=1, role="", **row))
    s.commit()
    state = state or (State.FAILED if bad else State.SUCCEEDED)
    assert settle(run.id, "here:1", Verdict(state, outcome.error, outcome.next_step), outcome, number)
    s.expire_all()
    return s.get_one(Run, run.id)


def _states(run):
    return {one.server_name: one.state for one in run.servers}


def _done(s, **more):
    return _end(s, _ask(s, **more), [{name: "ok"} for name in NAMES])


def test_one_wish_is_one_run_on_every_server_in_their_order(s):
    run = _ask(s)
    assert [one.host for one in run.servers] == [f"shop@{name}" for name in NAMES]
    assert (run.batch, run.lock) == ("1", f"resource:{_shop(s).id}")
    for name in ("shop", "shop-vhost", "shop-cert", "shop-db"):
        row = _shop(s, name)
        assert (row.group.name, row.server, [one.name for one in row.servers]) == ("web", None, NAMES)
    with pytest.raises(NameTaken, match="'shop' is on web already"):
        resources.ask(s, kind="django_app", name="shop", where="web1", given=APP, actor="ada", door="api")


def test_the_batch_of_the_group_or_of_the_run_reaches_ansible(s, tmp_path, monkeypatch):
    monkeypatch.setattr(spec, "key_of", lambda server: "")
    groups.change(s, s.query(Group).one(), batch="25%")
    made = spec.build(_ask(s), tmp_path).told
    assert made["variables"]["webops_batch"] == "25%"
    assert list(made["inventory"]["all"]["children"]["django_app"]["hosts"]) == [f"shop@{name}" for name in NAMES]
    assert spec.build(_act(s, extra=Extra(batch="2")), tmp_path).told["variables"]["webops_batch"] == "2"
    # A check touches nothing, so nobody has to wait for the one before.
    assert spec.build(_act(s, mode=Mode.CHECK), tmp_path).told["variables"]["webops_batch"] == "100%"


@pytest.mark.parametrize("batch", ["0", "-1", "x", "101%", "0%", "1000", "1.5", "{{ 1 }}"])
def test_a_batch_that_is_none_is_refused_in_words(s, batch):
    with pytest.raises(Refused, match="How many servers at a time"):
        groups.checked_batch(batch)


def test_a_failure_stops_there_and_each_server_says_how_it_ended(s):
    _done(s)
    run = _end(s, _act(s), [{"web2": "ok"}, {"web1": "failed"}])
    assert _states(run) == {"web2": PartState.SUCCEEDED, "web1": PartState.FAILED, "web3": PartState.NOT_BEGUN}
    assert run.next_step == "Done on web2. Failed on web1. Not begun on web3. Mend it."
    run = _end(s, _act(s), [{"web2": "unreachable"}])
    assert _states(run) == {"web2": PartState.UNREACHABLE, "web1": PartState.NOT_BEGUN, "web3": PartState.NOT_BEGUN}
    run = _end(s, _act(s), [{"web2": "ok", "web1": "failed"}])
    assert _states(run)["web2"] is PartState.STOPPED, "it was well, and was ended because another one failed"
    run = _end(s, _act(s), [{"web2": "ok"}, {"web1": "ok"}], State.CANCELED)
    assert list(_states(run).values()) == [PartState.SUCCEEDED, PartState.CANCELED, PartState.NOT_BEGUN]
    run = _end(s, _act(s), [{"web2": "ok"}, {"web1": "begin"}], State.CANCELED)
    assert _states(run)["web1"] is PartState.CANCELED
    run = _end(s, _act(s), [], State.FAILED)
    assert set(_states(run).values()) == {PartState.NOT_BEGUN}, "Ansible never began"


def _seen(s, name, *releases):
    """What the link read on a server now: (run, commit) of each release, the newest and live one first."""
    place = _shop(s).place_on(s.query(Server).filter_by(name=name).one())
    place.observed_at = db.now(s)
    place.observed_data = {"releases": [
        {"id": f"20261122-1000{len(releases) - at:02}-{commit}", "commit": commit + "0" * 33, "served": True,
         "live": at == 0, "run": run} for at, (run, commit) in enumerate(releases)]}
    s.commit()


def test_a_group_goes_back_by_the_run_where_the_commit_says_too_little_or_not_at_all(s):
    _done(s)
    for name in NAMES:
        _seen(s, name, (12, "4f1c9aa"), (9, "4f1c9aa"), (5, "77b1e04"))

    def back(release):
        return resources.act(s, resource=_shop(s), action="rollback", given={"release": release}, actor="ada",
                             door="api", mode=Mode.CHECK)

    assert back("run-9").values["django_app_release"] == "run-9"
    assert back("77b1e04").values["django_app_release"] == "77b1e04"
    with pytest.raises(Refused, match="web2 keeps several releases that '4f1c9aa' means, the live one among them, so"):
        back("4f1c9aa")
    _seen(s, "web3", (12, "4f1c9aa"), (10, "4f1c9aa"))
    before = s.query(Run).count()
    for missing in ("run-9", "77b1e04"):
        with pytest.raises(Refused, match=f"web3 keeps no release '{missing}', so nothing was changed on any.*run-10"):
            back(missing)
    assert s.query(Run).count() == before
    on = [_shop(s).servers[0]]
    assert resources.act(s, resource=_shop(s), action="rollback", given={"release": "run-9"}, actor="ada", door="api",
                         mode=Mode.CHECK, on=on).servers[0].server_name == "web2"
    _act(s)
    assert back("run-9"), "what the deploy before it makes, nobody has seen yet"


def test_a_failure_that_a_role_mended_itself_is_none(s):
    _done(s)
    run = _act(s)
    outcome = Outcome()
    for kind, host in (("play", ""), ("failed", "shop@web2"), ("ok", "shop@web2")):
        outcome.add({"type": kind, "host": host, "name": "x", "data": {}, "step": 1})
    outcome.add({"type": "stats", "host": "", "name": "", "step": 0, "data": {"hosts": {"shop@web2": {
        "ok": 2, "changed": 0, "failed": 0, "skipped": 0, "unreachable": 0, "ignored": 0, "rescued": 1}}}})
    assert outcome.progress.at_end("shop@web2", State.CANCELED) is not PartState.FAILED
    assert run.state is State.QUEUED


def test_what_was_done_on_a_server_stands_although_another_one_failed(s):
    run = _end(s, _ask(s), [{"web2": "ok"}, {"web1": "failed"}])
    shop = _shop(s)
    assert [(one.server.name, bool(one.applied_at)) for one in shop.places] == [
        ("web2", True), ("web1", False), ("web3", False)]
    assert shop.applied_at is None, "the whole was not applied"
    _end(s, retry.retry(s, run, "ada", "api"), [{"web1": "ok"}, {"web3": "ok"}])
    assert _shop(s).applied_at and all(one.applied_at for one in _shop(s).places)
    _end(s, _act(s, "remove"), [{"web2": "ok"}, {"web1": "failed"}])
    assert [one.server.name for one in _shop(s).places] == ["web1", "web3"]
    assert [one.server.name for one in _shop(s, "shop-db").places] == ["web1", "web3"]
    _end(s, _act(s, "remove"), [{"web1": "ok"}, {"web3": "ok"}])
    assert s.query(Resource).count() == 0 and s.query(Place).count() == 0


def test_only_where_it_did_not_succeed_it_is_done_again_with_the_same_commit(s):
    _done(s)
    run = _end(s, _act(s, extra=Extra(conditions={"webops_planned": {"commit": "x"}, "webops_confirmed": ["*"]})),
               [{"web2": "ok"}, {"web1": "failed"}])
    assert [one.name for one in retry.left(run)] == ["web1", "web3"] and retry.is_offered(run)
    again = retry.retry(s, run, "grace", "browser")
    assert [one.server_name for one in again.servers] == ["web1", "web3"]
    assert again.conditions == {"webops_confirmed": ["*"], "webops_commit": "4f1c9aa" + "0" * 33}
    again = _end(s, again, [{"web1": "failed"}])
    third = retry.retry(s, again, "grace", "browser")
    assert third.conditions["webops_commit"] == "4f1c9aa" + "0" * 33, "also after a second failure"
    third = _end(s, third, [{"web1": "ok"}, {"web3": "ok"}])
    with pytest.raises(NothingToRetry, match="succeeded on every server"):
        retry.retry(s, third, "grace", "browser")
    with pytest.raises(NothingToRetry, match="has not ended"):
        retry.retry(s, _act(s), "grace", "browser")


def test_where_nobody_has_it_yet_the_branch_decides_again(s):
    _done(s)
    run = _end(s, _act(s), [{"web2": "failed"}])
    assert "webops_commit" not in retry.retry(s, run, "ada", "api").conditions


def test_one_of_its_servers_alone(s):
    _done(s)
    shop = _shop(s)
    assert [one.name for one in groups.servers_named(shop, ["web3", "web2"])] == ["web2", "web3"]
    run = _act(s, "restart", on=groups.servers_named(shop, ["web3"]))
    assert [one.server_name for one in run.servers] == ["web3"]
    assert groups.one_server(shop).name == "web2" and groups.one_server(shop, "web1").name == "web1"
    third = shop.servers[2].id
    assert ledger.place_of(shop.id) == ("shop", shop.servers[0].id), "whose journal is read where none is named"
    assert ledger.place_of(shop.id, third) == ("shop", third) and ledger.place_of(shop.id, 999) is None
    with pytest.raises(Unknown, match=r"shop is not on 'web4'\. It is on web2, web1 and web3"):
        groups.servers_named(shop, ["web4"])


def test_a_server_that_comes_in_waits_for_the_next_apply(s):
    _done(s)
    group = s.query(Group).one()
    groups.change(s, group, put_in=["web4"])
    shop = _shop(s)
    assert [one.name for one in shop.servers] == [*NAMES, "web4"]
    assert shop.place_on(shop.servers[-1]).applied_at is None
    assert [one.server_name for one in _ask(s).servers] == [*NAMES, "web4"]


def test_a_server_leaves_only_when_nothing_of_the_group_is_on_it(s):
    _done(s)
    group = s.query(Group).one()
    with pytest.raises(GroupInUse, match="webops remove shop --on web1"):
        groups.change(s, group, take_out=["web1"])
    with pytest.raises(ServerInUse, match="web1 still has shop"):
        servers.forget(s, s.query(Server).filter_by(name="web1").one(), "ada")
    with pytest.raises(GroupInUse, match="shop lives on web"):
        groups.remove(s, group)
    _end(s, _act(s, "remove", on=groups.servers_named(_shop(s), ["web1"])), [{"web1": "ok"}])
    with pytest.raises(ServerInUse, match=r"web1 is in web\. Take it out of there first"):
        servers.forget(s, s.query(Server).filter_by(name="web1").one(), "ada")
    groups.change(s, s.query(Group).one(), take_out=["web1"])
    assert [one.name for one in _shop(s).servers] == ["web2", "web3"]
    servers.forget(s, s.query(Server).filter_by(name="web1").one(), "ada")


@pytest.mark.parametrize("name", ["web1", "server", "all", "ssl-cert", "Web", "a"])
def test_a_group_needs_a_name_of_its_own(s, name):
    if name == "ssl-cert":
        assert groups.add(s, name, []).name == name  # kinds have underscores
        return
    with pytest.raises((NameTaken, Refused)):
        groups.add(s, name, [])
    with pytest.raises(NameTaken, match="group named 'web'"):
        servers.add(s, "web", "192.0.2.9", 22, "ada")


def test_nothing_lives_on_an_empty_group_or_beside_a_server_that_is_not_ready(s):
    groups.add(s, "empty", [])
    with pytest.raises(NotReady, match="The group empty has no server"):
        resources.ask(s, kind="redis_db", name="c", where="empty", given={}, actor="ada", door="api")
    s.query(Server).filter_by(name="web3").one().ready_at = None
    s.commit()
    with pytest.raises(NotReady, match="web3 is not ready yet"):
        _ask(s)
    assert s.query(Resource).count() == 0


def test_each_server_says_what_is_seen_there_and_the_worst_is_the_whole(s):
    _done(s)

    def look(name, answers):
        one = s.query(Server).filter_by(name=name).one()
        target = Target(one.id, name, one.address, 22, one.host_key, "", b"")
        record = {"kind": "django_app", "name": "shop", "probes": [{"type": "path", "path": "/x"}]}
        ledger.saw(target, {"records": {"shop": record}, "answers": {"shop": answers}})
        s.expire_all()

    for name in NAMES:
        look(name, [{"type": "path", "path": "/x", "exists": True}])
    states = {one.server.name: one.observed for one in _shop(s).places}
    assert len(states) == 3 and len(set(states.values())) == 1
    look("web1", [])
    s.query(Place).filter_by(resource_id=_shop(s).id, server_id=_shop(s).servers[2].id).update(
        {"observed": Observed.FAILED, "observed_text": "Failed: answered 502."})
    s.commit()
    s.expire_all()
    shop = _shop(s)
    assert shop.observed is Observed.FAILED and shop.observed_text == "Failed: on web3, answered 502."


def test_a_plan_rests_on_every_server_and_on_who_is_in_the_group(s):
    plan = plans.make(s, kind="django_app", name="shop", where="web", given=APP, actor="ada", door="api")
    assert (plan.server, plan.group.name, plan.server_name) == (None, "web", "web")
    assert sorted(plan.fingerprint["servers"]) == ["web1", "web2", "web3"]
    _end(s, s.get_one(Run, plan.run_id), [{name: "ok" for name in NAMES}])
    groups.change(s, s.query(Group).one(), put_in=["web4"])
    s.query(Server).filter_by(name="web1").one().address = "192.0.2.99"
    s.commit()
    with pytest.raises(plans.PlanMoved) as refused:
        plans.apply(s, plans.refresh(s, plan), "ada", "api")
    assert "web1 has another address" in refused.value.message
    assert "web4 came into web or left it" in refused.value.message


def test_a_look_at_drift_waits_for_each_of_its_servers(s):
    _done(s)
    busy = resources.ask(s, kind="redis_db", name="cache", where="web3", given={}, actor="ada", door="api")
    row = drift.of(s, _shop(s))
    row.due = db.now(s)
    s.commit()
    assert drift.tick(s) == []
    _end(s, busy, [{"web3": "ok"}])
    drift.of(s, _shop(s)).due = db.now(s)
    s.commit()
    run = s.get_one(Run, drift.tick(s)[0])
    assert [one.server_name for one in run.servers] == NAMES


def test_a_worker_that_dies_leaves_servers_not_known_and_not_begun(s):
    _done(s)
    run = _act(s)
    claim.claim(s, run.id, "gone:1")
    run.servers[0].state, run.servers[1].state = PartState.SUCCEEDED, PartState.RUNNING
    s.commit()
    s.expire_all()
    assert reaper.take_for_lost(s, s.get_one(Run, run.id))
    s.expire_all()
    assert list(_states(s.get_one(Run, run.id)).values()) == [
        PartState.SUCCEEDED, PartState.LOST, PartState.NOT_BEGUN]


def test_a_server_that_came_into_the_group_has_not_drifted(s):
    _done(s)
    groups.change(s, s.query(Group).one(), put_in=["web4"])
    run = drift.check(s, _shop(s), "ada", "api")
    assert [one.server_name for one in run.servers] == NAMES
