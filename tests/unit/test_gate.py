"""The gate in front of a model: who is let in, how much they may, and that nothing of an answer is lost on its way."""

from __future__ import annotations

import builtins
import contextlib
import gzip
import http.client
import importlib.util
import json
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2 as httpx
import openai
import pytest

from tests.gates import PROGRAM, Gate, Unix
from tests.linked import wait


@contextlib.contextmanager
def started(**constants: dict) -> Iterator[Gate]:
    place = Path(tempfile.mkdtemp(prefix="wo-gate-", dir="/tmp"))
    made = Gate(place, **constants)
    made.engine()
    made.point_to("a")
    made.write_keys()
    made.start()
    yield made
    made.close()
    shutil.rmtree(place)


@pytest.fixture(scope="module")
def gate() -> Iterator[Gate]:
    with started() as made:
        yield made


@pytest.fixture(scope="module")
def hasty() -> Iterator[Gate]:
    """A gate whose time runs faster: after a second without an answer its engine counts as hung."""
    with started(health={"_PATIENCE": 0.2, "_HUNG": 1.0, "_ANSWERED": 1.5, "_FRESH": 0.3},
                 figures={"_label": None}) as made:
        yield made


@pytest.fixture
def key(gate: Gate, request: pytest.FixtureRequest) -> str:
    return gate.key(request.node.originalname)


def client(gate: Gate, key: str) -> openai.OpenAI:
    return openai.OpenAI(base_url="http://gate/v1", api_key=key, max_retries=0,
                         http_client=httpx.Client(transport=httpx.HTTPTransport(uds=str(gate.front))))


def used(gate: Gate, key_name: str) -> dict:
    return gate.ask("/webops/figures", door="desk").json()["keys"][key_name]


# The official client.

def test_the_official_client_chats_streams_and_completes(gate: Gate, key: str) -> None:
    asked = client(gate, key)
    messages = [{"role": "user", "content": "low water"}]
    assert [one.id for one in asked.models.list()] == ["tiny"]
    whole = asked.chat.completions.create(model="tiny", messages=messages, max_tokens=4)
    assert whole.choices[0].message.content == "low water low water "
    assert whole.usage.completion_tokens == 4
    stream = asked.chat.completions.create(model="tiny", messages=messages, max_tokens=3, stream=True)
    assert "".join(event.choices[0].delta.content for event in stream) == "low water low "
    assert asked.completions.create(model="tiny", prompt="tide", max_tokens=2).choices[0].text == "tide tide "


def test_the_official_client_understands_every_refusal(gate: Gate, key: str) -> None:
    messages = [{"role": "user", "content": "hello"}]
    with pytest.raises(openai.AuthenticationError) as wrong:
        client(gate, "sk-wo-nobody").chat.completions.create(model="tiny", messages=messages)
    assert wrong.value.code == "invalid_api_key"
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        client(gate, key).chat.completions.create(model="other", messages=messages)
    limited = client(gate, gate.key("once", requests_per_minute=1))
    limited.chat.completions.create(model="tiny", messages=messages)
    with pytest.raises(openai.RateLimitError) as over:
        limited.chat.completions.create(model="tiny", messages=messages)
    assert over.value.code == "rate_limit_exceeded" and int(over.value.response.headers["Retry-After"]) > 50


# Keys.

@pytest.mark.parametrize("given", ["", "sk-wo-wrong", "Bearer", "sk-wo-" + "x" * 300])
def test_without_a_key_nobody_is_let_in(gate: Gate, given: str) -> None:
    answer = gate.chat(given)
    assert answer.status == 401 and answer.code == "invalid_api_key"
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_a_key_holds_and_ends_with_the_next_request(gate: Gate) -> None:
    text = gate.key("short")
    assert gate.chat(text).status == 200
    gate.revoke("short")
    assert gate.chat(text).status == 401


@pytest.mark.parametrize("damage", ['{"keys": [{"name": "a", "sha', "[]", '{"keys": [{"name": "a"}]}', "",
                                    '{"keys": [{"name": "a", "sha256": "zz"}]}'])
def test_a_damaged_file_changes_nothing_and_is_told(gate: Gate, key: str, damage: str) -> None:
    assert gate.chat(key).status == 200
    try:
        (gate.place / "env" / "keys.json").write_text(damage)
        assert gate.chat(key).status == 200
        assert gate.chat("sk-wo-nobody").status == 401
        assert "keys.json cannot be used" in gate.ask("/webops/figures", door="desk").json()["problem"]
    finally:
        gate.write_keys()
    assert gate.ask("/webops/figures", door="desk").json()["problem"] == ""
    assert "what it held before still holds" in gate.log.read_text()


def test_a_file_that_could_not_be_opened_once_is_looked_at_again(tmp_path: Path,
                                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.spec_from_file_location("watched_alone", PROGRAM / "watched.py")
    assert spec and spec.loader
    watched = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(watched)
    (tmp_path / "keys.json").write_text('{"keys": [{"name": "a", "sha256": "%s"}]}' % ("0" * 64))
    known = watched.Watched(str(tmp_path / "keys.json"), watched.keys)
    assert len(known.value) == 1

    def full(*_words: object, **_more: object) -> None:
        raise OSError(24, "Too many open files")

    (tmp_path / "keys.json").write_text('{"keys": []}')
    with monkeypatch.context() as patched:
        patched.setattr(builtins, "open", full)
        assert len(known.value) == 1 and "Too many open files" in known.problem
    assert known.value == [] and known.problem == "", "a revoked key goes on"


@pytest.mark.parametrize(("headers", "status"), [
    ([("Authorization", "Bearer KEY"), ("Authorization", "Bearer sk-wo-other")], 400),
    ([("X-Api-Key", "KEY")], 200), ([("X-Api-Key", "KEY"), ("Authorization", "Bearer KEY")], 200),
    ([("X-Api-Key", "KEY"), ("Authorization", "Bearer sk-wo-other")], 400),
    ([("X-Api-Key", "KEY"), ("Authorization", "Basic KEY")], 400),
    ([("X-Api-Key", "KEY"), ("X-Api-Key", "KEY")], 400), ([("X-Api-Key", "sk-wo-other")], 401)])
def test_a_key_comes_as_openais_or_as_anthropics_clients_send_it_once(gate: Gate, key: str, headers: list,
                                                                      status: int) -> None:
    connection = Unix(gate.front)
    connection.putrequest("GET", "/v1/models")
    for name, value in headers:
        connection.putheader(name, value.replace("KEY", key))
    connection.endheaders()
    assert connection.getresponse().status == status


# Limits.

def test_a_key_over_its_limit_waits_and_the_others_go_on(gate: Gate, key: str) -> None:
    limited = gate.key("two", requests_per_minute=2)
    assert [gate.chat(limited).status for _ in range(3)] == [200, 200, 429]
    answer = gate.chat(limited)
    assert 1 <= int(answer.headers["Retry-After"]) <= 30 and "'two' may use 2 requests per minute" in answer.text()
    assert gate.chat(key).status == 200
    assert used(gate, "two")["refused"] == 2 and used(gate, "two")["requests"] == 2


@pytest.mark.parametrize("stream", [False, True])
def test_tokens_are_counted_from_the_answer(gate: Gate, stream: bool) -> None:
    name = f"tokens-{stream}"
    limited = gate.key(name, tokens_per_minute=20)
    assert "[DONE]" in gate.chat(limited, "a b c", max_tokens=30, stream=stream).text() or not stream
    use = used(gate, name)
    assert (use["tokens_in"], use["tokens_out"]) == (3, 30)
    answer = gate.chat(limited, max_tokens=30)
    # 13 are owed, and a whole minute's worth is set aside for the next: 33 at a third of a token per second.
    assert answer.status == 429 and 97 <= int(answer.headers["Retry-After"]) <= 99


def test_a_stream_is_counted_whatever_follows_its_address(gate: Gate) -> None:
    asked = {"messages": [{"role": "user", "content": "a b c"}], "max_tokens": 4, "stream": True}
    text = gate.ask("/v1/chat/completions?x=1", gate.key("query"), asked).text()
    assert "usage" not in text and used(gate, "query")["tokens_in"] == 3


@pytest.mark.parametrize("stream", [1, "true", "false", []])
def test_a_stream_is_asked_for_in_one_way(gate: Gate, key: str, stream: object) -> None:
    answer = gate.chat(key, stream=stream)
    assert answer.status == 400 and answer.code == "invalid_request"
    assert gate.chat(key, stream=None).status == 200


@pytest.mark.parametrize("stream", [False, True])
def test_who_leaves_before_the_first_word_pays_for_the_question(gate: Gate, stream: bool) -> None:
    name = f"leaver-{stream}"
    text = gate.key(name)
    body = json.dumps({"messages": [{"role": "user", "content": "long " * 80}], "stream": stream}).encode()
    gate.control(hangs=["/v1/chat/completions"])
    try:
        before = gate.control()["asked"]
        connection = Unix(gate.front)
        connection.request("POST", "/v1/chat/completions", body,
                           {"Authorization": f"Bearer {text}", "Content-Type": "application/json"})
        wait("the engine has it", lambda: gate.control()["asked"] > before)
        connection.close()
        wait("it is counted", lambda: used(gate, name)["tokens_in"])
    finally:
        gate.control(hangs=[])
    assert (used(gate, name)["tokens_in"], used(gate, name)["tokens_out"]) == (len(body) // 4, 0)


def test_a_stopped_engine_costs_nothing(gate: Gate) -> None:
    text = gate.key("unlucky", tokens_per_minute=1000)
    gate.kill_engine()
    try:
        assert gate.chat(text, max_tokens=900).status == 503
        assert used(gate, "unlucky")["tokens_in"] == 0
    finally:
        gate.engine()
    assert gate.chat(text, max_tokens=900).status == 200, "what was set aside is not there any more"


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_what_answers_may_cost_is_set_aside_when_they_begin(gate: Gate, name: str) -> None:
    limited = gate.key(f"many-{name}", tokens_per_minute=200)
    began = [gate.chat(limited, stream=True, pause=0.2, **{name: 100}) for _ in range(4)]
    assert [one.status for one in began] == [200, 429, 429, 429], "they all began on the same tokens"
    began[0].leave()
    wait("it is counted", lambda: used(gate, f"many-{name}")["tokens_out"])
    # What was not used is there again.
    wait("the rest is there again", lambda: gate.chat(limited, **{name: 60}).status == 200, seconds=3)


def test_nobody_is_locked_out_for_long(gate: Gate) -> None:
    limited = gate.key("spender", tokens_per_minute=10)
    assert gate.chat(limited, max_tokens=5000).status == 200
    answer = gate.chat(limited)
    assert answer.status == 429 and 600 <= int(answer.headers["Retry-After"]) <= 660


def test_limits_and_figures_survive_a_restart(gate: Gate) -> None:
    limited = gate.key("lasting", requests_per_minute=1)
    assert gate.chat(limited).status == 200
    gate.stop()
    gate.start()
    assert gate.chat(limited).status == 429
    assert used(gate, "lasting")["requests"] == 1


def test_a_restart_cuts_no_stream_and_loses_no_request(gate: Gate, key: str) -> None:
    events = gate.chat(key, max_tokens=20, stream=True, pause=0.1).events()
    next(events)
    stopping = threading.Thread(target=lambda: (gate.stop(), gate.start()))
    stopping.start()
    wait("it is told to end", lambda: stopping.is_alive())
    assert gate.ask("/v1/models", key).status == 200 and next(events), "it waited for the stream of another"
    assert list(events)[-1] == "[DONE]"
    stopping.join()
    assert gate.ask("/v1/models", key).status == 200


def test_a_new_key_of_an_old_name_begins_anew(gate: Gate) -> None:
    gate.chat(gate.key("again", requests_per_minute=1))
    gate.revoke("again")
    new = gate.key("again", requests_per_minute=1)
    assert used(gate, "again")["requests"] == 0 and gate.chat(new).status == 200


# Streams.

def test_a_stream_passes_as_it_comes(gate: Gate, key: str) -> None:
    began = time.monotonic()
    events = gate.chat(key, max_tokens=5, stream=True, pause=0.3).events()
    next(events)
    assert time.monotonic() - began < 1.0  # the whole takes 1.5 s
    assert list(events)[-1] == "[DONE]" and time.monotonic() - began > 1.2


def test_usage_is_told_to_who_asked_for_it_alone(gate: Gate, key: str) -> None:
    quiet = list(gate.chat(key, max_tokens=2, stream=True).events())
    assert len(quiet) == 3 and "usage" not in quiet[1]
    told = list(gate.chat(key, max_tokens=2, stream=True, stream_options={"include_usage": True}).events())
    assert told[2]["usage"]["completion_tokens"] == 2 and told[2]["choices"] == []


def test_who_goes_away_ends_the_answer_and_pays_for_what_came(gate: Gate) -> None:
    text = gate.key("hasty")
    before = gate.control()["aborted"]
    answer = gate.chat(text, max_tokens=200, stream=True, pause=0.1)
    events = answer.events()
    for _ in range(3):
        next(events)
    answer.leave()
    wait("the gate", lambda: gate.control()["aborted"] == before + 1 and gate.control()["running"] == 0)
    wait("the gate", lambda: used(gate, "hasty")["tokens_out"] >= 3)
    assert used(gate, "hasty")["tokens_out"] < 50


def test_a_stream_may_take_as_long_as_it_has_something_to_say(gate: Gate, key: str) -> None:
    gate.write("gate.json", {"request_timeout": 1})
    try:
        assert list(gate.chat(key, max_tokens=6, stream=True, pause=0.4).events())[-1] == "[DONE]"
        seen = list(gate.chat(key, max_tokens=6, stream=True, pause=2).events())
        assert seen[-1]["error"]["code"] == "engine_timeout" and "nothing for 1 second" in seen[-1]["error"]["message"]
        answer = gate.chat(key, max_tokens=2, pause=2)
        assert answer.status == 504 and answer.code == "engine_timeout"
    finally:
        gate.write("gate.json", {})


def test_who_goes_away_is_no_trouble(gate: Gate, key: str) -> None:
    for _ in range(5):
        answer = gate.chat(key, "x" * 5000, max_tokens=3000, stream=True)
        next(answer.events())
        answer.leave()
    wait("they are gone", lambda: gate.control()["running"] == 0)
    assert gate.ask("/health").status == 200, "who goes away says nothing about the engine"
    assert "Traceback" not in gate.log.read_text()


def test_who_goes_away_before_a_whole_answer_ends_it_too(gate: Gate, key: str) -> None:
    connection = Unix(gate.front)
    connection.request("POST", "/v1/completions", json.dumps({"prompt": "x", "max_tokens": 500, "pause": 0.05}),
                       {"Authorization": f"Bearer {key}", "Content-Type": "application/json"})
    wait("the gate", lambda: gate.control()["running"] == 1)
    connection.close()
    wait("the gate", lambda: gate.control()["running"] == 0)


def test_an_engine_that_dies_in_an_answer_is_told_and_the_stream_is_not_whole(gate: Gate, key: str) -> None:
    events = gate.chat(key, max_tokens=200, stream=True, pause=0.1).events()
    next(events)
    gate.kill_engine()
    seen: list = []
    with pytest.raises(http.client.IncompleteRead):
        seen.extend(events)
        raise http.client.IncompleteRead(b"")  # http.client ends an iteration without a word
    assert "[DONE]" not in seen and seen[-1]["error"]["code"] == "engine_failed"
    answer = gate.chat(key)
    assert answer.status == 503 and answer.headers["Retry-After"] == "5" and answer.code == "engine_unavailable"
    assert gate.ask("/health").status == 503
    gate.engine()
    assert gate.chat(key).status == 200 and gate.ask("/health").status == 200


# Requests.

def test_a_request_may_be_so_large_and_no_larger(gate: Gate, key: str) -> None:
    gate.write("gate.json", {"max_body": 2000, "request_timeout": 60})
    try:
        assert gate.chat(key, "x " * 500).status == 200
        answer = gate.chat(key, "x " * 2000)
        assert answer.status == 413 and answer.code == "request_too_large"
        pieces = (b"x" * 100 for _ in range(50))
        connection = Unix(gate.front)
        connection.request("POST", "/v1/completions", pieces, {
            "Authorization": f"Bearer {key}", "Content-Type": "application/json"}, encode_chunked=True)
        assert connection.getresponse().status == 413
    finally:
        gate.write("gate.json", {})


@pytest.mark.parametrize(("method", "path", "status"), [
    ("POST", "/pause", 404), ("POST", "/v1/load_lora_adapter", 404), ("GET", "/metrics", 404),
    ("GET", "/webops/figures", 404), ("GET", "/v1/../metrics", 404), ("GET", "/v1/models/%2e%2e/x", 404),
    ("POST", "//v1/completions", 404), ("GET", "/v1/responses/one", 404), ("POST", "/v1/audio/speech", 404),
    ("GET", "/v1/completions", 405), ("DELETE", "/v1/models", 405),
])
def test_only_what_is_served_can_be_asked(gate: Gate, key: str, method: str, path: str, status: int) -> None:
    answer = gate.ask(path, key, method=method)
    assert answer.status == status and answer.json()["error"]["message"]


@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff\xfe", b'{"model": "tiny", "messages": ', b"[" * 100_000])
def test_what_is_no_json_is_refused_in_words(gate: Gate, key: str, body: bytes) -> None:
    answer = gate.ask("/v1/chat/completions", key, body)
    assert answer.status == 400 and answer.code == "invalid_json"


@pytest.mark.parametrize("body", [gzip.compress(b"0" * 10_000_000), b"no gzip", b"{}"])
def test_what_is_packed_is_not_unpacked(gate: Gate, key: str, body: bytes) -> None:
    packed = {"Content-Encoding": "gzip"}
    answer = gate.ask("/v1/completions", "", body, headers=packed)
    assert answer.status == 401 and answer.code == "invalid_api_key"
    answer = gate.ask("/v1/completions", key, body, headers=packed)
    assert answer.status == 415 and answer.code == "unsupported_media_type"
    assert gate.ask("/v1/completions", key, {"prompt": "a"}, headers={"Content-Encoding": "identity"}).status == 200


def test_what_is_no_json_by_its_own_word_is_not_passed_on(gate: Gate, key: str) -> None:
    answer = gate.ask("/v1/completions", key, {"prompt": "a"}, headers={"Content-Type": "text/plain"})
    assert answer.status == 415 and "application/json" in answer.text()


def test_words_reach_the_engine_as_they_are(gate: Gate, key: str) -> None:
    """Half a pair of surrogates, too, in whatever form it came."""
    for words in (b'"\xc3\xa4\xe2\x82\xac"', b'"\\u00e4\\u20ac"', b'"\\ud83d"'):
        body = b'{"stream": true, "max_tokens": 1, "messages": [{"role": "user", "content": ' + words + b"}]}"
        assert gate.ask("/v1/chat/completions", key, body).status == 200
        assert gate.control()["seen"][-1]["body"]["messages"][0]["content"] == json.loads(words)


def test_the_engine_gets_neither_key_nor_headers_of_the_client(gate: Gate, key: str) -> None:
    gate.ask("/v1/chat/completions", key, {"messages": [{"role": "user", "content": "seen?"}]},
             headers={"X-WebOps-Slot": "b", "X-Odd": "1", "Cookie": "a=b", "Connection": "X-Odd"})
    headers = gate.control()["seen"][-1]["headers"]
    assert not {"Authorization", "Cookie", "X-Odd", "X-WebOps-Slot"} & set(headers)


def test_pages_of_other_sites_may_ask_where_that_is_allowed(gate: Gate, key: str) -> None:
    here, there = {"Origin": "https://app.example.org"}, {"Origin": "https://evil.example.org"}
    assert "Access-Control-Allow-Origin" not in gate.ask("/v1/models", key, headers=here).headers
    gate.write("gate.json", {"origins": ["https://app.example.org"]})
    try:
        before = gate.ask("/v1/chat/completions", method="OPTIONS", headers={
            **here, "Access-Control-Request-Headers": "authorization,x-stainless-lang"})
        assert before.status == 204 and "x-stainless-lang" in before.headers["Access-Control-Allow-Headers"]
        for answer in (before, gate.ask("/v1/models", key, headers=here), gate.ask("/v1/models", headers=here)):
            assert answer.headers["Access-Control-Allow-Origin"] == "https://app.example.org"
        assert "Access-Control-Allow-Origin" not in gate.ask("/v1/models", key, headers=there).headers
    finally:
        gate.write("gate.json", {})


# The desk, slots, health.

def test_new_questions_go_to_the_slot_that_serves_and_old_ones_come_to_their_end(gate: Gate, key: str) -> None:
    gate.engine("b")
    long = gate.chat(key, max_tokens=20, stream=True, pause=0.1).events()
    next(long)
    gate.point_to("b")
    try:
        before = gate.control("b")["asked"]
        assert gate.chat(key).status == 200 and gate.control("b")["asked"] == before + 1
        assert list(long)[-1] == "[DONE]"
    finally:
        gate.point_to("a")


def test_health_is_asked_once_however_many_ask_and_whatever_they_name(gate: Gate) -> None:
    wait("nothing was answered lately", lambda: gate.ask("/health").status == 200)
    before, answers = gate.control()["asked"], []

    def look(door: str) -> None:
        answers.append(gate.ask("/health", door=door, headers={"X-WebOps-Slot": "a"}).status)

    asking = [threading.Thread(target=look, args=(door,)) for door in ("front", "desk") * 10]
    for one in asking:
        one.start()
    for one in asking:
        one.join()
    assert answers == [200] * 20 and gate.control()["asked"] <= before + 1


def test_an_engine_that_hangs_is_not_well_until_it_answers(hasty: Gate) -> None:
    text = hasty.key("hung")
    assert hasty.ask("/health").status == 200
    hasty.control(hangs=["/v1/completions"])
    try:
        wait("it counts as hung", lambda: hasty.ask("/health").status == 503)
        # Each new question, and all that an engine says which hangs, is no answer.
        until, seen = time.monotonic() + 4, set()
        while time.monotonic() < until:
            assert hasty.ask("/v1/models", text).status == 200
            assert "EngineCore died" in hasty.chat(text, stream=True, fail=True).text()
            seen.add(hasty.ask("/health").status)
        assert seen == {503}
        hasty.engine("b")
        hasty.point_to("b")
        assert hasty.ask("/health").status == 200, "the other engine never hung"
        hasty.point_to("a")
        assert hasty.ask("/health").status == 503, "the other engine's answers are not its own"
        assert hasty.chat(text, stream=True).text() and hasty.ask("/health").status == 200
    finally:
        hasty.control(hangs=[])
        hasty.point_to("a")
    wait("it is well again", lambda: hasty.ask("/health").status == 200)


def test_a_model_that_only_embeds_is_well(hasty: Gate) -> None:
    text = hasty.key("embeds")
    hasty.control(embeds=True)
    try:
        time.sleep(0.4)
        assert hasty.ask("/health").status == 200
        answer = hasty.ask("/v1/embeddings", text, {"model": "tiny", "input": "a"})
        assert answer.status == 200 and used(hasty, "embeds")["tokens_in"] == 1
    finally:
        hasty.control(embeds=False)


def test_what_nobody_thought_of_is_told_in_the_same_form(hasty: Gate) -> None:
    answer = hasty.ask("/metrics", door="desk")  # it was given a module that is broken
    assert answer.status == 500 and answer.code == "internal_error"
    log = hasty.log.read_text()
    assert "GET /metrics: TypeError" in log and "Traceback" not in log


def test_health_is_an_answer_and_not_a_promise(gate: Gate) -> None:
    gate.control(broken=True)
    try:
        wait("the gate", lambda: gate.ask("/health").status == 503)
        assert "EngineCore encountered an issue" in gate.ask("/health").text()
    finally:
        gate.control(broken=False)
    wait("the gate", lambda: gate.ask("/health").status == 200)


def test_a_stopped_model_says_so(gate: Gate, key: str) -> None:
    assert gate.chat(key).status == 200
    (gate.place / "live" / "sock").unlink()
    try:
        assert gate.ask("/health").status == 503, "it has answered a moment ago, and is stopped now"
        answer = gate.chat(key)
        assert answer.status == 503 and "chat is stopped" in answer.text()
        assert gate.ask("/webops/figures", door="desk").json()["engine"] is None
    finally:
        gate.point_to("a")


def test_figures_are_those_of_engine_and_keys(gate: Gate, key: str, request: pytest.FixtureRequest) -> None:
    before = gate.ask("/webops/figures", door="desk").json()["engine"]
    gate.chat(key, "a b", max_tokens=5)
    found = gate.ask("/webops/figures", door="desk").json()
    assert found["engine"]["generation_tokens"] == before["generation_tokens"] + 5
    # Numbers that are none (NaN, Inf) are left out.
    assert found["engine"]["kv_cache"] == 0.25 and found["engine"]["waiting"] == 0
    assert found["engine"]["first_token"][-1][0] is None
    assert found["keys"][request.node.name]["tokens_out"] == 5
    text = gate.ask("/metrics", door="desk").text()
    assert "vllm:num_requests_running" in text
    assert f'webops_gate_completion_tokens_total{{key="{request.node.name}"}} 5' in text


def test_the_figures_of_the_keys_do_not_wait_for_an_engine_that_hangs(gate: Gate, key: str) -> None:
    gate.control(hangs=["/metrics"])
    try:
        began = time.monotonic()
        found = gate.ask("/webops/figures", door="desk").json()
        # The link leaves after four seconds (panel/link/remote/desks.py).
        assert time.monotonic() - began < 3.5
        assert found["engine"] is None and "webops" in found["keys"]
    finally:
        gate.control(hangs=[])


# Clients that are broken, slow, or lie.

def raw(gate: Gate, data: bytes) -> bytes:
    """What comes back for these bytes, until the gate closes or waits for more."""
    with socket.socket(socket.AF_UNIX) as channel:
        channel.settimeout(5)
        channel.connect(str(gate.front))
        channel.sendall(data)
        found = b""
        try:
            while piece := channel.recv(65536):
                found += piece
        except TimeoutError:
            pass
        return found


@pytest.mark.parametrize("lie", [
    b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", b"Content-Length: 5\r\nContent-Length: 6\r\n",
    b"Content-Length: +5\r\n", b"Transfer-Encoding: chunked, identity\r\n", b"Content-Length : 5\r\n",
    b"X: a\x00b\r\n", b"X\rY: 1\r\n"])
def test_a_request_that_can_be_read_in_two_ways_is_not_read(gate: Gate, key: str, lie: bytes) -> None:
    before = len(gate.control()["seen"])
    answer = raw(gate, b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                 + f"Authorization: Bearer {key}\r\nContent-Type: application/json\r\n".encode() + lie
                 + b"\r\n0\r\n\r\nGET /metrics HTTP/1.1\r\n\r\n")
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.0 400")), answer[:200]
    assert len(gate.control()["seen"]) == before and b"vllm:" not in answer


@pytest.mark.parametrize("noise", [b"\x16\x03\x01\x02\x00\x01", b"GET", b"\r\n\r\n\r\n", b"A" * 100_000])
def test_noise_disturbs_nobody(gate: Gate, key: str, noise: bytes) -> None:
    channels = []
    for _ in range(20):
        channel = socket.socket(socket.AF_UNIX)
        channel.connect(str(gate.front))
        channel.send(noise)
        channels.append(channel)
    assert gate.chat(key).status == 200
    for channel in channels:
        channel.close()


def test_a_client_that_does_not_read_holds_nobody_up(gate: Gate, key: str) -> None:
    slow = [gate.chat(key, "x" * 2000, max_tokens=5000, stream=True) for _ in range(3)]
    began = time.monotonic()
    assert gate.chat(key).status == 200 and time.monotonic() - began < 5
    # What the gate keeps for them is bounded: the engine waits, too.
    assert gate.control()["running"] == 3
    for one in slow:
        one.leave()
    wait("they are gone", lambda: gate.control()["running"] == 0)
