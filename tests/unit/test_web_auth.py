"""Signing in, staying signed in, and who may do what."""

from __future__ import annotations

from datetime import timedelta

import pytest
from click.testing import CliRunner
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select, update

from cli.main import root
from panel.store import db
from panel.store.models import SignIn, Token, User
from panel.web import tokens
from panel.web.account import safe_next
from panel.web.auth import ABSOLUTE, IDLE, Guard
from tests.believable import PASSWORD, fill_people
from tests.panels import Embedded, send, sign_in, token_of

EXAMPLE = {"name": "guestbook", "number": 1, "kind_name": "django_app", "kind": "django_app", "action_name": "deploy",
           "action": "deploy", "token_id": 1, "tag": "x", "user": "grace"}
#: What anybody may see; every other page asks who is there.
OPEN = {"account.sign_in", "account.begin_session", "assets.file", "health.show"}


def _paths(app: Flask) -> list[tuple[str, str, str]]:
    adapter = app.test_request_context().request
    assert adapter
    found = []
    with app.test_request_context():
        from flask import url_for

        for rule in app.url_map.iter_rules():
            values = {key: EXAMPLE.get(key, 1 if "int" in type(rule._converters[key]).__name__.lower() else "guestbook")
                      for key in rule.arguments}
            for method in sorted(rule.methods or ()):
                if method in ("GET", "POST", "PUT", "DELETE"):
                    found.append((rule.endpoint, method, url_for(rule.endpoint, **values)))
    return found


def test_every_route_declares_who_may_call_it(app: Flask) -> None:
    for rule in app.url_map.iter_rules():
        guard = getattr(app.view_functions[rule.endpoint], "guard", None)
        assert isinstance(guard, Guard), f"{rule.endpoint}: put @signed_in, @admin, @anyone or @token on it"
        assert guard is not Guard.ANYONE or rule.endpoint in OPEN or rule.endpoint.startswith("api.make_token"), (
            f"{rule.endpoint} is open to everybody: if that is meant, add it to OPEN here")


def test_who_is_not_signed_in_sees_nothing(filled: Flask) -> None:
    stranger = filled.test_client()
    sign_in_page = stranger.get("/sign-in").text
    for endpoint, method, path in _paths(filled):
        guard = filled.view_functions[endpoint].guard  # type: ignore[attr-defined]
        if guard is Guard.ANYONE:
            continue
        answer = stranger.open(path, method=method, data={"csrf_token": token_of(sign_in_page)})
        if guard is Guard.TOKEN:
            assert answer.status_code == 401, (endpoint, method)
            assert answer.content_type == "application/problem+json"
            assert answer.json["code"] == "sign_in_needed"
        else:
            assert answer.status_code == 303, (endpoint, method, answer.status_code)
            assert answer.location.startswith("/sign-in"), endpoint


def test_plain_users_use_everything_but_the_list_of_people(grace: FlaskClient, filled: Flask) -> None:
    page = grace.get("/").text
    for endpoint, method, path in _paths(filled):
        guard = filled.view_functions[endpoint].guard  # type: ignore[attr-defined]
        if guard is Guard.ADMIN:
            answer = grace.open(path, method=method, data={"csrf_token": token_of(page)})
            assert answer.status_code == 403, (endpoint, method)
    assert 'href="/people"' not in page
    assert grace.get("/resources/guestbook").status_code == 200


def test_a_wrong_password_is_said_beside_the_form(filled: Flask) -> None:
    answer = sign_in(filled.test_client(), "ada", "wrong")
    assert answer.status_code == 401
    assert "This name and password do not fit together." in answer.text
    assert 'value="ada"' in answer.text
    assert sign_in(filled.test_client(), "nobody", "wrong").text.count("do not fit together") == 1


def test_many_wrong_passwords_are_slowed_down(filled: Flask) -> None:
    client = filled.test_client()
    answers = [sign_in(client, "ada", "wrong").status_code for _ in range(7)]
    assert answers == [401] * 5 + [429] * 2
    slowed = sign_in(client)
    assert slowed.status_code == 429, "also the right password has to wait"
    assert int(slowed.headers["Retry-After"]) > 0
    assert "Too many tries. Wait" in slowed.text
    other = filled.test_client()
    assert sign_in(other, "grace").status_code == 303, "somebody else may still sign in"


def test_signing_in_is_closed_while_tries_cannot_be_counted(ada: FlaskClient, filled: Flask, redis: Embedded) -> None:
    redis.stop()
    answer = sign_in(filled.test_client())
    assert answer.status_code == 503
    assert "the queue (Redis) does not answer" in answer.text
    assert ada.get("/resources").status_code == 200, "who is signed in goes on working"


def test_the_cookie_cannot_be_read_by_scripts_or_sent_by_other_sites(filled: Flask) -> None:
    cookie = sign_in(filled.test_client()).headers["Set-Cookie"]
    assert cookie.startswith("webops=")
    assert "HttpOnly" in cookie and "SameSite=Lax" in cookie


def test_over_https_the_cookie_belongs_to_this_host_alone(database: object, redis: Embedded,
                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    from panel.app import create_app
    from panel.settings import settings

    monkeypatch.setenv("WEBOPS_BASE_URL", "https://panel.example.org")
    settings.cache_clear()
    with db.session() as session:
        fill_people(session)
    client = create_app().test_client()
    answer = client.get("/sign-in", base_url="https://panel.example.org")
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith("__Host-webops=") and "Secure" in cookie and "Path=/" in cookie and "Domain" not in cookie
    assert "max-age" in answer.headers["Strict-Transport-Security"]


def test_a_session_gets_a_new_id_and_signing_out_ends_it(filled: Flask) -> None:
    client = filled.test_client()
    client.get("/sign-in")
    before = client.get_cookie("webops")
    sign_in(client)
    copied = client.get_cookie("webops")
    assert before and copied and before.value != copied.value
    thief = filled.test_client()
    thief.set_cookie("webops", copied.value)
    assert thief.get("/").status_code == 200
    send(client, "/sign-out", "/")
    assert thief.get("/").status_code == 303, "a copy of the cookie is worth nothing after signing out"


def test_a_new_password_ends_every_other_session(ada: FlaskClient, filled: Flask) -> None:
    elsewhere = filled.test_client()
    sign_in(elsewhere)
    answer = send(ada, "/account/password", "/account", old=PASSWORD, new="a better one by far")
    assert answer.status_code == 303
    assert ada.get("/").status_code == 200
    assert elsewhere.get("/").status_code == 303
    assert sign_in(filled.test_client(), "ada", "a better one by far").status_code == 303


@pytest.mark.parametrize(("by", "path", "page", "form"), [
    ("ada", "/people/grace/password", "/people", {}),
    ("ada", "/people/grace/sessions/end", "/people", {}),
    ("grace", "/account/password", "/account", {"old": PASSWORD, "new": "a better one by far"}),
    ("grace", "/account/browsers/end", "/account", {}),
    ("the panel's machine", "", "", {}),
])
def test_whoever_is_signed_out_everywhere_has_no_token_left(filled: Flask, by: str, path: str, page: str,
                                                            form: dict[str, str]) -> None:
    with db.session() as session:
        of = {one.name: tokens.make(session, one, "laptop") for one in session.scalars(select(User))}
    client, elsewhere = filled.test_client(), filled.test_client()
    sign_in(elsewhere, "grace")

    def answers(name: str) -> int:
        return filled.test_client().get("/api/v1/runs", headers={"Authorization": f"Bearer {of[name]}"}).status_code

    assert (answers("grace"), answers("ada"), elsewhere.get("/").status_code) == (200, 200, 200)
    if path:
        sign_in(client, by)
        done = send(client, path, page, **form)
        shown = done.text if done.status_code == 200 else client.get(done.location).text
        assert "API tokens are refused from now on." in shown
    else:
        assert CliRunner().invoke(root, ["user", "password", "grace"]).exit_code == 0
    assert (answers("grace"), answers("ada"), elsewhere.get("/").status_code) == (401, 200, 303)
    assert not path or client.get("/").status_code == 200, "who asked for it goes on"


def test_a_bad_new_password_is_refused_in_words(ada: FlaskClient) -> None:
    answer = send(ada, "/account/password", "/account", old="not it", new="short")
    assert answer.status_code == 422
    assert "This is not your password." in answer.text and "Use at least 10 characters." in answer.text


def test_sessions_end_by_themselves(ada: FlaskClient, filled: Flask) -> None:
    for column, age in (("seen_at", IDLE), ("created_at", ABSOLUTE)):
        client = filled.test_client()
        sign_in(client)
        with db.session() as session:
            session.execute(update(SignIn).values({column: db.now(session) - age - timedelta(minutes=1)}))
            session.commit()
        assert client.get("/").status_code == 303, column


def test_raising_the_epoch_ends_sessions(ada: FlaskClient) -> None:
    with db.session() as session:
        session.execute(update(User).values(session_epoch=User.session_epoch + 1))
        session.commit()
    assert ada.get("/").status_code == 303


@pytest.mark.parametrize("wanted", ["//evil.com", "/\\evil.com", "///evil", "https:evil", "\t//evil", "https://evil.com",
                                    "javascript:alert(1)", "", "/a\nb", "/\t/evil"])
def test_after_signing_in_nobody_is_sent_elsewhere(app: Flask, wanted: str) -> None:
    with app.test_request_context():
        assert safe_next(wanted) == "/"


def test_after_signing_in_one_is_where_one_wanted_to_be(filled: Flask) -> None:
    client = filled.test_client()
    wanted = client.get("/resources?kind=django_app").location
    answer = send(client, wanted, name="ada", password=PASSWORD)
    assert answer.location == "/resources?kind=django_app"


def test_without_any_user_the_page_says_how_to_make_one(app: Flask) -> None:
    assert "webops user add NAME --admin" in app.test_client().get("/sign-in").text


def test_a_form_needs_its_token_and_its_origin(ada: FlaskClient) -> None:
    page = ada.get("/account").text
    good = {"csrf_token": token_of(page), "token_name": "laptop"}
    assert ada.post("/account/tokens", data={"token_name": "x"}).status_code == 400
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "https://evil.example"},
                    {"Origin": "null"}):
        answer = ada.post("/account/tokens", data=good, headers=headers)
        assert answer.status_code == 403, headers
        assert "was not sent from this panel" in answer.text
    with db.session() as session:
        assert not session.scalars(select(Token)).all()
    assert ada.post("/account/tokens", data=good, headers={"Sec-Fetch-Site": "same-origin"}).status_code == 200


def test_get_changes_nothing(filled: Flask) -> None:
    for rule in filled.url_map.iter_rules():
        verbs = {"cancel", "repeat", "remove", "create", "add_token", "revoke_token", "set_password", "sign_out",
                 "start", "make_ready", "accept_host_key", "scan", "test", "end_others", "end_sessions"}
        if rule.endpoint.rpartition(".")[2] in verbs and not rule.endpoint.startswith("api."):
            assert "GET" not in (rule.methods or ()), rule.endpoint


def test_a_token_is_shown_once_and_stored_as_a_digest(ada: FlaskClient, filled: Flask) -> None:
    shown = send(ada, "/account/tokens", "/account", token_name="laptop").text
    text = shown.split("<pre>wo_")[1].split("</pre>")[0]
    assert text not in ada.get("/account").text
    client = filled.test_client()
    assert client.get("/api/v1/runs", headers={"Authorization": f"Bearer wo_{text}"}).status_code == 200
    with db.session() as session:
        stored = session.scalars(select(Token)).one()
        assert text not in stored.digest
        assert stored.used_at is not None
        tokens.revoke(session, stored)
    assert client.get("/api/v1/runs", headers={"Authorization": f"Bearer wo_{text}"}).status_code == 401


def test_a_token_in_the_address_is_refused(ada: FlaskClient) -> None:
    answer = ada.get("/runs?token=wo_1_abc")
    assert answer.status_code == 400
    assert "never belongs into an address" in answer.text


def test_an_administrator_makes_and_removes_people(ada: FlaskClient, filled: Flask) -> None:
    shown = send(ada, "/people", name="linus")
    password = shown.text.split("<pre>")[1].split("</pre>")[0]
    assert password not in ada.get("/people").text
    client = filled.test_client()
    assert sign_in(client, "linus", password).status_code == 303
    assert send(ada, "/people", name="Linus").status_code == 422
    assert send(ada, "/people", name="<b>").status_code == 422
    assert send(ada, "/people/linus/removal", confirm="lin").status_code == 422
    assert send(ada, "/people/linus/removal", confirm="linus").status_code == 303
    assert client.get("/").status_code == 303
    assert ada.get("/people/ada/removal").status_code == 403, "nobody removes themselves"
