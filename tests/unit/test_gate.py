"""The gate in front of a model: who is let in, how much they may, and that nothing of an answer is lost on its way."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2 as httpx
import openai
import pytest

from tests.gates import Gate, Unix
from tests.linked import wait


@pytest.fixture(scope="module")
def gate() -> Iterator[Gate]:
    place = Path(tempfile.mkdtemp(prefix="wo-gate-", dir="/tmp"))
    made = Gate(place)
    made.engine()
    made.point_to("a")
    made.write_keys()
    made.start()
    yield made
    made.close()
    shutil.rmtree(place)


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


def test_two_authorizations_are_one_too_many(gate: Gate, key: str) -> None:
    connection = Unix(gate.front)
    connection.putrequest("GET", "/v1/models")
    for one in (key, "sk-wo-other"):
        connection.putheader("Authorization", f"Bearer {one}")
    connection.endheaders()
    assert connection.getresponse().status == 400


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
    answer = gate.chat(limited)
    # 13 are owed, and one more has to be there: 14 at a third of a token per second.
    assert answer.status == 429 and 40 <= int(answer.headers["Retry-After"]) <= 42


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
    waiting = gate.ask("/v1/models", key)  # at the socket, until the new one is there
    assert list(events)[-1] == "[DONE]"
    stopping.join()
    assert waiting.status == 200


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
        connection.request("POST", "/v1/completions", pieces, {"Authorization": f"Bearer {key}"}, encode_chunked=True)
        assert connection.getresponse().status == 413
    finally:
        gate.write("gate.json", {})


@pytest.mark.parametrize(("method", "path", "status"), [
    ("POST", "/pause", 404), ("POST", "/v1/load_lora_adapter", 404), ("GET", "/metrics", 404),
    ("GET", "/webops/figures", 404), ("GET", "/v1/../metrics", 404), ("GET", "/v1/models/%2e%2e/x", 404),
    ("POST", "//v1/completions", 404), ("GET", "/v1/completions", 405), ("DELETE", "/v1/models", 405),
])
def test_only_what_is_served_can_be_asked(gate: Gate, key: str, method: str, path: str, status: int) -> None:
    answer = gate.ask(path, key, method=method)
    assert answer.status == status and answer.json()["error"]["message"]


@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff\xfe", b'{"model": "tiny", "messages": ', b"[" * 100_000])
def test_what_is_no_json_is_refused_in_words(gate: Gate, key: str, body: bytes) -> None:
    answer = gate.ask("/v1/chat/completions", key, body)
    assert answer.status == 400 and answer.code == "invalid_json"


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

def test_the_desk_asks_any_slot_and_the_front_door_the_one_that_serves(gate: Gate, key: str) -> None:
    def desk(slot: str) -> int:
        return gate.ask("/v1/completions", body={"prompt": "a", "max_tokens": 1}, door="desk",
                        headers={"X-WebOps-Slot": slot}).status

    assert (desk(""), desk("a"), desk("b"), desk("c")) == (200, 200, 503, 400)
    gate.engine("b")
    assert desk("b") == 200
    assert gate.ask("/health", door="desk", headers={"X-WebOps-Slot": "b"}).status == 200
    long = gate.chat(key, max_tokens=20, stream=True, pause=0.1).events()
    next(long)
    gate.point_to("b")
    try:
        assert gate.chat(key).status == 200
        assert gate.ask("/webops/figures", door="desk").json()["open"]["a"] == 1
        assert list(long)[-1] == "[DONE]"
        wait("the gate", lambda: gate.ask("/webops/figures", door="desk").json()["open"]["a"] == 0)
    finally:
        gate.point_to("a")


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
    assert found["engine"]["kv_cache"] == 0.25 and found["engine"]["first_token"][-1][0] is None
    assert found["keys"][request.node.name]["tokens_out"] == 5
    text = gate.ask("/metrics", door="desk").text()
    assert "vllm:num_requests_running" in text
    assert f'webops_gate_completion_tokens_total{{key="{request.node.name}"}} 5' in text


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
                 + f"Authorization: Bearer {key}\r\n".encode() + lie + b"\r\n0\r\n\r\nGET /metrics HTTP/1.1\r\n\r\n")
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
