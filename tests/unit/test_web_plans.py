"""Plans and drift on the pages: a plan beside every action, applied as it was seen; one click to reconcile."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from panel.runs import claim, drift
from panel.runs.outcome import Outcome
from panel.runs.settle import Verdict, settle
from panel.store import db
from panel.store.models import Mode, Resource, Run, State
from panel.store.planned import Drift, DriftState, Interval, Plan, PlanState
from tests.believable import drifted
from tests.panels import send
from tests.unit.test_api_plans import free


def ended(number: int) -> None:
    with db.session() as session:
        assert claim.claim(session, number, "here:1")
        assert settle(number, "here:1", Verdict(State.SUCCEEDED), Outcome(), 0)


def last(model: Any) -> Any:
    with db.session() as session:
        return session.query(model).order_by(model.id.desc()).first()


@pytest.fixture
def plan(ada: FlaskClient) -> Plan:
    free("docs")
    made = send(ada, "/resources/docs/actions/deploy", page="/resources/docs", mode="plan")
    assert made.status_code == 303
    found = last(Plan)
    assert made.location == f"/plans/{found.id}" and (found.action, found.state) == ("deploy", PlanState.NEW)
    return found  # type: ignore[no-any-return]


def test_a_plan_is_live_while_it_is_made_and_applied_afterwards(ada: FlaskClient, plan: Plan) -> None:
    page = ada.get(f"/plans/{plan.id}").text
    assert f'data-run="/runs/{plan.run_id}/stream"' in page and "Apply this plan" not in page
    assert '<noscript><meta http-equiv="refresh"' in page, "it comes to its end without JavaScript, too"
    ended(plan.run_id or 0)
    assert "Apply this plan" in ada.get(f"/plans/{plan.id}").text
    done = send(ada, f"/plans/{plan.id}/runs", page=f"/plans/{plan.id}")
    run = last(Run)
    assert done.location == f"/runs/{run.id}" and (run.mode, run.action) == (Mode.APPLY, "deploy")
    assert f"/runs/{run.id}" in ada.get(f"/plans/{plan.id}").text


def test_a_plan_of_a_model_says_what_it_needs(ada: FlaskClient, plan: Plan) -> None:
    ended(plan.run_id or 0)
    with db.session() as session:
        one = session.get_one(Plan, plan.id)
        commit = {"id": "8" * 40, "short": "8888888", "subject": "Qwen/Qwen3-8B", "author": "", "at": ""}
        said = "Needs 18.7 GiB of 20.2 GiB on GPU 0. <b>15.3 GiB</b> first."
        one.facts = {"commit": commit, "model": {"sentence": said}}
        session.commit()
    page = ada.get(f"/plans/{plan.id}").text
    assert '<h2 id="code">Model</h2>' in page and "8888888" in page and "Qwen/Qwen3-8B" in page
    assert "Needs 18.7 GiB of 20.2 GiB on GPU 0. &lt;b&gt;15.3 GiB" in page


def test_a_plan_that_moved_says_what_and_can_be_made_again(ada: FlaskClient, plan: Plan) -> None:
    ended(plan.run_id or 0)
    token_page = f"/plans/{plan.id}"
    before = ada.get(token_page).text
    with db.session() as session:
        session.query(Resource).filter_by(name="docs").one().server.address = "192.0.2.77"
        session.commit()
    assert "Apply this plan" in before
    refused = send(ada, f"/plans/{plan.id}/runs", page=token_page)
    assert refused.status_code == 409 and "web1 has another address" in refused.text
    again = send(ada, f"/plans/{plan.id}/repetition", page=token_page)
    assert again.location == f"/plans/{last(Plan).id}" and last(Plan).id > plan.id


def test_the_form_plans_a_new_resource_without_making_it(ada: FlaskClient) -> None:
    values = {"name": "fresh-cert", "server": "web1", "ssl_cert_domain": "fresh.example.org",
              "ssl_cert_source": "self_signed"}
    made = send(ada, "/new/ssl_cert", mode="plan", **values)
    assert made.status_code == 303 and made.location == f"/plans/{last(Plan).id}"
    assert ada.get("/resources/fresh-cert").status_code == 404


def test_a_dangerous_plan_and_a_migration_that_takes_away_ask_once_more(ada: FlaskClient) -> None:
    free("docs")
    send(ada, "/resources/docs/actions/remove", mode="plan")
    plan = last(Plan)
    ended(plan.run_id)
    refused = send(ada, f"/plans/{plan.id}/runs", page=f"/plans/{plan.id}")
    assert refused.status_code == 422 and "Type docs to confirm" in refused.text
    assert send(ada, f"/plans/{plan.id}/runs", page=f"/plans/{plan.id}", confirm="docs").status_code == 303
    page = ada.get("/plans/1").text
    assert 'name="confirm_migration" value="guestbook.0008_no_ip"' in page and "drops column" in page
    assert 'value="guestbook.0007_message_pinned"' not in page


def test_drift_is_shown_where_people_look_and_taken_back_by_one_click(ada: FlaskClient) -> None:
    free("guestbook")
    with db.session() as session:
        drifted(session)
    page = ada.get("/resources/guestbook").text
    assert "client_max_body_size 900m;" in page and "Reconcile" in page and "It is no drift" in page
    assert "Drifted" in ada.get("/resources").text
    assert "is not as it was applied" in ada.get("/").text
    done = send(ada, "/resources/guestbook/drift/reconciliation", page="/resources/guestbook")
    run = last(Run)
    assert done.location == f"/runs/{run.id}" and (run.action, run.mode, run.conditions) == (
        "main", Mode.APPLY, drift.LIVE)


def test_how_often_it_is_looked_at_is_set_on_the_page_and_a_look_can_be_asked_for(ada: FlaskClient) -> None:
    free("guestbook")
    send(ada, "/resources/guestbook/drift", page="/resources/guestbook", interval="hourly")
    assert '<option value="hourly" selected>' in ada.get("/resources/guestbook").text
    with db.session() as session:
        row = session.query(Drift).join(Drift.resource).filter(Resource.name == "guestbook").one()
        assert row.interval is Interval.HOURLY and row.due is not None
    send(ada, "/resources/guestbook/drift/runs", page="/resources/guestbook")
    run = last(Run)
    assert (run.purpose, run.mode) == ("drift", Mode.CHECK)
    listed = ada.get("/runs").text
    assert f'href="/runs/{run.id}"' not in listed
    ended(run.id)
    assert "In sync" in ada.get("/resources/guestbook").text
    with db.session() as session:
        found = session.query(Drift).join(Drift.resource).filter(Resource.name == "guestbook").one()
        assert found.state is DriftState.IN_SYNC
