"""A model through every door: API, command line, pages. Behind them a real link, a real gate, a fake engine."""

from __future__ import annotations

import html
import json
import os
import re
import shlex
import threading
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.serving import make_server

from cli import panel as cli_panel
from cli.exits import Exit
from cli.main import root
from panel.link import client
from panel.settings import ROOT
from tests.believable import PASSWORD, fill_people
from tests.modelled import Modelled, model
from tests.panels import forget_connections, send, sign_in, token_of
from tests.programs import Client, problem, token_for

__all__ = ["model"]
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="records of resources must belong to root")


@pytest.fixture(scope="module")
def panel(model: Modelled) -> Flask:
    from panel.app import create_app
    from panel.store import db

    forget_connections()
    with db.session() as session:
        fill_people(session)
        session.commit()
    model.add_resource("shop", model.server_id)
    made = create_app()
    made.testing = False
    client.ask("observe", server_id=model.server_id)
    return made


@pytest.fixture
def api(panel: Flask) -> Client:
    return Client(panel.test_client(), token_for("ada"))


@pytest.fixture
def ada(panel: Flask) -> FlaskClient:
    browser = panel.test_client()
    assert sign_in(browser).status_code == 303
    return browser


@pytest.fixture
def webops(panel: Flask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    monkeypatch.setenv("WEBOPS_CONFIG", str(tmp_path / "config.json"))
    server = make_server("127.0.0.1", 0, panel, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()

    def run(*words: str, stdin: str = "") -> Result:
        cli_panel.panel.cache_clear()
        return CliRunner().invoke(root, list(words), input=stdin)

    done = run("login", f"http://127.0.0.1:{server.port}", "--name", "ada", "--password-file", "-",
               stdin=PASSWORD + "\n")
    assert done.exit_code == Exit.OK, done.output
    yield run
    server.shutdown()
    thread.join()
    cli_panel.panel.cache_clear()


def events(answer: Any) -> list[tuple[str, Any]]:
    assert answer.mimetype == "text/event-stream", answer.text
    found = re.findall(r"^event: (.*)\ndata: (.*)$", answer.get_data(as_text=True), re.MULTILINE)
    return [(name, json.loads(data)) for name, data in found]


# The API.

def test_the_log_says_who_changed_a_key_and_not_the_key(api: Client, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "webops.web")
    text = api("POST", "/resources/chat/api-keys", {"name": "logged"}).get_json()["key"]
    api("DELETE", "/resources/chat/api-keys/logged")
    api("DELETE", "/resources/chat/api-keys/logged")
    assert [one.getMessage() for one in caplog.records if one.name == "webops.web"] == [
        "ada added the API key 'logged' to chat.", "ada revoked the API key 'logged' of chat."]
    assert text[10:] not in caplog.text


def test_keys_through_the_api(api: Client, model: Modelled) -> None:
    made = api("POST", "/resources/chat/api-keys", {"name": "web site", "requests_per_minute": 5})
    assert made.status_code == 201 and "sha256" not in made.get_json()
    text = made.get_json()["key"]
    assert model.gate.chat(text).status == 200
    assert problem(api("POST", "/resources/chat/api-keys", {"name": "web site"}))["code"] == "key_taken"
    client.ask("observe", server_id=model.server_id)
    listed = api("GET", "/resources/chat/api-keys").get_json()
    shown = next(one for one in listed["keys"] if one["name"] == "web site")
    assert shown["prefix"] == text[:10] and shown["on"] == ["web1"] and shown["use"]["requests"] == 1
    assert text not in json.dumps(listed)
    assert api("POST", "/resources/chat/api-keys/copies", {}).get_json() == {"copied": 0}
    assert api("DELETE", "/resources/chat/api-keys/web%20site").status_code == 204
    assert model.gate.chat(text).status == 401
    assert problem(api("DELETE", "/resources/chat/api-keys/web%20site"))["status"] == 404


@pytest.mark.parametrize(("body", "code"), [
    ({"name": ""}, "invalid_key_name"), ({"name": "a/b"}, "invalid_key_name"),
    ({"name": "webops"}, "invalid_key_name"), ({"name": "x", "requests_per_minute": -1}, "invalid_limit"),
    ({"name": "x", "tokens_per_minute": "9"}, "invalid_limit")])
def test_a_key_that_cannot_be_is_refused_in_words(api: Client, body: dict[str, Any], code: str) -> None:
    assert problem(api("POST", "/resources/chat/api-keys", body))["code"] == code


def test_what_has_no_keys_says_so(api: Client, ada: FlaskClient) -> None:
    for path in ("api-keys", "figures", "metrics"):
        assert "Django app, which has no" in problem(api("GET", f"/resources/shop/{path}"))["detail"]
    assert ada.get("/resources/shop/api-keys").status_code == 404
    assert "API keys" not in ada.get("/resources/shop").text


def test_a_chat_through_the_api(api: Client) -> None:
    told = events(api("POST", "/resources/chat/chat", {"messages": [{"role": "user", "content": "low water"}],
                                                       "max_tokens": 2}))
    assert [one for one in told if one[0] == "text"] == [("text", "low "), ("text", "water ")]
    assert told[-1][0] == "done" and "2 tokens read, 2 written" in told[-1][1]["words"]
    wrong = api("POST", "/resources/chat/chat", {"messages": [], "temperature": 9})
    assert problem(wrong)["code"] == "invalid_messages"


def test_figures_and_metrics(api: Client, model: Modelled) -> None:
    model.gate.ask("/v1/completions", body={"prompt": "a b", "max_tokens": 7}, door="desk").text()
    for _ in range(2):
        client.ask("observe", server_id=model.server_id)
    points = api("GET", "/resources/chat/figures?since=30m").get_json()["servers"][0]["points"]
    assert points[-1]["kv_cache"] == 0.25 and points[-1]["gpu_busy"] is None
    assert any(one["tokens_per_second"] for one in points)
    assert problem(api("GET", "/resources/chat/figures?since=3d"))["code"] == "invalid_query"
    answer = api("GET", "/resources/chat/metrics")
    assert answer.content_type.startswith("text/plain; version=0.0.4")
    assert re.search(r'^webops_up\{resource="chat",server="web1"\} 1$', answer.text, re.MULTILINE)
    assert re.search(r'^webops_generation_tokens_total\{resource="chat",server="web1"\} \d+$', answer.text, re.M)
    assert 'webops_first_token_seconds_bucket{resource="chat",server="web1",le="+Inf"}' in answer.text


# The command line.

def test_keys_from_a_terminal(webops: Any, model: Modelled) -> None:
    done = webops("model", "keys", "add", "chat", "laptop", "--requests", "2")
    assert done.exit_code == Exit.OK, done.output
    text = done.stdout.strip()
    assert text.startswith("sk-wo-") and "it is not shown again" in done.stderr
    assert model.gate.chat(text).status == 200
    listed = webops("model", "keys", "list", "chat").stdout
    assert re.search(r"laptop +sk-wo-\S{4}… +2 requests", listed) and text not in listed
    assert webops("model", "keys", "revoke", "chat", "laptop").exit_code == Exit.OK
    assert model.gate.chat(text).status == 401
    gone = webops("model", "keys", "revoke", "chat", "laptop")
    assert gone.exit_code == Exit.REFUSED and "There is no key 'laptop'" in gone.output


def test_a_chat_in_a_terminal(webops: Any, model: Modelled) -> None:
    done = webops("model", "chat", "chat", "high", "water", "--max-tokens", "4", "--system", "Be brief.",
                  "--temperature", "0")
    assert done.exit_code == Exit.OK, done.output
    assert done.stdout.strip() == "high water high water"
    assert re.search(r"first token \d+ ms · [\d.,]+ tokens/s · 2 tokens read, 4 written", done.stderr)
    asked = model.gate.control()["seen"][-1]["body"]
    assert asked["messages"][0] == {"role": "system", "content": "Be brief."} and asked["temperature"] == 0
    piped = webops("model", "chat", "chat", stdin="from a pipe")
    assert "from a pipe" in piped.stdout


def test_a_measurement_in_a_terminal(webops: Any) -> None:
    done = webops("model", "bench", "chat", "--clients", "1,2", "--seconds", "1", "--tokens-out", "4")
    assert done.exit_code == Exit.OK, done.output
    lines = done.stdout.splitlines()
    assert lines[0].split()[:2] == ["CLIENTS", "TOKENS/S"] and [line.split()[0] for line in lines[1:]] == ["1", "2"]
    rows = json.loads(webops("model", "bench", "chat", "--clients", "1", "--seconds", "1", "--json").stdout)["rows"]
    assert rows[0]["tokens_per_second"] > 0 and rows[0]["failed"] == 0


def test_the_commands_of_the_document(webops: Any) -> None:
    lines = re.findall(r"^webops (model .*)$", (ROOT / "docs" / "llm.md").read_text(), re.MULTILINE)
    assert len(lines) >= 5
    for line in lines:
        done = webops(*shlex.split(line))
        assert done.exit_code == Exit.OK, (line, done.output)


# Pages.

def test_keys_in_a_browser(ada: FlaskClient, model: Modelled) -> None:
    page = send(ada, "/resources/chat/api-keys", name="website", requests_per_minute="60", tokens_per_minute="").text
    text = re.search(r"<pre>(sk-wo-[\w-]+)</pre>", page)
    assert text and model.gate.chat(text[1]).status == 200
    assert f"Bearer {text[1]}" in page
    written = [one for one in model.folder.rglob("*") if one.is_file()]
    assert len(written) > 3 and not any(text[1].encode() in one.read_bytes() for one in written)
    again = ada.get("/resources/chat/api-keys").text
    assert text[1] not in again and "website" in again and "60 requests" in again
    wrong = send(ada, "/resources/chat/api-keys", name="website", requests_per_minute="many")
    assert wrong.status_code == 422 and "A limit is a whole number" in wrong.text and 'value="many"' in wrong.text
    page = re.search(r'href="([^"]+revocation\?key=website)"', again)
    assert page
    asked = html.unescape(ada.get(page[1]).text)
    assert "<h1>Revoke the key 'website'</h1>" in asked and 'name="confirm"' not in asked, asked
    assert model.gate.chat(text[1]).status == 200, "looking at the question is no answer"
    assert ada.get("/resources/chat/api-keys/revocation?key=%0a").status_code == 404
    assert send(ada, page[1]).status_code == 303
    assert model.gate.chat(text[1]).status == 401


def test_a_chat_without_a_script(ada: FlaskClient) -> None:
    first = send(ada, "/resources/chat/chat", message="low <b>water</b>", max_tokens="2", system="Be brief.").text
    assert "low &lt;b&gt;water&lt;/b&gt; " in first and "tokens read, 2 written" in first
    history = re.search(r'name="history" value="([^"]+)"', first)
    assert history
    second = ada.post("/resources/chat/chat", data={
        "csrf_token": token_of(first), "message": "more", "history": unescape(history[1]), "max_tokens": "1"}).text
    assert second.count('class="chat__one ') == 4
    wrong = send(ada, "/resources/chat/chat", message="x", temperature="hot")
    assert wrong.status_code == 422 and "temperature is a number, not &#39;hot&#39;" in wrong.text


def test_a_chat_with_a_script_streams_and_rewrites_the_request(ada: FlaskClient) -> None:
    told = events(send(ada, "/resources/chat/chat/stream", "/resources/chat/chat", message="it's water", max_tokens="3",
                       temperature="0.5"))
    assert told[0][0] == "snippets" and told[-1][0] == "done"
    curl, python, script = (told[0][1][name] for name in ("curl", "Python", "JavaScript"))
    body = json.loads(shlex.split(curl.replace("\\\n", ""))[-1])
    assert body == {"model": "chat", "messages": [{"role": "user", "content": "it's water"}], "temperature": 0.5,
                    "max_tokens": 3}
    compile(python, "snippet", "exec")
    assert '"temperature": 0.5' in script
    wrong = events(send(ada, "/resources/chat/chat/stream", "/resources/chat/chat", message="x", max_tokens="-1"))
    assert wrong == [("error", "max_tokens is a whole number from 1 to 1000000.")]


def test_charts_are_on_the_page_of_the_resource(ada: FlaskClient, model: Modelled) -> None:
    for _ in range(3):
        client.ask("observe", server_id=model.server_id)
    page = ada.get("/resources/chat").text
    assert page.count('<figure class="chart') == 6 and "GPU: not known" in page
    assert re.search(r'<path class="chart__line chart__line--first" d="M[\d.]+ [\d.]+L', page)
    for span in ("1h", "48h", "odd"):
        assert ada.get(f"/resources/chat/figures?since={span}").text.count("<figure") == 6
    assert "style=" not in page
    model.add_resource("fresh", model.server_id, "vllm_model")
    assert "Not known: nothing told its figures" in ada.get("/resources/fresh/figures").text
