"""A plan is applied as it was seen, or refused in words: without a worker and without Redis."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from panel.runs import claim, events, fingerprint, job, plans, resources, spec
from panel.runs.errors import MigrationsUnconfirmed, PlanMoved, PlanNotReady
from panel.runs.outcome import Outcome
from panel.runs.retention import prune
from panel.runs.settle import Verdict, settle
from panel.runs.submit import cancel
from panel.settings import settings
from panel.store import db
from panel.store.models import Mode, Resource, Run, Server, SignIn, State, Token, User
from panel.store.planned import Plan, PlanState
from panel.store.terminals import Terminal
from tests.unit.test_runs_resources import APP, KEY, _ask, _end

COMMIT = "4f1c9aa" + "0" * 33
DESTRUCTIVE = {"name": "shop.0007_note", "takes_away": ["drops column shop_order.note"]}


@pytest.fixture
def s(database, monkeypatch):
    monkeypatch.setenv("WEBOPS_GIT_NETWORKS", "192.0.2.0/24")
    settings.cache_clear()
    with db.session() as session:
        session.add(Server(name="web1", address="192.0.2.1", host_key=KEY, public_key="ssh-ed25519 AAAA webops",
                           private_key=b"", ready_at=db.now(session), facts={"memory_mb": 1024, "disk_free_mb": 7}))
        session.commit()
        yield session


@pytest.fixture
def guestbook(s):
    run = _ask(s, given={**APP, "secrets": [{"name": "API_KEY", "value": "s3cr3t-one"}]})
    _end(s, run)
    return s.query(Resource).filter_by(name="guestbook").one()


def _event(run, number, kind, **more):
    return {"run_id": run.id, "number": number, "type": kind, "at": run.created_at, "step": (number + 1) // 2,
            "host": "" if kind == "task" else "guestbook@web1", "name": more.pop("name", ""), "role": "django_app",
            "seconds": None, "data": more.pop("data", {})}


def _checked(s, plan, migrations=(), commit=COMMIT, state=State.SUCCEEDED):
    """The plan's check has run and found: one step in place, one that would change a file, one that fetches."""
    run = s.get_one(Run, plan.run_id)
    assert claim.claim(s, run.id, "here:1")
    fact = {"commit": {"id": commit, "short": commit[:7]}, "from": None, "migrations": list(migrations)}
    events.insert(s, [
        _event(run, 1, "task", name="Make the user"), _event(run, 2, "ok"),
        _event(run, 3, "task", name="Write the unit"),
        _event(run, 4, "changed", data={"diff": [{"before": "a\n", "after": "b\n"}]}),
        _event(run, 5, "task", name="Fetch the code"),
        _event(run, 6, "changed", data={"summary": "4f1c9aa · Fix", "plan": fact})])
    s.commit()
    verdict = Verdict(state, "It broke." if state is State.FAILED else "")
    assert settle(run.id, "here:1", verdict, Outcome(), 6)
    s.expire_all()
    return plan


def _plan(s, resource, given=None, **more):
    asked = {"kind": "django_app", "name": "guestbook", "where": "web1", "given": given or APP} \
        if "action" not in more else {"resource": resource, "given": given or {}}
    return plans.make(s, actor="ada", door="api", **asked, **more)


def _apply(s, plan, **more):
    return plans.apply(s, plan, "grace", "browser", **more)


def test_a_plan_holds_what_its_check_found(s, guestbook):
    plan = _checked(s, _plan(s, guestbook))
    assert plan.state is PlanState.READY and plan.steps == 3
    assert [one["name"] for one in plan.changes] == ["Write the unit", "Fetch the code"]
    assert plan.changes[0]["diff"] == [{"before": "a\n", "after": "b\n"}]
    assert plan.facts["commit"]["id"] == plan.fingerprint["commit"] == COMMIT
    assert plan.run.purpose == "plan" and plan.run.mode is Mode.CHECK


def test_applying_uses_the_values_of_the_plan_and_holds_the_run_to_its_commit(s, guestbook):
    plan = _checked(s, _plan(s, guestbook, {**APP, "domain": "new.example.org"}))
    assert guestbook.values["django_app_domain"] == APP["domain"], "a plan changes nothing"
    run = _apply(s, plan)
    assert (run.mode, run.actor, run.values["django_app_domain"]) == (Mode.APPLY, "grace", "new.example.org")
    assert run.conditions == {"webops_planned": {"commit": COMMIT}}
    assert plan.state is PlanState.APPLIED and plan.applied_run_id == run.id
    s.expire_all()
    assert guestbook.values["django_app_domain"] == "new.example.org"
    plans.check_claimed(s, claim.claim(s, run.id, "here:1"))


def test_secrets_are_kept_by_a_plan_changed_and_taken_away(s, guestbook):
    def held():
        s.expire_all()
        return resources.parts.secrets_of(guestbook).get("django_app_secrets")

    before = held()
    _end(s, _apply(s, _checked(s, _plan(s, guestbook))))
    assert held() == before
    _end(s, _apply(s, _checked(s, _plan(s, guestbook, {**APP, "secrets": []}))))
    assert held() is None
    plan = _checked(s, _plan(s, guestbook, {**APP, "secrets": [{"name": "API_KEY", "value": "s3cr3t-two"}]}))
    assert b"s3cr3t-two" not in plan.secrets and "s3cr3t-two" not in str([plan.values, plan.fingerprint])
    run = _apply(s, plan)
    assert held() == [{"name": "API_KEY", "value": "s3cr3t-two"}]
    plans.check_claimed(s, claim.claim(s, run.id, "here:1"))


def test_a_resource_that_is_not_there_yet_can_be_planned_and_is_made_by_applying(s):
    plan = _checked(s, _plan(s, None))
    assert s.query(Resource).count() == 0 and plan.resource_id is None
    run = _apply(s, plan)
    assert run.resource.name == "guestbook"
    plans.check_claimed(s, claim.claim(s, run.id, "here:1"))


def test_every_action_can_be_planned(s, guestbook):
    plan = _checked(s, _plan(s, guestbook, action="deploy"))
    run = _apply(s, plan)
    assert (run.action, run.mode, run.conditions["webops_planned"]) == ("deploy", Mode.APPLY, {"commit": COMMIT})
    plans.check_claimed(s, claim.claim(s, run.id, "here:1"))


def test_a_plan_is_applied_once_also_by_two_people_at_once(s, guestbook):
    number = _checked(s, _plan(s, guestbook, action="restart")).id

    def go(who):
        with db.session() as own:
            try:
                return plans.apply(own, own.get_one(Plan, number), who, "api").actor
            except (PlanNotReady, PlanMoved):
                return None

    with ThreadPoolExecutor(4) as pool:
        done = [one for one in pool.map(go, ["ada", "grace", "alan", "edsger"]) if one]
    assert len(done) == 1
    with db.session() as later:
        assert later.query(Run).filter_by(action="restart", mode=Mode.APPLY).count() == 1
        with pytest.raises(PlanNotReady, match="applied already"):
            _apply(later, later.get_one(Plan, number))


# --- what moves

def _a_value(s, guestbook):
    run = _ask(s, given={**APP, "domain": "other.example.org"})
    cancel(s, run, "ada")
    return "'domain' of guestbook was changed from 'guestbook.example.org' to 'other.example.org'"


def _a_secret(s, guestbook):
    run = _ask(s, given={**APP, "secrets": [{"name": "API_KEY", "value": "s3cr3t-two"}]})
    cancel(s, run, "ada")
    return "the secret 'secrets' of guestbook was changed"


def _the_address(s, guestbook):
    guestbook.server.address = "192.0.2.9"
    return "web1 has another address"


def _the_host_key(s, guestbook):
    guestbook.server.host_key = KEY.replace("IJ1b", "IJ2b")
    return "another host key was accepted for web1"


def _a_fact(s, guestbook):
    guestbook.server.facts = {"memory_mb": 512, "disk_free_mb": 7}
    return "memory mb '1024' became '512'"


def _another_run(s, guestbook):
    _end(s, resources.act(s, resource=guestbook, action="restart", given={}, actor="alan", door="cli"))
    return "(restart by alan) has changed guestbook meanwhile"


MOVES = [_a_value, _a_secret, _the_address, _the_host_key, _a_fact, _another_run]


@pytest.mark.parametrize("move", MOVES, ids=lambda move: move.__name__.strip("_"))
def test_what_moved_is_refused_by_its_name(s, guestbook, move):
    plan = _checked(s, _plan(s, guestbook, action="deploy"))
    words = move(s, guestbook)
    s.commit()
    before = s.query(Run).count()
    with pytest.raises(PlanMoved) as refused:
        _apply(s, plan)
    assert refused.value.code == "plan_moved" and words in refused.value.message
    assert "Plan again" in refused.value.message and "s3cr3t" not in refused.value.message
    assert plan.state is PlanState.REFUSED and s.query(Run).count() == before


@pytest.mark.parametrize("move", MOVES[:5], ids=lambda move: move.__name__.strip("_"))
def test_what_moves_while_the_run_waits_is_refused_at_the_claim(s, guestbook, move):
    plan = _checked(s, _plan(s, guestbook, action="deploy"))
    run = _apply(s, plan)
    words = move(s, guestbook)
    s.commit()
    with pytest.raises(PlanMoved, match="does not hold any more") as refused:
        plans.check_claimed(s, claim.claim(s, run.id, "here:1"))
    assert words in refused.value.message and plan.state is PlanState.REFUSED


@pytest.mark.parametrize("place,name", [("roles/django_app/tasks/main.yml", "the role django_app"),
                                        ("roles/postgres_db/defaults/main.yml", "the role postgres_db"),
                                        ("plugins/modules/webops_fetch.py", "plugins"),
                                        ("playbooks/django_app.yml", "playbooks")])
def test_a_role_that_changed_is_refused(s, guestbook, tmp_path, monkeypatch, place, name):
    for path in (*fingerprint.ROOT.glob("roles/*/*/*.yml"), fingerprint.ROOT / "ansible.cfg",
                 fingerprint.ROOT / "plugins/modules/webops_fetch.py", fingerprint.ROOT / "playbooks/django_app.yml"):
        copy = tmp_path / path.relative_to(fingerprint.ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    monkeypatch.setattr(fingerprint, "ROOT", tmp_path)
    plan = _checked(s, _plan(s, guestbook))
    (tmp_path / place).write_text((tmp_path / place).read_text() + "# another version\n")
    with pytest.raises(PlanMoved, match=f"{name} ha"):
        _apply(s, plan)


def test_the_run_of_a_plan_that_moved_ends_in_words_and_touches_nothing(s, guestbook, monkeypatch):
    """As a worker does it, without its child process."""
    run = _apply(s, _checked(s, _plan(s, guestbook, action="deploy")))
    _the_address(s, guestbook)
    s.commit()
    monkeypatch.setattr(job.spec, "build", lambda *_: pytest.fail("it was begun"))
    job.execute(run.id)
    s.expire_all()
    assert run.state is State.FAILED and "web1 has another address" in run.error
    assert run.next_step == "Nothing was changed."


def test_removing_what_was_planned_or_making_it_otherwise_is_a_move(s, guestbook):
    plan = _checked(s, _plan(s, guestbook, action="deploy"))
    _end(s, resources.act(s, resource=guestbook, action="remove", given={}, actor="ada", door="api"))
    with pytest.raises(PlanMoved, match="guestbook was removed meanwhile"):
        _apply(s, plan)


def test_a_check_beside_it_is_no_move(s, guestbook):
    plan = _checked(s, _plan(s, guestbook, action="deploy"))
    _end(s, resources.act(s, resource=guestbook, action="deploy", given={}, actor="ada", door="api", mode=Mode.CHECK))
    guestbook.server.facts = {"memory_mb": 1024, "disk_free_mb": 3}
    s.commit()
    assert _apply(s, plan)


# --- when it cannot be applied

def test_a_plan_that_is_not_done_failed_or_is_too_old_cannot_be_applied(s, guestbook):
    plan = _plan(s, guestbook, action="deploy")
    with pytest.raises(PlanNotReady, match="still being made"):
        _apply(s, plan)
    with pytest.raises(PlanNotReady, match="It broke"):
        _apply(s, _checked(s, plan, state=State.FAILED))
    old = _checked(s, _plan(s, guestbook, action="deploy"))
    old.created_at = db.now(s) - timedelta(hours=settings().plan_hours + 1)
    s.commit()
    with pytest.raises(PlanNotReady, match="too old"):
        _apply(s, old)
    assert old.state is PlanState.EXPIRED


def test_a_plan_whose_check_was_canceled_before_it_began_says_so(s, guestbook):
    plan = _plan(s, guestbook, action="deploy")
    cancel(s, s.get_one(Run, plan.run_id), "ada")
    assert plans.refresh(s, plan).state is PlanState.FAILED and "Canceled by ada" in plan.refusal


def test_old_plans_go_with_the_runs_of_their_time(s, guestbook):
    old, new = (_checked(s, _plan(s, guestbook, action="deploy")) for _ in range(2))
    old.created_at = db.now(s) - timedelta(days=settings().keep_runs_days + 1)
    s.commit()
    prune(s)
    assert [one.id for one in s.query(Plan)] == [new.id]


def test_migrations_that_take_something_away_have_to_be_confirmed_by_name(s, guestbook):
    plan = _checked(s, _plan(s, guestbook, action="deploy"), [DESTRUCTIVE, {"name": "shop.0008_more"}])
    with pytest.raises(MigrationsUnconfirmed, match=r"shop\.0007_note drops column shop_order\.note"):
        _apply(s, plan)
    assert plan.state is PlanState.READY, "it can still be confirmed"
    run = _apply(s, plan, confirm_migrations=["shop.0007_note"])
    assert run.conditions["webops_confirmed"] == ["shop.0007_note"]


def test_who_waits_behind_the_run_of_a_plan_has_moved_nothing(s, guestbook):
    run = _apply(s, _checked(s, _plan(s, guestbook, action="deploy")))
    resources.act(s, resource=guestbook, action="restart", given={}, actor="bob", door="cli")
    plans.check_claimed(s, claim.claim(s, run.id, "here:1"))


def test_a_run_whose_files_cannot_be_kept_says_so(s, guestbook, monkeypatch):
    monkeypatch.setenv("WEBOPS_SCRATCH", "/proc/nowhere")
    settings.cache_clear()
    run = resources.act(s, resource=guestbook, action="restart", given={}, actor="ada", door="cli")
    s.commit()
    job.execute(run.id)
    s.expire_all()
    assert run.state is State.FAILED and "could not keep the files of this run" in run.error


def test_a_run_has_the_secrets_of_when_it_was_asked_for(s, guestbook, tmp_path, monkeypatch):
    monkeypatch.setattr(spec, "key_of", lambda server: "")
    first = resources.act(s, resource=guestbook, action="deploy", given={}, actor="ada", door="api")
    later = _ask(s, given={**APP, "secrets": [{"name": "API_KEY", "value": "s3cr3t-two"}]})
    made = [spec.build(run, tmp_path) for run in (first, later)]
    assert [one.told["variables"]["django_app_secrets"][0]["value"] for one in made] == ["s3cr3t-one", "s3cr3t-two"]
    assert "s3cr3t-one" in made[0].secrets, "what is not masked would be shown"


def test_what_people_left_behind_goes_with_the_runs_of_its_time(s, guestbook):
    long_ago, person = db.now(s) - timedelta(days=settings().keep_runs_days + 1), User(name="ada", password_hash="x")
    s.add(person)
    s.flush()
    for number, at in enumerate((long_ago, db.now(s))):
        s.add(Token(user_id=person.id, name="x", digest=str(number), revoked_at=at))
        s.add(SignIn(user_id=person.id, digest=str(number), epoch=0, address="", seen_at=at))
        s.add(Terminal(resource_name="x", server_name="y", actor="ada", door="cli", ended_at=at))
    s.add(Token(user_id=person.id, name="in use", digest="3"))
    s.add(Terminal(resource_name="x", server_name="y", actor="ada", door="cli"))
    s.commit()
    prune(s)
    assert [s.query(table).count() for table in (Token, SignIn, Terminal)] == [2, 1, 2]
