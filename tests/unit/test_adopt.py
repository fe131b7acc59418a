"""Taking over what is there, at the doors: a look, the list, a site, its plans; secrets stay where they belong."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient

from panel.runs import claim, retention
from panel.runs.events import Recorder
from panel.runs.outcome import Outcome
from panel.runs.parts import secrets_of
from panel.runs.redact import Redactor
from panel.runs.settle import Verdict, settle
from panel.runs.surveys import last
from panel.store import db
from panel.store.models import Event, Resource, Run, Server, State
from panel.store.surveyed import Survey
from tests.panels import send
from tests.programs import Client, problem
from tests.surveyed import PROXIED, SECRETS, STATIC, dump, pair, survey

SITES = "/servers/web1/sites"
#: What nobody may read: variables of the app, and a line of the key.
HIDDEN = [*SECRETS.values(), pair()[1].splitlines()[1]]


def looked(found: dict[str, Any] | None = None) -> None:
    """The look that was asked for has ended with this."""
    with db.session() as session:
        run = session.query(Run).filter_by(purpose="survey").order_by(Run.id.desc()).first()
        assert run and run.mode == "check" and claim.claim(session, run.id, "here:1")
        recorder = Recorder(run.id, Redactor([]))
        recorder.add({"type": "ok", "at": "2026-11-22T12:00:00+00:00", "step": 1, "host": "web1", "name": "Look",
                      "role": "server", "seconds": 0.1, "data": {"webops_found": found, "summary": "2 names"}})
        recorder.close()
        assert settle(run.id, "here:1", Verdict(State.SUCCEEDED), recorder.outcome, recorder.last)
        assert "webops_found" not in json.dumps([one.data for one in session.query(Event).filter_by(run_id=run.id)])


@pytest.fixture
def found(api: Client) -> Client:
    """A server that was looked at; its shop is nobody's else here."""
    with db.session() as session:
        for row in session.query(Resource).filter(Resource.parent_id.is_(None)):
            if row.name in ("docs", "shop"):
                session.delete(row)
        session.commit()
    assert api("POST", "/servers/web1/runs", {"action": "survey"}).status_code == 202
    looked(survey(dump(docs=STATIC, shop_conf=PROXIED)))
    return api


def test_nothing_is_told_before_somebody_looked(api: Client, ada: FlaskClient) -> None:
    refused = api("GET", SITES)
    assert (refused.status_code, problem(refused)["code"]) == (409, "not_looked")
    assert "Nobody has looked today" in ada.get(SITES).text
    assert ada.get(f"{SITES}/shop.example.org").status_code == 303
    assert send(ada, SITES).status_code == 303
    looked(survey(""))
    assert api("GET", SITES).get_json()["sites"] == []
    assert "nginx serves no site here that WebOps did not make" in ada.get(SITES).text


def test_the_list_and_a_site_show_what_was_read_but_no_secret(found: Client, ada: FlaskClient) -> None:
    answer = found("GET", SITES)
    sites = {one["domain"]: one for one in answer.get_json()["sites"]}
    assert list(sites) == ["docs.example.org", "shop.example.org"]
    app = next(one for one in sites["shop.example.org"]["kinds"] if one["kind"] == "django_app")
    names = ["EMAIL_URL", "GREETING", "QUEUE", "SECRET_KEY", "DATABASE_URL"]
    assert app["resources"][0]["secrets"] == {"certificate_key": True, "secrets": names}
    shown = answer.text + ada.get(SITES).text + ada.get(f"{SITES}/shop.example.org").text
    assert "unix:/run/shop/gunicorn.sock" in shown and "shop.service" in shown
    assert [secret for secret in HIDDEN if secret in shown] == []
    assert ada.get(f"{SITES}/gone.example.org").status_code == 404


def test_a_site_is_written_down_and_planned_and_its_secrets_are_sealed(found: Client) -> None:
    answer = found("POST", "/servers/web1/adoptions", {"domain": "www.shop.example.org", "name": "boutique"})
    assert answer.status_code == 202, answer.text
    plans = [one["plan"] for one in answer.get_json()["plans"]]
    assert [(one["kind"], one["resource"]) for one in plans] == [("ssl_cert", "boutique-cert"),
                                                                ("nginx_vhost", "boutique")]
    again = found("POST", "/servers/web1/adoptions", {"domain": "shop.example.org", "kind": "django_app"})
    assert again.status_code == 409 and "belongs to boutique" in again.text
    with db.session() as session:
        rows = {row.name: row for row in session.query(Resource).filter(Resource.name.like("boutique%"))}
        assert all(row.applied_at is None for row in rows.values())
        assert rows["boutique"].values["nginx_vhost_certificate"] == "boutique-cert"
        assert secrets_of(rows["boutique-cert"]) == {"ssl_cert_key": pair()[1]}
        stored = json.dumps([row.values for row in rows.values()])
    assert [secret for secret in HIDDEN if secret in stored + answer.text] == []


def test_a_django_app_keeps_its_variables_as_secrets(found: Client) -> None:
    answer = found("POST", "/servers/web1/adoptions", {"domain": "shop.example.org", "kind": "django_app"})
    assert answer.status_code == 202, answer.text
    with db.session() as session:
        row = session.query(Resource).filter_by(name="shop", kind="django_app").one()
        assert {one["name"]: one["value"] for one in secrets_of(row)["django_app_secrets"]}.items() >= SECRETS.items()
        assert not [secret for secret in HIDDEN if secret in json.dumps(row.values)]


def test_what_cannot_be_taken_over_says_why(found: Client, ada: FlaskClient) -> None:
    send(ada, SITES)
    looked(survey(dump(site="server { server_name a.example.org; auth_basic staff; root /srv/a; }")))
    refused = found("POST", "/servers/web1/adoptions", {"domain": "a.example.org"})
    assert problem(refused)["code"] == "cannot_adopt" and "keeps somebody out" in refused.text
    page = ada.get(f"{SITES}/a.example.org").text
    assert "keeps somebody out" in page and "Write down and plan" not in page
    assert found("POST", "/servers/web1/adoptions", {"domain": "b.example.org"}).status_code == 404
    wrong = found("POST", "/servers/web1/adoptions", {"domain": "a.example.org", "kind": "vllm_model"})
    assert wrong.status_code == 409


def test_hostile_text_of_a_server_is_text_on_the_page(api: Client, ada: FlaskClient) -> None:
    send(ada, SITES)
    evil = "<script>alert(1)</script>"
    looked(survey(dump(site=f"server {{ server_name a.example.org '{evil}'; root '/srv/{evil}'; \u202e '{evil}'; }}")))
    for path in (SITES, f"{SITES}/a.example.org"):
        page = ada.get(path)
        assert page.status_code == 200 and evil not in page.text and "\u202e" not in page.text
    looked_at = api("GET", SITES).get_json()["sites"][0]
    assert looked_at["kinds"] == [] and evil in " ".join(looked_at["cannot"])


def test_a_look_is_wiped_after_a_day(found: Client) -> None:
    with db.session() as session:
        server = session.query(Server).filter_by(name="web1").one()
        assert last(session, server)
        row = session.get(Survey, server.id)
        assert row and not [secret for secret in HIDDEN if secret.encode() in row.found]
        row.at -= timedelta(hours=25)
        session.commit()
        assert last(session, server) is None
        retention.prune(session)
        assert session.query(Survey).filter_by(server_id=server.id).count() == 0


def test_a_look_that_failed_leaves_the_last_one(found: Client) -> None:
    number = found("POST", "/servers/web1/runs", {"action": "survey"}).get_json()["run"]["id"]
    with db.session() as session:
        assert claim.claim(session, number, "here:1")
        assert settle(number, "here:1", Verdict(State.FAILED, "nginx is broken."), Outcome(), 0)
    assert len(found("GET", SITES).get_json()["sites"]) == 2
