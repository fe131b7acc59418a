"""The API: plans and drift, by the same doors as on the pages."""

from __future__ import annotations

from typing import Any

import pytest

from panel.runs import claim, drift
from panel.runs.outcome import Outcome
from panel.runs.settle import Verdict, settle
from panel.store import db
from panel.store.models import Mode, Resource, Run, State
from panel.store.planned import Drift, DriftState
from tests.programs import Client, problem


def ended(number: int, state: State = State.SUCCEEDED) -> None:
    with db.session() as session:
        assert claim.claim(session, number, "here:1")
        assert settle(number, "here:1", Verdict(state, "It broke." if state is State.FAILED else ""), Outcome(), 0)


def free(name: str) -> None:
    """Nothing of this resource goes on any more."""
    with db.session() as session:
        for run in session.query(Run).filter_by(resource_name=name):
            run.state = State.SUCCEEDED
        session.commit()


@pytest.fixture
def planned(api: Client) -> dict[str, Any]:
    free("guestbook")
    answer = api("POST", "/resources/guestbook/plans", {"action": "deploy"})
    assert answer.status_code == 202, answer.text
    made = answer.get_json()
    assert (made["run"]["mode"], made["run"]["purpose"], made["plan"]["state"]) == ("check", "plan", "new")
    return dict(made["plan"])


def test_a_plan_is_made_shown_and_applied(api: Client, planned: dict[str, Any]) -> None:
    path = f"/plans/{planned['id']}"
    refused = api("POST", f"{path}/runs", {})
    assert (refused.status_code, problem(refused)["code"]) == (409, "plan_not_ready")
    ended(planned["run"])
    shown = api("GET", path).get_json()
    assert shown["state"] == "ready" and shown["changes"] == [] and "role django_app" in shown["fingerprint"]["roles"]
    run = api("POST", f"{path}/runs", {})
    assert run.status_code == 202 and run.get_json()["run"]["mode"] == "apply"
    assert api("GET", path).get_json()["applied_run"] == run.get_json()["run"]["id"]
    assert [one["id"] for one in api("GET", "/plans?resource=guestbook&state=applied").get_json()["plans"]] == [
        planned["id"]]


def test_a_plan_that_moved_is_a_conflict_in_words(api: Client, planned: dict[str, Any]) -> None:
    ended(planned["run"])
    with db.session() as session:
        session.query(Resource).filter_by(name="guestbook").one().server.address = "192.0.2.99"
        session.commit()
    refused = api("POST", f"/plans/{planned['id']}/runs", {})
    assert (refused.status_code, problem(refused)["code"]) == (409, "plan_moved")
    assert "has another address" in problem(refused)["detail"] and "Plan again" in problem(refused)["detail"]
    assert api("GET", f"/plans/{planned['id']}").get_json()["state"] == "refused"


def test_a_new_resource_can_be_planned_and_its_values_are_refused_as_when_applied(api: Client) -> None:
    body = {"kind": "ssl_cert", "server": "web1", "values": {"domain": "new.example.org", "source": "self_signed"}}
    made = api("POST", "/resources/new-cert/plans", body)
    assert made.status_code == 202 and api("GET", "/resources/new-cert").status_code == 404
    wrong = api("POST", "/resources/new-cert/plans", {**body, "values": {"domain": "a.com; }"}})
    assert (wrong.status_code, problem(wrong)["code"]) == (422, "invalid_values")
    assert problem(api("POST", "/resources/nobody/plans", {"action": "deploy"}))["code"] == "not_found"
    for body in ({"confirm_migrations": "all"}, {"confirm_migrations": [1]}, {"nonsense": 1}):
        assert api("POST", f"/plans/{made.get_json()['plan']['id']}/runs", body).status_code == 422
    assert api("GET", "/plans/99999999999").status_code == 404


def test_drift_is_looked_at_told_set_and_reconciled(api: Client) -> None:
    free("guestbook")
    known = api("GET", "/resources/guestbook/drift").get_json()
    assert (known["interval"], known["state"]) == ("daily", "unknown")
    assert api("PUT", "/resources/guestbook/drift", {"interval": "hourly"}).get_json()["interval"] == "hourly"
    assert api("PUT", "/resources/guestbook/drift", {"interval": "yearly"}).status_code == 422
    run = api("POST", "/resources/guestbook/drift/runs", {}).get_json()["run"]
    assert (run["mode"], run["purpose"], run["action"]) == ("check", "drift", "main")
    again = api("POST", "/resources/guestbook-vhost/drift/runs", {}).get_json()["run"]
    assert again["id"] == run["id"], "one look at a time; a part is looked at with the whole"
    ended(run["id"])
    assert api("GET", "/resources/guestbook").get_json()["drift"]["state"] == "in_sync"
    fixed = api("POST", "/resources/guestbook/drift/reconciliation", {}).get_json()["run"]
    assert (fixed["mode"], fixed["action"]) == ("apply", "main")
    with db.session() as session:
        assert session.get_one(Run, fixed["id"]).conditions == drift.LIVE == session.get_one(Run, run["id"]).conditions


def test_lists_of_runs_leave_out_looks_at_drift(api: Client) -> None:
    free("guestbook")
    run = api("POST", "/resources/guestbook/drift/runs", {}).get_json()["run"]["id"]
    assert run not in [one["id"] for one in api("GET", "/runs").get_json()["runs"]]
    assert [one["id"] for one in api("GET", "/runs?purpose=drift").get_json()["runs"]] == [run]


def test_a_check_that_failed_is_told_as_that(api: Client) -> None:
    free("guestbook")
    ended(api("POST", "/resources/guestbook/drift/runs", {}).get_json()["run"]["id"], State.FAILED)
    known = api("GET", "/resources/guestbook/drift").get_json()
    assert known["state"] == "check_failed" and known["text"].startswith("It broke.")


def test_what_cannot_be_known_is_refused(api: Client) -> None:
    free("guestbook")
    with db.session() as session:
        row = session.query(Resource).filter_by(name="guestbook").one()
        last = session.query(Run).filter_by(resource_id=row.id, mode=Mode.APPLY).order_by(Run.id.desc()).first()
        last.action, last.started_at = "stop", last.created_at
        session.add(Drift(resource_id=row.id, state=DriftState.IN_SYNC))
        session.commit()
    refused = api("POST", "/resources/guestbook/drift/runs", {})
    assert (refused.status_code, problem(refused)["code"]) == (409, "not_applied")
    assert "is stopped" in problem(refused)["detail"]
