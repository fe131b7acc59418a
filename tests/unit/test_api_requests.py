"""The API: who may, what it refuses, and that every answer can be read by a program."""

from __future__ import annotations

import json
import re
from typing import Any

from flask import Flask
from flask.testing import FlaskClient

from panel.store import db
from panel.store.models import User
from tests.believable import PASSWORD
from tests.programs import Client, problem

GET = ["/kinds", "/kinds/django_app", "/servers", "/servers/web1", "/resources", "/resources/guestbook",
       "/resources/guestbook/values", "/runs", "/runs/1", "/runs/1/events", "/tokens/current"]


def test_everything_can_be_read_with_a_token_and_nothing_without(api: Client) -> None:
    for path in GET:
        answer = api("GET", path)
        assert answer.status_code == 200, answer.text
        assert answer.content_type == "application/json"
        assert "Access-Control-Allow-Origin" not in answer.headers
        for credentials in ("", "Bearer wo_1_" + "x" * 43, "Basic eA=="):
            refused = api("GET", path, headers={"Authorization": credentials})
            assert (refused.status_code, problem(refused)["code"]) == (401, "sign_in_needed")
            assert refused.headers["WWW-Authenticate"].startswith("Bearer")


def test_a_browser_session_opens_no_door_of_the_api(ada: FlaskClient) -> None:
    assert ada.get("/api/v1/runs").status_code == 401


UNREADABLE = {
    "half": b"{", "list": b"[]", "text": b'"x"', "empty": b"", "nan": b'{"name": NaN, "address": "x"}',
    "huge": b'{"name": 1e999}', "twice": b'{"name": "a", "name": "b"}', "twice inside": b'{"n": {"a": 1, "a": 2}}',
    "not UTF-8": b'{"name": "\xff"}', "surrogate": rb'{"name": "\ud800"}',
    "deep": b'{"a":' * 10000 + b"1" + b"}" * 10000, "nested": b"[" * 40 + b"]" * 40,
}


def test_a_body_that_cannot_be_read_is_refused_in_words(api: Client) -> None:
    for name, raw in UNREADABLE.items():
        answer = api("POST", "/servers", data=raw, content_type="application/json")
        assert (answer.status_code, problem(answer)["code"]) == (400, "invalid_json"), name
    answer = api("POST", "/servers", data=b'{"name": "' + b"x" * (2 << 20) + b'"}', content_type="application/json")
    assert (answer.status_code, problem(answer)["code"]) == (413, "body_too_large")


def test_only_json_is_read(api: Client) -> None:
    answer = api("POST", "/servers", data={"name": "x"})
    assert (answer.status_code, problem(answer)["code"]) == (415, "unsupported_media_type")


NOT_THERE = [
    ("GET", "/nothing", 404, "not_found"), ("PATCH", "/runs", 405, "method_not_allowed"),
    ("GET", "/runs/99999999999999999999", 404, "not_found"), ("GET", "/runs/1 OR 1=1", 404, "not_found"),
    ("GET", "/runs/-1", 404, "not_found"), ("GET", "/resources/../1", 404, "not_found"),
    ("GET", "/resources/" + "x" * 5000, 404, "not_found"), ("GET", "/kinds/nope", 404, "unknown_kind"),
    ("GET", "/runs?limit=-1", 422, "invalid_query"), ("GET", "/runs?limit=1000000000", 422, "invalid_query"),
    ("GET", "/runs?sort=password_hash", 422, "invalid_query"), ("GET", "/runs?state=x", 422, "invalid_query"),
    ("GET", "/runs?after=tampered", 422, "invalid_query"), ("GET", "/runs?limit=1&limit=2", 422, "invalid_query"),
    ("GET", "/runs?limit=%D9%A1", 422, "invalid_query"), ("GET", "/resources/guestbook/values?secrets=yes", 422,
                                                         "invalid_query"),
]


def test_what_is_not_there_or_cannot_be_asked(api: Client) -> None:
    for method, path, status, code in NOT_THERE:
        answer = api(method, path)
        assert (answer.status_code, problem(answer)["code"]) == (status, code), path


def test_a_token_in_the_address_is_refused_even_where_it_is_right(api: Client) -> None:
    token = api.headers["Authorization"].split()[1]
    answer = api.client.get(f"/api/v1/runs?token={token}")
    assert (answer.status_code, problem(answer)["code"]) == (400, "token_in_url")


def test_lists_come_page_by_page_without_gap_or_repetition(api: Client) -> None:
    for path, key, name in (("/runs", "runs", "id"), ("/resources", "resources", "name"),
                            ("/servers", "servers", "name"),
                            ("/runs/1/events", "events", "number")):
        whole = [row[name] for row in api("GET", f"{path}?limit=1000").get_json()[key]]
        seen: list[Any] = []
        after = ""
        while after is not None:
            page = api("GET", f"{path}?limit=2{f'&after={after}' if after else ''}").get_json()
            assert len(page[key]) <= 2
            seen += [row[name] for row in page[key]]
            after = page["next"]
        assert seen == whole and len(set(seen)) == len(seen) > 1


def test_a_name_and_a_password_are_exchanged_for_a_token_that_can_be_withdrawn(filled: Flask) -> None:
    client = filled.test_client()
    made = client.post("/api/v1/tokens", json={"name": "ada", "password": PASSWORD})
    assert made.status_code == 201
    ada = Client(client, made.get_json()["token"])
    assert ada("GET", "/tokens/current").get_json()["user"] == {"name": "ada", "is_admin": True}
    assert ada("DELETE", "/tokens/current").status_code == 204
    assert ada("GET", "/tokens/current").status_code == 401


def test_a_wrong_password_and_an_unknown_name_are_refused_alike(filled: Flask) -> None:
    client = filled.test_client()
    answers = [client.post("/api/v1/tokens", json={"name": name, "password": "wrong password"})
               for name in ("ada", "nobody-of-that-name")]
    assert [answer.status_code for answer in answers] == [401, 401]
    assert answers[0].get_json() == answers[1].get_json()


def test_only_administrators_see_and_add_people(api: Client, plain: Client) -> None:
    assert plain("GET", "/users").status_code == 403
    assert plain("POST", "/users", {"name": "eve"}).status_code == 403
    made = api("POST", "/users", {"name": "eve"})
    assert made.status_code == 201
    password = made.get_json()["password"]
    assert api.client.post("/api/v1/tokens", json={"name": "eve", "password": password}).status_code == 201
    assert problem(api("POST", "/users", {"name": "eve"}))["code"] == "name_taken"
    refused = api("POST", "/users", {"name": "-x\n", "password": "short", "is_admin": "yes"})
    assert {one["field"] for one in problem(refused)["errors"]} == {"name", "password", "is_admin"}


def test_no_answer_holds_a_secret(api: Client) -> None:
    with db.session() as session:
        kept = [row.password_hash for row in session.query(User)]
    everything = "".join(api("GET", path).text for path in GET)
    assert not any(one in everything for one in kept)
    assert "BEGIN OPENSSH PRIVATE KEY" not in everything


def test_every_route_of_the_api_declares_a_guard_and_is_known_to_these_tests(filled: Flask) -> None:
    rules = {(rule.rule.removeprefix("/api/v1"), method) for rule in filled.url_map.iter_rules()
             for method in rule.methods or () if rule.rule.startswith("/api/") and method in ("GET", "POST", "PUT",
                                                                                             "DELETE")}
    anonymous = Client(filled.test_client(), "")
    for path, method in rules - {("/tokens", "POST")}:
        concrete = re.sub(r"<[^>]+>", "1", path)
        assert anonymous(method, concrete, {} if method in ("POST", "PUT") else None).status_code == 401, (method, path)


def test_a_stream_gives_every_event_once_wherever_it_is_taken_up_again(api: Client) -> None:
    whole = [row["number"] for row in api("GET", "/runs/1/events").get_json()["events"]]
    seen: list[int] = []
    for after in ("0", str(whole[len(whole) // 2])):
        text = api("GET", "/runs/1/stream", headers={"Last-Event-ID": after}).text
        got = [int(found) for found in re.findall(r"^id: (\d+)$", text, re.M)]
        assert got == [number for number in whole if number > int(after)]
        seen = seen or got
    ended = json.loads(text.strip().rsplit("data: ", 1)[1])
    assert seen == whole
    assert (ended["id"], ended["state"]) == (1, "succeeded")


def test_a_number_that_is_none_of_ours_is_refused(api: Client) -> None:
    for number in ("-1", "abc", "99999999999999999999", "1.5", "0x1", "٣".encode().decode("latin-1")):
        answer = api("GET", "/runs/1/stream", headers={"Last-Event-ID": number})
        assert (answer.status_code, problem(answer)["code"]) == (400, "invalid_event_id"), number


def test_a_number_of_the_future_begins_anew_and_says_so(api: Client) -> None:
    text = api("GET", "/runs/1/stream", headers={"Last-Event-ID": "1000000"}).text
    assert "event: reset" in text
    assert re.search(r"^id: 1$", text, re.M)
