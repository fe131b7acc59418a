"""Groups on the pages, in the API and on the command line; a run on several servers as steps by servers."""

from __future__ import annotations

import re
from typing import Any

import pytest
from flask.testing import FlaskClient

from cli.exits import Exit
from panel.runs import claim
from panel.runs.events import Recorder
from panel.runs.redact import Redactor
from panel.runs.settle import Verdict, settle
from panel.store import db
from panel.store.models import Event, PartState, Resource, Run, State
from panel.store.places import Group
from panel.web import runs, waterfall
from tests.believable import fleet, kept_releases
from tests.panels import send
from tests.programs import Client, problem
from tests.unit.test_cli_panel import listening, signed_in, webops  # noqa: F401  fixtures

LIVE = r"(?:id: \d+\n)?event: (\w+)\n((?:data: .*\n)+)"


@pytest.fixture
def run(filled: Any) -> int:
    """A deploy of `market` on edge1, edge2, edge3 that failed on edge2."""
    with db.session() as session:
        return fleet(session).id


def rows(page: str) -> dict[str, list[str]]:
    """The grid: by step, the word of each cell."""
    table = re.search(r'<table class="grid__table.*?</table>', page, re.DOTALL)
    assert table, "there is no grid"
    found = {}
    for row in re.findall(r"<tr.*?</tr>", table[0], re.DOTALL):
        head = re.search(r'<th scope="row"[^>]*>\s*([^<]+)', row)
        if head:
            found[head[1].strip()] = re.findall(r'grid__word[^>]*>([^<]+)', row)
    return found


def test_the_page_of_a_run_shows_each_step_on_each_server(ada: FlaskClient, run: int) -> None:
    page = ada.get(f"/runs/{run}").text
    grid = rows(page)
    assert re.findall(r'grid__name">([^<]+)', page) == ["edge1", "edge2", "edge3"]
    assert grid["All steps"] == ["done", "failed", "not begun"]
    assert grid["Fetch the code into a new release"] == ["changed", "changed", "not reached"]
    assert grid["Apply migrations"] == ["changed", "failed", "not reached"]
    assert grid["Move the traffic"] == ["changed", "not reached", "not reached"]
    assert len(grid) == 13, "each step once, although Ansible began anew for each server"
    assert "1 of 3 servers done. It stopped at “Apply migrations”." in page
    assert "edge2: Migration 0031_prices raised" in page
    assert "Done on edge1. Failed on edge2. Not begun on edge3." in page


def test_a_cell_leads_to_what_the_step_said_there(ada: FlaskClient, run: int) -> None:
    page = ada.get(f"/runs/{run}").text
    targets = re.findall(r'<td class="grid__cell[^>]*><a href="#([^"]+)"', page)
    assert targets and all(f'id="{one}"' in page for one in targets)
    failed = re.search(r'href="#(step-\d+-edge2)" title="edge2: failed"', page)
    assert failed and "IntegrityError" in page.partition(f'id="{failed[1]}"')[2][:600]


def test_a_batch_of_several_shares_its_steps(ada: FlaskClient, filled: Any) -> None:
    with db.session() as session:
        number = fleet(session, 12, 7, 3).id
    page = ada.get(f"/runs/{number}").text
    grid = rows(page)
    assert grid["All steps"] == [*["done"] * 6, "stopped", "failed", "stopped", *["not begun"] * 3]
    assert "grid__table--narrow" in page and "on edge7, edge8, edge9" in page
    assert "Retry on 6 servers" in page


def test_a_run_on_one_server_has_no_grid(ada: FlaskClient) -> None:
    page = ada.get("/runs/4").text
    assert "grid__table" not in page and "Retry" not in page and "on web1" not in page


def test_what_the_stream_draws_is_what_the_page_draws(ada: FlaskClient, run: int) -> None:
    """Event by event from the first one, as a browser gets them: at the end it shows what a reload would."""
    with db.session() as session:
        row = session.get_one(Run, run)
        row.state, row.error = State.RUNNING, ""
        for part in row.servers:
            part.state = PartState.QUEUED
        session.commit()
        events = session.query(Event).filter_by(run_id=run).order_by(Event.number).all()
        with ada.application.test_request_context():
            fall = waterfall.Waterfall(row)
            feed = runs.Feed(run, fall, 0)
            shown: dict[str, str] = {}
            columns = ""
            for event in events:
                line = fall.add(event)
                for message in feed._grid(line) if line else ():
                    name, data = re.fullmatch(LIVE, message.strip() + "\n", re.DOTALL).groups()  # type: ignore[union-attr]
                    text = re.sub(r"^data: ?", "", data, flags=re.MULTILINE)
                    if name == "columns":
                        columns = text
                    else:
                        shown[re.search(r'id="(row-\d+)"', text)[1]] = text  # type: ignore[index]
    page = ada.get(f"/runs/{run}").text
    for text in [columns, *shown.values()]:
        for cell in re.findall(r'<t[dh][^>]*>.*?</t[dh]>', text, re.DOTALL):
            assert re.sub(r"\s+", "", cell) in re.sub(r"\s+", "", page)
    assert len(shown) == 12 and rows(page)["All steps"] == ["done", "failed", "waits"]


def test_the_button_does_it_again_where_it_did_not_succeed(ada: FlaskClient, run: int) -> None:
    page = ada.get(f"/runs/{run}").text
    assert "Retry on 2 servers" in page and 'title="The same on edge2, edge3 alone' in page
    answer = send(ada, f"/runs/{run}/retry", page=f"/runs/{run}")
    assert answer.status_code == 303
    with db.session() as session:
        again = session.query(Run).order_by(Run.id.desc()).first()
        assert again and [one.host for one in again.servers] == ["market@edge2", "market@edge3"]


def test_a_group_is_made_changed_and_removed_in_the_browser(ada: FlaskClient) -> None:
    refused = send(ada, "/new/group", name="web1", server="web1", batch="1")
    assert refused.status_code == 409 and "is the name of something else" in refused.text
    refused = send(ada, "/new/group", name="web", server=["web2", "web1"], batch="many")
    assert refused.status_code == 422 and "a share from 1% to 100%" in refused.text
    assert len(re.findall(r'value="web[12]" checked', refused.text)) == 2, "what was chosen stays"
    assert send(ada, "/new/group", name="web", server=["web2", "web1"], batch="50%").status_code == 303
    page = ada.get("/groups/web").text
    assert page.index(">web2<") < page.index(">web1<") and "50% of them at a time" in page
    assert "web2, web1" in ada.get("/servers").text
    assert '<option value="web">web · web2, web1</option>' in ada.get("/new/static_site").text
    assert send(ada, "/groups/web/edit", server="web1", batch="1").status_code == 303
    with db.session() as session:
        assert [one.name for one in session.query(Group).one().servers] == ["web1"]
    assert send(ada, "/groups/web/removal", page="/groups/web").status_code == 303
    assert ada.get("/groups/web").status_code == 404


def test_a_form_asks_for_a_resource_on_a_group(ada: FlaskClient, run: int) -> None:
    answer = send(ada, "/new/redis_db", name="cache", server="edge", mode="apply")
    assert answer.status_code == 303, answer.text
    page = ada.get("/resources/cache").text
    assert page.count("Not applied yet") >= 3 and "Group" in page
    assert "edge <small>3 servers</small>" in ada.get("/resources").text
    assert "cache" in ada.get("/resources?server=edge2").text and "cache" in ada.get("/resources?server=edge").text
    for path in ("/resources/market/journal?server=edge2", "/resources/market/releases?server=edge2", "/servers/edge1",
                 "/groups/edge", "/groups/edge/edit"):
        assert ada.get(path).status_code == 200, path
    assert ada.get("/resources/market/releases?server=web1").status_code == 404


def test_the_releases_of_a_group_are_gone_back_to_by_commit_or_by_run(ada: FlaskClient, run: int) -> None:
    """Ids differ from server to server; after a change of the environment alone a commit means several."""
    with db.session() as session:
        for place in session.query(Resource).filter_by(name="market").one().places:
            place.observed_data = {"releases": kept_releases()}
        session.commit()
    page = ada.get("/resources/market/releases?server=edge2").text
    ways = re.findall(r'href="/resources/market/actions/rollback\?release=([^"]+)"', page)
    assert ways == ["run-3", "77b1e0400000", "0c5d2b100000"]
    assert 'value="run-3"' in ada.get("/resources/market/actions/rollback?release=run-3").text


def test_what_a_check_has_shown_is_applied_on_the_group_that_was_looked_at(ada: FlaskClient, run: int) -> None:
    send(ada, "/new/redis_db", name="cache", server="edge", mode="check")
    with db.session() as session:
        row = session.query(Run).order_by(Run.id.desc()).first()
        assert row and row.resource is None and len(row.servers) == 3
        row.state, number = State.SUCCEEDED, row.id
        session.commit()
    form = re.search(r'href="(/new/redis_db[^"]*)"[^>]*>Apply', ada.get(f"/runs/{number}").text)
    assert form, "the page of the check leads on"
    page = ada.get(form[1].replace("&amp;", "&")).text
    assert '<option value="edge" selected>' in page and 'value="cache"' in page


def planned(api: Client, *told: dict[str, Any]) -> int:
    """A plan to deploy `market`, whose check was told this on edge1, edge2 and edge3."""
    made = api("POST", "/resources/market/plans", {"action": "deploy"}).get_json()
    number = made["run"]["id"]
    with db.session() as session:
        assert claim.claim(session, number, "here:1")
        recorder = Recorder(number, Redactor([]))
        for place, facts in enumerate(told, 1):
            recorder.add({"type": "ok", "at": "2026-11-22T12:00:00+00:00", "step": 1, "host": f"market@edge{place}",
                          "name": "Fetch the code", "role": "django_app", "seconds": 0.1, "data": {"plan": facts}})
        recorder.close()
        assert settle(number, "here:1", Verdict(State.SUCCEEDED), recorder.outcome, recorder.last)
    return int(made["plan"]["id"])


def commit(short: str, subject: str = "") -> dict[str, str]:
    return {"id": short + "0" * 33, "short": short, "subject": subject, "author": "Ada", "at": ""}


def test_a_plan_says_of_each_server_what_is_to_come_there(
        api: Client, ada: FlaskClient, run: int, signed_in: str) -> None:  # noqa: F811
    drop = {"name": "shop.0007_note", "takes_away": ["drops column note"]}
    more = {"name": "shop.0008_x", "takes_away": []}
    new = commit("4f1c9aa", "Pin messages")
    behind = {"commit": new, "from": commit("77b1e04"), "commits": [new, commit("81aa0de", "Fix typo")],
              "migrations": [drop, more], "environment": {"added": ["MOTTO"], "removed": [], "changed": []}}
    nearly = {"commit": new, "from": commit("81aa0de"), "commits": [new], "migrations": [more], "environment": {}}
    there = {"commit": new, "from": new, "commits": [], "migrations": [], "environment": {}}
    number = planned(api, behind, nearly, there)
    page = ada.get(f"/plans/{number}").text
    rows = [re.sub(r"<[^>]+>", " ", one).split() for one in re.findall(r"<tr>(<td>edge.*?)</tr>", page)]
    assert rows == [
        ["edge1", "77b1e04", "→", "4f1c9aa", "shop.0007_note", "shop.0008_x", "+&nbsp;MOTTO"],
        ["edge2", "81aa0de", "→", "4f1c9aa", "shop.0008_x", "no", "other", "variable"],
        ["edge3", "4f1c9aa", "as", "it", "is", "live", "no", "migration", "no", "other", "variable"]]
    assert "Fix typo" in page, "all that is to come on the one that is furthest behind"
    shown = webops("plan", "show", str(number)).output
    assert "On edge1: 77b1e04 → 4f1c9aa; shop.0007_note, shop.0008_x; +MOTTO" in shown
    assert "On edge3: 4f1c9aa as it is live; no migration; no other variable" in shown
    # What one server alone would lose must be confirmed, too.
    refused = api("POST", f"/plans/{number}/runs", {})
    assert problem(refused)["code"] == "migrations_unconfirmed" and "shop.0007_note" in problem(refused)["detail"]
    assert api("POST", f"/plans/{number}/runs", {"confirm_migrations": ["shop.0007_note"]}).status_code == 202


def test_where_all_servers_are_alike_a_plan_says_it_once(api: Client, ada: FlaskClient, run: int) -> None:
    there = {"commit": commit("4f1c9aa"), "from": commit("81aa0de"), "commits": [], "migrations": [], "environment": {}}
    page = ada.get(f"/plans/{planned(api, there, there, there)}").text
    assert "Not the same on every server" not in page and page.count("81aa0de") == 1


def test_programs_make_groups_and_live_on_them(api: Client) -> None:
    made = api("POST", "/groups", {"name": "web", "servers": ["web2", "web1"], "batch": "2"})
    assert (made.status_code, made.get_json()["servers"]) == (201, ["web2", "web1"])
    wish = {"kind": "redis_db", "group": "web", "values": {}, "batch": "100%"}
    run = api("PUT", "/resources/cache", wish).get_json()["run"]
    assert ([one["server"] for one in run["servers"]], run["batch"]) == (["web2", "web1"], "100%")
    shown = api("GET", "/resources/cache").get_json()
    assert (shown["group"], shown["server"], [one["server"] for one in shown["places"]]) == (
        "web", None, ["web2", "web1"])
    assert [one["name"] for one in api("GET", "/resources?group=web").get_json()["resources"]] == ["cache"]
    assert api("GET", "/resources/cache/values").get_json()["hosts"] == ["cache@web2", "cache@web1"]
    on = api("POST", "/resources/cache/runs", {"action": "restart", "on": ["web1"]}).get_json()["run"]
    assert [one["server"] for one in on["servers"]] == ["web1"]
    assert [one["name"] for one in api("GET", "/groups").get_json()["groups"]] == ["web"]
    assert problem(api("DELETE", "/groups/web"))["code"] == "group_in_use"
    assert problem(api("DELETE", "/servers/web1"))["code"] == "server_in_use"
    assert api("PATCH", "/groups/web", {"batch": "1"}).get_json()["batch"] == "1"


@pytest.mark.parametrize("method,path,body,status,code", [
    ("PUT", "/resources/x", {"kind": "redis_db", "server": "web1", "group": "edge"}, 422, "invalid_values"),
    ("PUT", "/resources/x", {"kind": "redis_db"}, 422, "invalid_values"),
    ("PUT", "/resources/x", {"kind": "redis_db", "group": "nowhere"}, 404, "not_found"),
    ("PUT", "/resources/x", {"kind": "redis_db", "group": "edge", "batch": "0"}, 422, "invalid_values"),
    ("POST", "/resources/market/runs", {"action": "main", "on": ["edge1"]}, 422, "invalid_values"),
    ("POST", "/resources/market/runs", {"action": "deploy", "on": ["web1"]}, 404, "unknown"),
    ("POST", "/resources/market/runs", {"action": "deploy", "on": "edge1"}, 422, "invalid_values"),
    ("POST", "/groups", {"name": "x y"}, 422, "invalid_values"),
    ("POST", "/groups", {"name": "edge"}, 409, "name_taken"),
    ("POST", "/groups", {"name": "new", "servers": ["nowhere"]}, 404, "unknown"),
    ("PATCH", "/groups/edge", {"remove": ["edge1"]}, 409, "group_in_use"),
    ("POST", "/runs/4/retry", {}, 409, "nothing_to_retry"),
    ("GET", "/resources/market/logs?server=web1", None, 404, "unknown"),
])
def test_what_cannot_be_is_refused_with_a_code(api: Client, run: int, method: str, path: str, body: Any, status: int,
                                               code: str) -> None:
    answer = api(method, path, body)
    assert (answer.status_code, problem(answer)["code"]) == (status, code), answer.text


def test_the_command_line_has_groups_and_does_it_again(signed_in: str) -> None:  # noqa: F811
    with db.session() as session:
        number = fleet(session).id
    assert "edge1 edge2 edge3" in webops("group", "list").output
    shown = webops("group", "show", "edge").output
    assert "edge1, edge2, edge3" in shown and "market" in shown
    refused = webops("group", "remove", "edge")
    assert refused.exit_code == Exit.REFUSED and "market lives on edge" in refused.output
    assert "edge (3 servers)" in webops("list").output
    status = webops("status", "market").output
    assert re.search(r"edge3\s+● ok", status), status
    told = webops("run", "show", str(number)).output
    assert re.search(r"edge3\s+○ not begun", told) and "edge2: Apply migrations" in told
    assert f"Only where it did not succeed: webops run retry {number}" in told
    handed = webops("run", "retry", str(number), "--no-wait")
    assert handed.exit_code == Exit.OK and "is queued" in handed.output
    with db.session() as session:
        row = session.query(Resource).filter_by(name="market").one()
        assert session.query(Run).filter_by(resource_id=row.id).count() == 2
