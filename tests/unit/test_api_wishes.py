"""The API: wishes become rows and runs by the same doors as on the pages, or are refused parameter by parameter."""

from __future__ import annotations

from typing import Any

import pytest

from panel.catalog import catalog
from panel.link import client as link
from panel.store import db
from panel.store.models import Resource, Run, Server, State
from tests.programs import Client, problem

HOSTILE = "{{ lookup('pipe','touch CANARY') }}"
TEXTS = [HOSTILE, "$(touch CANARY)", "`x`", "a'b\"c", "a\nb", "; }", "../x", "-x", "ext::sh", "file:///etc", "\u202e"]
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1bMBGsEnNhxpWZRYjHPbQ6yJY8qZTNs+5oH9pTz0pX"
DATABASE = {"kind": "postgres_db", "server": "web1", "values": {}}


def put(api: Client, name: str, kind: str, values: dict[str, Any], **more: Any) -> Any:
    return api("PUT", f"/resources/{name}", {"kind": kind, "server": "web1", "values": values, **more})


def test_a_wish_becomes_a_resource_and_a_queued_run(api: Client) -> None:
    answer = put(api, "fresh-cert", "ssl_cert", {"domain": "new.example.org", "source": "self_signed"})
    assert answer.status_code == 202, answer.text
    run = answer.get_json()["run"]
    assert (run["state"], run["resource"], run["action"], run["actor"], run["door"]) == (
        "queued", "fresh-cert", "main", "ada", "api")
    assert run["servers"][0]["host"] == "fresh-cert@web1"
    shown = api("GET", "/resources/fresh-cert").get_json()
    assert shown["values"] == {"ssl_cert_domain": "new.example.org", "ssl_cert_source": "self_signed"}
    assert api("GET", f"/runs/{run['id']}").get_json()["url"].endswith(f"/runs/{run['id']}")


def test_a_check_leaves_no_resource_behind(api: Client) -> None:
    answer = put(api, "later", "ssl_cert", {"domain": "later.example.org"}, mode="check", timeout=60)
    assert (answer.status_code, answer.get_json()["run"]["mode"], answer.get_json()["run"]["timeout"]) == (
        202, "check", 60)
    assert api("GET", "/resources/later").status_code == 404


def test_a_secret_is_kept_counted_and_never_shown(api: Client) -> None:
    values = api("GET", "/resources/guestbook").get_json()["values"]
    secret = [{"name": "STRIPE", "value": "sk_live_9c81"}, {"name": "SENTRY_DSN", "value": None}]
    answer = put(api, "guestbook", "django_app", {**values, "secrets": secret})
    assert answer.status_code == 202, answer.text
    shown = api("GET", "/resources/guestbook")
    assert shown.get_json()["secrets"] == {"django_app_secrets": ["STRIPE", "SENTRY_DSN"]}
    assert "sk_live_9c81" not in shown.text + answer.text
    assert "sk_live_9c81" not in api("GET", "/resources/guestbook/values").text
    assert "sk_live_9c81" in api("GET", "/resources/guestbook/values?secrets=1").text
    with db.session() as session:
        assert b"sk_live_9c81" not in (session.query(Resource).filter_by(name="guestbook").one().secrets or b"")


def test_each_parameter_that_is_refused_is_named_with_what_is_allowed(api: Client) -> None:
    answer = put(api, "app2", "django_app", {"repo": "ext::sh -c x", "domain": "a.com; }", "ref": "-x", "nonsense": 1,
                                             "environment": [{"name": "1A", "value": "x"}]})
    found = {one["field"]: one["code"] for one in problem(answer)["errors"]}
    assert answer.status_code == 422
    assert found == {"repo": "git_scheme", "domain": "invalid_domain", "ref": "branch_option",
                     "nonsense": "unknown_parameter", "environment[0].name": "invalid_env_name"}


@pytest.mark.parametrize("name", ["a; touch x", "app\n", "-rf", "a--b", "root", "nginx", "x" * 40, "{{x}}", "é"])
def test_a_name_that_cannot_be_is_refused(name: str) -> None:
    from panel.catalog import formats

    assert formats.problem("name", name), "the same words as in the API's 422 below"


def test_hostile_text_is_refused_or_stays_text_in_every_text_parameter(api: Client) -> None:
    for kind in catalog().kinds.values():
        for parameter in kind.main.parameters:
            if parameter.type in ("str", "path") and not parameter.choices:
                for text in TEXTS:
                    _try(api, kind.name, parameter.name, text)


def _try(api: Client, kind: str, parameter: str, text: str) -> None:
    needed = {"repo": "https://git.example.org/x.git", "domain": "t.example.org", "upstream": "http://127.0.0.1:9000"}
    good = {f"{kind}_{key}": value for key, value in needed.items()
            if catalog().kind(kind).main.parameter(f"{kind}_{key}")}
    answer = put(api, "hostile", kind, {**good, parameter: text}, mode="check")
    assert answer.status_code in (202, 422), answer.text
    if answer.status_code == 202:
        with db.session() as session:
            run = session.get(Run, answer.get_json()["run"]["id"])
            assert run and (parameter not in run.values or run.values[parameter] == text)


def test_conflicts_are_409_in_words(api: Client) -> None:
    taken = put(api, "guestbook", "ssl_cert", {"domain": "x.example.org"})
    assert (taken.status_code, problem(taken)["code"]) == (409, "name_taken")
    part = put(api, "guestbook-db", "postgres_db", {})
    assert (part.status_code, problem(part)["code"]) == (409, "part_of_another")


def test_an_action_is_a_run_of_its_own(api: Client) -> None:
    answer = api("POST", "/resources/guestbook/runs", {"action": "restart"})
    assert (answer.status_code, answer.get_json()["run"]["action"]) == (202, "restart")
    unknown = api("POST", "/resources/guestbook/runs", {"action": "explode"})
    assert unknown.status_code in (404, 409)
    assert "restart" in problem(unknown)["detail"]


def test_a_queued_run_can_be_canceled_twice_without_harm(api: Client) -> None:
    number = put(api, "c1", "ssl_cert", {"domain": "c1.example.org"}).get_json()["run"]["id"]
    for _ in range(2):
        answer = api("POST", f"/runs/{number}/cancellation")
        assert (answer.status_code, answer.get_json()["run"]["state"]) == (202, State.CANCELED)


def test_a_host_key_is_accepted_only_by_the_fingerprint_that_is_offered(api: Client) -> None:
    with db.session() as session:
        session.add(Server(name="fresh", address="192.0.2.77", offered_host_key=KEY, public_key="", private_key=b""))
        session.commit()
    shown = api("GET", "/servers/fresh").get_json()
    assert (shown["ready"], shown["host_key"]["accepted"]) == (False, [])
    wrong = api("POST", "/servers/fresh/host-key", {"fingerprint": "SHA256:nonsense"})
    assert (wrong.status_code, problem(wrong)["code"]) == (409, "wrong_fingerprint")
    right = shown["host_key"]["offered"][0]["fingerprint"]
    for _ in range(2):
        assert api("POST", "/servers/fresh/host-key", {"fingerprint": right}).status_code == 200
    assert api("GET", "/servers/fresh").get_json()["host_key"]["accepted"][0]["fingerprint"] == right


def test_the_login_for_the_first_contact_is_checked_and_never_shown(api: Client) -> None:
    refused = api("POST", "/servers/web1/runs", {"login": {"user": "root -oX", "pass": "x"}})
    assert refused.status_code == 422
    alone = api("POST", "/servers/web1/runs", {"login": {"user": "root"}, "mode": "check"}).get_json()["run"]
    assert alone["mode"] == "check", "with WebOps' own key"
    made = api("POST", "/servers/web1/runs", {"action": "main", "login": {"user": "root", "password": "s3cr3t-once"}})
    assert made.status_code == 202, made.text
    assert "s3cr3t-once" not in made.text
    assert "s3cr3t-once" not in api("GET", f"/runs/{made.get_json()['run']['id']}").text


def test_what_is_said_of_a_server_goes_with_making_it_ready(api: Client) -> None:
    """And nothing else does, so that what was said before stays there."""
    plain = api("POST", "/servers/web1/runs", {"action": "main"}).get_json()["run"]
    said = {"allowed_from": ["192.0.2.0/24"], "unattended_upgrades": False, "journal_size": "2G"}
    made = api("POST", "/servers/web1/runs", {"action": "main", "values": said}).get_json()["run"]
    with db.session() as session:
        runs = [session.get_one(Run, one["id"]).values for one in (plain, made)]
    assert set(runs[0]) == {"server_public_keys"}
    assert runs[1] == {**runs[0], **{f"server_{name}": value for name, value in said.items()}}
    for wrong, code in (({"allowed_from": ["web1.example.org"]}, "invalid_network"), ({"journal_size": "much"},
                        "invalid_size"), ({"public_keys": ["ssh-ed25519 AAAA"]}, "unknown_parameter")):
        answer = api("POST", "/servers/web1/runs", {"action": "main", "values": wrong})
        assert (answer.status_code, problem(answer)["errors"][0]["code"]) == (422, code), answer.text
    assert api("POST", "/servers/web1/runs", {"action": "remove", "values": said}).status_code == 422


def test_a_server_address_is_refused_before_anybody_connects(api: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(link, "ask", lambda *words, **more: asked.append(words))
    for address in ("-oProxyCommand=touch x", "h -p 22", "user@h", "h;id", "127.0.0.1\n"):
        answer = api("POST", "/servers", {"name": "s1", "address": address})
        assert (answer.status_code, problem(answer)["errors"][0]["code"]) == (422, "invalid_host")
    for port in ("22 -o", 65536, True, 22.5, -1):
        answer = api("POST", "/servers", {"name": "s1", "address": "192.0.2.1", "port": port})
        assert (answer.status_code, problem(answer)["errors"][0]["code"]) == (422, "invalid_port"), port
    assert asked == []


def test_a_server_with_something_on_it_stays(api: Client) -> None:
    for answer in (api("DELETE", "/servers/web1"), api("POST", "/servers/web1/runs", {"action": "remove"})):
        assert (answer.status_code, problem(answer)["code"]) == (409, "server_in_use")
    never = api("POST", "/servers/db1/runs", {"action": "remove"})
    assert (never.status_code, problem(never)["code"]) == (409, "server_not_ready"), never.text
    login = api("POST", "/servers/web1/runs", {"action": "remove", "login": {"user": "root"}})
    assert login.status_code == 422


def test_without_the_link_the_api_says_so_and_what_to_start(api: Client) -> None:
    for method, path in (("POST", "/servers/web1/test"), ("GET", "/resources/guestbook/logs")):
        answer = api(method, path)
        assert (answer.status_code, problem(answer)["code"]) == (503, "link_down")
        assert "webops link" in answer.get_json()["detail"]


def test_a_preset_gives_what_is_not_given(api: Client) -> None:
    assert put(api, "chat", "vllm_model", {"max_length": 4096}, preset="qwen3-8b").status_code == 202
    assert api("GET", "/resources/chat").get_json()["values"] == {
        "vllm_model_model": "Qwen/Qwen3-8B", "vllm_model_max_length": 4096}
    wrong = problem(put(api, "chat", "vllm_model", {}, preset="gpt-9"))
    assert wrong["errors"][0]["field"] == "preset" and "there are: qwen2.5-0.5b, " in wrong["errors"][0]["message"]
    assert "there are: none" in problem(put(api, "x-cert", "ssl_cert", {}, preset="any"))["errors"][0]["message"]
