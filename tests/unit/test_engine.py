"""Engines of language models: when one begins anew, when two have room, what is said when one ends."""

from __future__ import annotations

import http.server
import json
import os
import socketserver
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

ENGINE = Path(__file__).parents[2] / "roles" / "vllm_model" / "files" / "engine"
WISH = {"model": "/srv/models/tiny", "revision": "", "argv": ["vllm", "--uds={socket}"], "environment": {"A": "1"},
        "needs": 2 * 10**9, "gpus": [], "any_gpus": True, "gpu_memory": 0.9}


@pytest.fixture
def server(module, tmp_path, monkeypatch):
    """A server that does what it is told; {unit: state}, and a list of what systemd was asked for."""
    for name in ("live", "env"):
        (tmp_path / "tiny" / name).mkdir(parents=True)
    switching, slot, served = module("webops_engine_switching"), module("webops_slot"), module("webops_release").Served
    states, asked = {}, []

    def systemctl(*words):
        asked.append(" ".join(words))
        states[words[-1]] = "active" if words[0] == "start" else "inactive"
        return subprocess.CompletedProcess(words, 0, "", "")

    def state(unit):
        return states.get(unit, "inactive")

    monkeypatch.setattr(switching, "Served", lambda name: served(name, str(tmp_path)))
    monkeypatch.setattr(switching, "state", state)
    monkeypatch.setattr(slot, "systemctl", systemctl)
    monkeypatch.setattr(slot, "state", state)
    memory = {"MemTotal": 16 * 10**9, "MemAvailable": 12 * 10**9}
    monkeypatch.setattr(module("webops_room"), "read_memory", lambda: memory)

    class Server:
        def do(self, action="serve", check=False, accept=False, follows=False, **wish):
            params = {"name": "tiny", "action": action, "wish": {**WISH, **wish}, "accept": accept, "keep": 5,
                      "follows": follows, "run": {}}
            return switching.EngineSwitch(params, check)

        def change(self, *words, **options):
            one = self.do(*words, **options)
            begun = one.begin()
            return one.turn(begun["slot"], begun["release"], 60) if begun["waits"] else begun

    one = Server()
    one.states, one.asked, one.memory, one.live = states, asked, memory, tmp_path / "tiny" / "live"
    one.served = served("tiny", str(tmp_path))
    return one


def test_a_first_engine_starts_and_the_same_wish_changes_nothing(server):
    begun = server.do().begin()
    assert begun["slot"] == "a" and server.asked == ["start --no-block wo-tiny@a.service"]
    assert not (server.live / "sock").is_symlink(), "it has not answered yet"
    told = json.loads((server.live / "a").read_text())
    assert told["argv"] == ["vllm", "--uds=/run/webops-tiny-a/engine.sock"] and told["needs"] == 2 * 10**9
    server.do().turn("a", begun["release"], 60)
    assert os.readlink(server.live / "sock") == "/run/webops-tiny-a/engine.sock"
    assert server.do().begin()["changed"] is False
    assert server.do("start").begin()["changed"] is False
    assert server.do(follows=True).begin()["waits"], "an engine that was installed anew is started anew"


def test_another_wish_starts_beside_what_serves(server):
    server.change()
    begun = server.do(argv=["vllm", "other", "--uds={socket}"]).begin()
    assert (begun["slot"], begun["interrupted"]) == ("b", False)
    assert os.readlink(server.live / "sock").endswith("-a/engine.sock"), "traffic stays until it has answered"
    server.do().turn("b", begun["release"], 60)
    assert os.readlink(server.live / "sock").endswith("-b/engine.sock")
    assert server.asked[-1] == "stop --no-block wo-tiny@a.service" and not (server.live / "a").exists()


def test_what_fails_goes_and_what_serves_stays(server):
    server.change()
    one = server.do(argv=["vllm", "other"])
    begun = one.begin()
    assert one.back(begun["slot"])["serves"] is True
    assert not (server.live / "b").exists() and os.readlink(server.live / "sock").endswith("-a/engine.sock")
    assert server.do().begin()["changed"] is False


def test_without_room_for_two_it_is_refused_in_words_unless_accepted(server, module):
    refused = module("webops_unit").Refused
    server.change()
    server.memory["MemAvailable"] = 10**9
    before = list(server.asked)
    for check in (True, False):
        with pytest.raises(refused, match=r"no room .*: it needs 2\.0 GB of memory, and 1\.0 GB are free") as wrong:
            server.do("restart", check=check).begin()
        assert "accept_interruption" in wrong.value.next
    assert server.asked == before, "a refusal did something"
    begun = server.do("restart", accept=True).begin()
    assert begun["interrupted"] and server.asked[len(before):] == [
        "stop wo-tiny@a.service", "start --no-block wo-tiny@b.service"]
    assert not (server.live / "sock").is_symlink(), "clients are told to come back meanwhile"


def test_memory_that_an_engine_counts_on_is_not_free(server, module):
    server.change(needs=9 * 10**9)
    with pytest.raises(module("webops_unit").Refused, match=r"needs 8\.0 GB of memory, and 7\.0 GB are free"):
        server.do(needs=8 * 10**9, argv=["vllm", "other"]).begin()


def test_gpus_are_asked_for_what_is_free(server, module, monkeypatch):
    room = module("webops_room")
    gpu = {"gpus": [1], "gpu_memory": 0.5}
    server.change(**gpu)
    assert json.loads((server.live / "a").read_text())["env"]["CUDA_VISIBLE_DEVICES"] == "1"
    monkeypatch.setattr(room, "read_gpus", lambda: {1: (30 * 10**9, 80 * 10**9)})
    with pytest.raises(module("webops_unit").Refused, match=r"needs 40\.0 GB of GPU 1, and 30\.0 GB are free"):
        server.do(**gpu, argv=["vllm", "other"]).begin()
    # Chosen by itself, another GPU that is free now is no reason to begin anew; named by a person, it is one.
    assert server.do(**{**gpu, "gpus": [0]}).begin()["changed"] is False
    monkeypatch.setattr(room, "read_gpus", lambda: {0: (80 * 10**9, 80 * 10**9)})
    assert server.do(**{**gpu, "gpus": [0]}, any_gpus=False).begin()["changed"]


def test_a_gpu_that_does_not_say_what_is_free_is_refused_in_words(server, module, monkeypatch, tmp_path):
    room, fake = module("webops_room"), tmp_path / "nvidia-smi"
    fake.write_text("#!/bin/sh\n# Not NVIDIA's: a stand-in for tests.\nprintf '0, [N/A], [N/A]\\n1, 80000, 81559\\n'\n")
    fake.chmod(0o755)
    monkeypatch.setattr(room.shutil, "which", lambda _name, **_where: str(fake))
    server.change(gpus=[1])
    server.change(gpus=[1], argv=["vllm", "other"])
    with pytest.raises(module("webops_unit").Refused, match="does not say how much memory GPU 0 has free"):
        server.do(gpus=[0], argv=["vllm", "third"]).begin()
    assert server.do(gpus=[0], argv=["vllm", "third"], accept=True).begin()["interrupted"]


def test_stopped_it_is_started_as_it_was(server, module):
    server.change()
    assert server.change("stop")["changed"] and server.change("stop")["changed"] is False
    assert sorted(os.listdir(server.live)) == ["served", "serves"]
    with pytest.raises(module("webops_unit").Refused, match="is stopped"):
        server.do("restart").begin()
    begun = server.do("start", argv=["never", "seen"]).begin()
    assert begun["release"]["serves"]["argv"] == WISH["argv"]


@pytest.mark.parametrize("interrupts", [True, False])
def test_an_engine_that_a_lost_run_left_ends_with_a_stop(server, interrupts):
    server.change()
    server.memory["MemAvailable"] = 10**9 if interrupts else 12 * 10**9
    assert server.do(argv=["vllm", "other"], accept=True).begin()["slot"] == "b", "and the run is lost"
    assert (server.live / "sock").is_symlink() is not interrupts
    assert server.do("stop", check=True).begin()["changed"] and server.states["wo-tiny@b.service"] == "active"
    assert server.change("stop")["changed"] and set(server.states.values()) == {"inactive"}
    assert sorted(os.listdir(server.live)) == ["served", "serves"], "it starts with the server"
    assert server.change("stop")["changed"] is False


def test_an_engine_that_a_lost_run_left_makes_room_for_the_next_start(server):
    server.change()
    server.memory["MemAvailable"] = 10**9
    server.do(argv=["vllm", "other"], accept=True).begin()
    server.asked.clear()
    assert server.change("start")["changed"]
    assert server.asked == ["stop wo-tiny@b.service", "start --no-block wo-tiny@a.service"]
    assert not (server.live / "b").exists() and json.loads((server.live / "a").read_text())["argv"][0] == "vllm"


def test_an_engine_that_a_lost_run_left_beside_what_serves_ends_with_the_next_apply(server):
    server.change()
    server.do(argv=["vllm", "other"]).begin()
    assert server.do(check=True).begin()["changed"] and server.states["wo-tiny@b.service"] == "active"
    server.asked.clear()
    assert server.change()["changed"] and server.asked == ["stop wo-tiny@b.service"]
    assert server.change()["changed"] is False and server.do("start").begin()["changed"] is False
    assert os.readlink(server.live / "sock").endswith("-a/engine.sock")


def test_the_model_before_stays_and_a_check_knows_what_serves(server, module, monkeypatch):
    ids = (f"20261123-0000{number:02}-abc" for number in range(60))
    monkeypatch.setattr(module("webops_release").Releases, "new_id", lambda _self, _commit: next(ids))
    kept, live = module("webops_model_prune").kept, module("webops_model_preflight").live_commit
    models = "/srv/webops/tiny/shared/models/models--some--tiny/snapshots"
    assert kept(server.served, "/srv/models/x") == ["/srv/models/x"] and live(server.served, "some/tiny") == ""
    for commit, before in (("a" * 40, []), ("b" * 40, ["a" * 40]), ("c" * 40, ["b" * 40]), ("b" * 40, ["c" * 40])):
        server.change(argv=["vllm", "serve", f"{models}/{commit}", "--uds={socket}"])
        assert kept(server.served, f"{models}/{commit}") == [f"{models}/{one}" for one in (commit, *before)]
        assert live(server.served, "some/tiny") == commit and live(server.served, "some/other") == ""


def test_a_rehearsal_does_nothing(server):
    server.do(check=True).begin()
    assert server.asked == [] and os.listdir(server.live) == []


def test_time_outs_and_limits_are_obeyed_without_a_new_start(server):
    unit = "[Service]\nExecStart=/x\nExecStop=/y 600\nTimeoutStopSec=630\nMemoryMax=85%\nUser=wo-tiny\n"
    server.change(unit=unit)
    other = unit.replace("600", "30").replace("630", "60").replace("85%", "8G")
    assert server.do(unit=other, check=True).begin()["changed"] is False
    assert server.do(unit=unit.replace("wo-tiny", "wo-other"), check=True).begin()["changed"], "as an apply will"


def test_the_cause_is_told_by_who_knows_it(module):
    slot = module("webops_engine_slot")
    lines = ["(EngineCore pid=7) ERROR 11-23 02:40:01 [core.py:9] Traceback (most recent call last):",
             "(EngineCore pid=7) ERROR 11-23 02:40:01 [core.py:9] ValueError: No memory for the cache blocks.",
             "(APIServer pid=5) RuntimeError: Engine core initialization failed. See root cause above."]
    assert slot.cause(lines) == "ValueError: No memory for the cache blocks."
    with pytest.raises(module("webops_unit").Refused, match="took more memory than it may"):
        slot.refuse_ended({"ActiveState": "failed", "Result": "oom-kill"}, lines)
    slot.refuse_ended({"ActiveState": "activating", "SubState": "start-post", "NRestarts": "0"}, lines)
    shown = slot.told(["(EngineCore pid=7) INFO 11-23 02:40:01 [core.py:9] Loading took 1 s", "", "  ▀▀▀ version 1"])
    assert shown == ["Loading took 1 s"]


class FakeEngine(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Not vLLM: it answers at the paths that the program `engine` asks, as the test wants."""

    daemon_threads = True
    completion, embedding = 200, 404
    under_way = 0.0


class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/metrics":
            gauges = f"vllm:num_requests_running{{engine=\"0\"}} {self.server.under_way}\n" \
                "vllm:num_requests_waiting{engine=\"0\"} 0.0\nvllm:num_requests_waiting{engine=\"1\"} +Inf\n" \
                "vllm:num_requests_waiting_by_reason{engine=\"0\",reason=\"capacity\"} 7.0\n"
            return self.say(200, gauges)
        return self.say(200, json.dumps({"data": [{"id": "tiny"}]}))

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert asked["model"] == "tiny"
        if self.path == "/v1/embeddings":
            return self.say(self.server.embedding, "no embedding")
        assert (self.path, asked["max_tokens"]) == ("/v1/completions", 1)
        return self.say(self.server.completion, "no completion")

    def say(self, status, text):
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def address_string(self):
        return "x"

    def log_message(self, *_words):
        pass


@pytest.fixture
def fake(tmp_path):
    with FakeEngine(str(tmp_path / "engine.sock"), Answers) as one:
        threading.Thread(target=one.serve_forever, daemon=True).start()
        yield one
        one.shutdown()


def started(fake, *words, process=None):
    environment = {**os.environ, "MAINPID": str(process or os.getpid())}
    argv = [sys.executable, "-IS", str(ENGINE), words[0], fake.server_address, *words[1:]]
    return subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, text=True)


def test_ready_is_what_has_answered_a_completion(fake):
    fake.completion = 503
    waits = started(fake, "ready")
    time.sleep(1)
    assert waits.poll() is None, "an engine that only listens counted as ready"
    fake.completion = 200
    assert waits.wait(20) == 0 and "has answered" in waits.stdout.read()


def test_what_will_never_answer_is_not_waited_for(fake):
    fake.completion = 404
    refused = started(fake, "ready")
    words = refused.stdout.read()
    assert refused.wait(20) == 1 and "answered 404" in words and "no completion" in words
    dead = subprocess.Popen(["true"])
    dead.wait()
    fake.completion = 503
    assert started(fake, "ready", process=dead.pid).wait(20) == 1


def test_a_model_that_only_embeds_is_ready_when_it_has_embedded(fake):
    fake.completion, fake.embedding = 404, 503
    waits = started(fake, "ready")
    time.sleep(1)
    assert waits.poll() is None, "an engine that does not embed yet counted as ready, or as refused"
    fake.embedding = 200
    assert waits.wait(20) == 0


def test_a_drain_waits_for_the_last_answer(fake):
    fake.under_way = 2.0
    waits = started(fake, "drain", "60")
    time.sleep(2)
    assert waits.poll() is None, "it did not wait for what was under way"
    fake.under_way = 0.0
    assert waits.wait(20) == 0
    fake.under_way = 1.0
    assert started(fake, "drain", "1").wait(20) == 0


def test_the_tests_with_a_real_engine_run_again_where_what_serves_a_model_changed(tmp_path):
    from tests.llm.digest import SOURCES, digest

    for source in SOURCES:
        assert list(ENGINE.parents[3].glob(source)), f"tests/llm/digest.py names {source}, which is not there"
    (tmp_path / "tests/llm").mkdir(parents=True)
    (tmp_path / "tests/llm/test_life.py").write_text("one")
    before = digest(tmp_path)
    (tmp_path / "tests/llm/passed").write_text(before)
    (tmp_path / "README.md").write_text("other")
    assert digest(tmp_path) == before
    (tmp_path / "tests/llm/test_life.py").write_text("two")
    assert digest(tmp_path) != before
