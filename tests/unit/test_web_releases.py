"""Releases on the pages and through the API: seen, compared, gone back to; what a variable holds is nowhere."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from panel.link import client
from panel.runs import releases, spec
from panel.store import db
from panel.store.models import Resource, Run
from tests.believable import kept_releases
from tests.programs import Client, problem

DIFFERENCE = {
    "a": {"id": "a", "commit": "77b1e04"}, "b": {"id": "b", "commit": "81aa0de"}, "commits_unknown": "",
    "commits": [{"id": "81aa0de", "short": "81aa0de", "author": "Ada", "subject": "Fix <typo>", "at": ""}],
    "commits_more": 0, "commits_gone": [], "commits_gone_more": 0,
    "environment": {"added": ["SENTRY"], "removed": [], "changed": ["MOTTO"]},
    "migrations": {"added": ["book.0002_note"], "removed": []}}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the link is asked; it answers the same difference each time."""
    heard: list[dict[str, Any]] = []

    def ask(method: str, timeout: float = 20, **params: Any) -> dict[str, Any]:
        heard.append({"method": method, **params})
        return DIFFERENCE

    monkeypatch.setattr(client, "ask", ask)
    return heard


def rolled_back(live: int) -> None:
    with db.session() as session:
        row = session.query(Resource).filter_by(name="guestbook").one()
        row.places[0].observed_data = {**row.observed_data, "releases": kept_releases(live)}
        session.commit()


def test_the_page_lists_them_and_leads_back_to_each(ada: FlaskClient) -> None:
    page = ada.get("/resources/guestbook/releases").text
    ids = [one["id"] for one in kept_releases()]
    assert "4 releases kept on web1" in page and all(one in page for one in ids)
    assert page.count("Roll back…") == 3, "neither to the live one nor to one that never served"
    assert "by hand" in page and 'href="/runs/3"' in page
    form = ada.get(f"/resources/guestbook/actions/rollback?release={ids[3]}").text
    assert f'value="{ids[3]}"' in form and "With its data" in form and "What was written since is lost" in form
    assert ada.get("/resources/docs/releases").status_code == 200
    assert ada.get("/resources/guestbook-db/releases").status_code == 404


def test_two_are_compared_without_javascript(ada: FlaskClient, asked: list[dict[str, Any]]) -> None:
    ids = [one["id"] for one in kept_releases()]
    page = ada.get(f"/resources/guestbook/releases?a={ids[3]}&b={ids[1]}").text
    assert (asked[0]["method"], asked[0]["a"], asked[0]["b"]) == ("compare", ids[3], ids[1])
    for said in ("Fix &lt;typo&gt;", "SENTRY", "another value", "book.0002_note"):
        assert said in page
    gone = ada.get("/resources/guestbook/releases?a=20200101-000000-0000000&b=x")
    assert gone.status_code == 409 and "There is no release" in gone.text and len(asked) == 1


def test_after_going_back_one_line_says_so(ada: FlaskClient) -> None:
    assert "Rolled back" not in ada.get("/resources/guestbook").text
    rolled_back(3)
    page = ada.get("/resources/guestbook").text
    assert "Rolled back to" in page and "the branch is ahead by 2 commits" in page
    assert "the values asked for since are not live (SENTRY, WEB_CONCURRENCY)" in page


def test_what_is_not_live_since_in_words(filled: Any) -> None:
    with db.session() as session:
        row = session.query(Resource).filter_by(name="guestbook").one()
        assert releases.went_back(releases.of(session, row.places[0])) is None
        row.places[0].observed_data = {"releases": kept_releases(2)}
        found = releases.of(session, row.places[0])
        back = releases.went_back(found)
        assert back is not None and releases.in_words(back) == (
            f"Rolled back to {found[2].id} by ada (run 4); the values asked for since are not live "
            "(SENTRY, WEB_CONCURRENCY).")
        assert found[1].seconds == pytest.approx(12, abs=3), "as its run's page shows it"
        for told in (None, [{}], ["x"], [{"id": "y", "run": "x", "back": 5}]):
            row.places[0].observed_data = {"releases": told}
            releases.went_back(releases.of(session, row.places[0]))


def test_the_api_lists_and_compares(api: Client, asked: list[dict[str, Any]]) -> None:
    rolled_back(3)
    found = api("GET", "/resources/guestbook/releases").get_json()
    ids = [one["id"] for one in found["releases"]]
    assert [one["live"] for one in found["releases"]] == [False, False, False, True, False]
    assert found["releases"][0]["actor"] is None and found["releases"][4]["actor"] == "by hand"
    assert (found["rolled_back"]["to"], found["rolled_back"]["commits"]) == (ids[3], 2)
    told = api("GET", f"/resources/guestbook/releases/77b1e04..{ids[1]}").get_json()
    assert told["environment"]["added"] == ["SENTRY"] and asked[0]["a"] == ids[3]
    for wrong, status, code in (("x", 422, "invalid_query"), ("..", 422, "invalid_query"), ("77b1..x", 404, "unknown")):
        answer = api("GET", f"/resources/guestbook/releases/{wrong}")
        assert (answer.status_code, problem(answer)["code"]) == (status, code), wrong


def test_a_run_says_who_it_is_to_the_play(filled: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spec, "key_of", lambda server: "key")
    with db.session() as session:
        told = spec.build(session.get_one(Run, 3), tmp_path).told
    assert told["variables"]["webops_run"] == {"id": 3, "actor": "grace"}
