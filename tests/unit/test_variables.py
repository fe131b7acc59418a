"""What a repository wants to know is told by the plan, filled in beside it, and asked for before the first deploy."""

from __future__ import annotations

import importlib.util
import json
from typing import Any

import pytest
from flask.testing import FlaskClient

from panel.runs import claim
from panel.runs.events import Recorder
from panel.runs.plans import asked_with
from panel.runs.redact import Redactor
from panel.runs.settle import Verdict, settle
from panel.settings import ROOT
from panel.store import db
from panel.store.models import State
from panel.store.planned import Plan
from tests.panels import send
from tests.programs import Client, problem

OFFERED = [
    {"name": "PAGE_SIZE", "way": "default", "why": "As in the example.", "value": "25", "secret": False, "help": ""},
    {"name": "FIELD_KEY", "way": "generate", "why": "A secret of the app's own; a random one is made.", "secret": True},
    {"name": "STRIPE_KEY", "way": "ask", "why": "A credential that only its service knows.", "secret": True,
     "help": "<b>Payments</b>", "required": True},
    {"name": "SECRET_KEY", "way": "given", "why": "WebOps gives it."},
]


WISH = {"repo": "https://git.example.org/new.git", "domain": "new.example.org"}


def planned(api: Client, **values: Any) -> int:
    """A plan of a new app whose repository names variables."""
    made = api("POST", "/resources/brandnew/plans", {"kind": "django_app", "server": "web1",
                                                     "values": {**WISH, **values}})
    assert made.status_code == 202, made.text
    checked(made.get_json()["run"]["id"])
    return int(made.get_json()["plan"]["id"])


def checked(run: int) -> None:
    """A check has ended, and told of the variables."""
    with db.session() as session:
        assert claim.claim(session, run, "here:1")
        recorder = Recorder(run, Redactor([]))
        recorder.add({"type": "ok", "at": "2026-11-22T12:00:00+00:00", "step": 1, "host": "brandnew@web1",
                      "name": "Read", "role": "django_app", "seconds": 0.1,
                      "data": {"plan": {"contract": {"variables": OFFERED}}}})
        recorder.close()
        assert settle(run, "here:1", Verdict(State.SUCCEEDED), recorder.outcome, recorder.last)


def asked(number: int) -> dict[str, Any]:
    with db.session() as session:
        return asked_with(session.get_one(Plan, number))


def test_a_plan_names_what_has_no_value_and_takes_the_answers(api: Client) -> None:
    number = planned(api, environment=[{"name": "DEBUG", "value": "0"}])
    told = api("GET", f"/plans/{number}").get_json()["variables"]
    names = [(one["name"], one["way"], one["is_required"]) for one in told]
    assert names == [("STRIPE_KEY", "ask", True), ("PAGE_SIZE", "default", False), ("FIELD_KEY", "generate", False)]
    answers = {"STRIPE_KEY": "sk_live_1", "PAGE_SIZE": "30", "FIELD_KEY": "", "NOT_NAMED": "x"}
    fresh = api("POST", f"/plans/{number}/variables", {"values": answers})
    assert fresh.status_code == 202 and "sk_live_1" not in fresh.text
    given = asked(fresh.get_json()["plan"]["id"])
    assert given["django_app_environment"] == [{"name": "DEBUG", "value": "0"}, {"name": "PAGE_SIZE", "value": "30"}]
    secrets = {one["name"]: one["value"] for one in given["django_app_secrets"]}
    assert secrets.keys() == {"STRIPE_KEY", "FIELD_KEY"} and secrets["STRIPE_KEY"] == "sk_live_1"
    assert len(secrets["FIELD_KEY"]) > 30
    assert problem(api("POST", f"/plans/{number}/variables", {"values": {"A": 1}}))["code"] == "invalid_values"


def test_what_is_left_empty_gets_no_value(api: Client) -> None:
    fresh = api("POST", f"/plans/{planned(api)}/variables", {"values": {"STRIPE_KEY": " ", "PAGE_SIZE": ""}})
    given = asked(fresh.get_json()["plan"]["id"])
    assert not given.get("django_app_environment") and not given.get("django_app_secrets")
    again = api("POST", f"/plans/{fresh.get_json()['plan']['id']}/variables", {"values": {}})
    assert (again.status_code, problem(again)["code"]) == (409, "plan_not_ready")


def test_they_are_filled_in_beside_the_plan(api: Client, ada: FlaskClient) -> None:
    number = planned(api)
    page = ada.get(f"/plans/{number}").text
    assert 'name="variable.PAGE_SIZE"' in page and 'value="25"' in page and "made at random" in page
    assert "&lt;b&gt;Payments" in page and "SECRET_KEY" not in page
    sent = send(ada, f"/plans/{number}/variables", page=f"/plans/{number}",
                **{"variable.STRIPE_KEY": "sk_live_2", "variable.PAGE_SIZE": "25", "variable.FIELD_KEY": ""})
    assert sent.status_code == 303
    given = asked(int(sent.location.rpartition("/")[2]))
    assert "sk_live_2" in json.dumps(given["django_app_secrets"]) and len(given["django_app_secrets"]) == 2
    assert given["django_app_environment"] == [{"name": "PAGE_SIZE", "value": "25"}]


def test_a_check_names_them_too_and_leaves_no_plan(api: Client) -> None:
    before = api("GET", "/plans").get_json()["plans"]
    made = api("PUT", "/resources/brandnew", {"kind": "django_app", "server": "web1", "values": WISH, "mode": "check"})
    run = made.get_json()["run"]["id"]
    assert api("GET", f"/runs/{run}/variables").get_json() == {"variables": []}, "it has not ended"
    checked(run)
    told = api("GET", f"/runs/{run}/variables").get_json()["variables"]
    assert [one["name"] for one in told] == ["STRIPE_KEY", "PAGE_SIZE", "FIELD_KEY"]
    assert api("GET", "/plans").get_json()["plans"] == before
    assert api("GET", "/resources/brandnew").status_code == 404


def test_a_deploy_of_another_action_has_none(api: Client) -> None:
    made = api("POST", "/resources/guestbook/plans", {"action": "deploy"}).get_json()["plan"]
    assert made["variables"] == []


@pytest.mark.parametrize("way", ["ask", "default"])
def test_without_a_terminal_the_first_deploy_names_what_only_a_person_knows(way: str) -> None:
    from cli.exits import Stop
    from cli.variables import _unasked

    named = [{"name": "STRIPE_KEY", "way": way, "value": "25"}, {"name": "FIELD_KEY", "way": "generate", "value": ""}]
    if way == "ask":
        with pytest.raises(Stop, match="STRIPE_KEY"):
            _unasked(named)
    else:
        assert _unasked(named) == {"STRIPE_KEY": "25", "FIELD_KEY": ""}


def test_a_refusal_for_want_of_a_variable_names_it_for_the_plan() -> None:
    path = ROOT / "plugins" / "action" / "webops_contract.py"
    spec = importlib.util.spec_from_file_location("webops_contract_action", path)
    assert spec and spec.loader
    plugin = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(plugin)
    files = {"manage.py": 'os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")', "shop/settings.py": "",
             "webops.yml": "environment: {required: [STRIPE_KEY]}\n", "requirements.txt": "django\n"}
    told = plugin.answer({"kind": "django_app", "files": files, "listing": [*files], "variables": ["SECRET_KEY"]})
    assert told["failed"] and "STRIPE_KEY must be set" in told["msg"]
    assert [one["name"] for one in told["webops_plan"]["contract"]["variables"]] == ["STRIPE_KEY"]
