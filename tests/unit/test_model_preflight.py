"""Before a model is fetched: what a server and a hub say, and every refusal in words. A small hub of ours stands in for
the real one (tests/hub.py), and programs named nvidia-smi for a driver: no test machine has one."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.hub import COMMIT, Hub, Repository, running
from tests.unit.sized import GIB, MODELS, ROOT, action, model

FAKE = """#!/bin/sh
# Not NVIDIA's: a stand-in for tests.
case "$*" in
*--query-gpu*) cat <<'END'
{gpus}END
;;
*--query-compute-apps*) cat <<'END'
{apps}END
;;
*) echo '| NVIDIA-SMI {driver}    Driver Version: {driver}    CUDA Version: {cuda} |' ;;
esac
"""


@pytest.fixture
def hub() -> Iterator[Hub]:
    with running() as one:
        yield one


@pytest.fixture
def server(tmp_path: Path, hub: Hub, program: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    return Server(tmp_path, hub, program("model_look"))


class Server:
    """This machine as the program sees it, with the GPUs that a test gives it."""

    def __init__(self, place: Path, hub: Hub, program: ModuleType) -> None:
        self.place, self.hub, self.program = place, hub, program
        self.facts: dict[str, Any] = {}
        self.sockets: list[dict[str, str]] = []
        self.user = ""

    def gpus(self, used: tuple[int, ...] = (4,), driver: str = "580.82.07", cuda: str = "13.0", apps: str = "",
             name: str = "NVIDIA L4", total: int = 23034, capability: str = "8.9") -> None:
        """As many as there are numbers of MiB in use."""
        lines = "".join(f"{index}, GPU-{index}, {name}, {total}, {held}, {total - held}, {driver}, {capability}\n"
                        for index, held in enumerate(used))
        (self.place / "bin").mkdir(exist_ok=True)
        fake = self.place / "bin" / "nvidia-smi"
        fake.write_text(FAKE.format(gpus=lines, apps=apps, driver=driver, cuda=cuda))
        fake.chmod(0o755)

    def question(self, **wanted: Any) -> dict[str, Any]:
        return {"model": wanted["model"], "revision": wanted.get("revision", ""), "hub": self.hub.address,
                "token": wanted.get("token", ""), "engine": wanted.get("engine", "auto"), "user": self.user,
                "models": str(self.place / "models"), "sockets": self.sockets,
                "engines": {one: str(self.place / "engines" / one) for one in ("cpu", "gpu")}}

    def look(self, **wanted: Any) -> dict[str, Any]:
        """What the program says."""
        found: dict[str, Any] = json.loads(json.dumps(self.program.look(self.question(**wanted))))
        return found

    def judge(self, **wanted: Any) -> dict[str, Any]:
        """The result of the task. `facts` change what was seen, where no machine can be made so."""
        seen = self.look(**wanted)
        for name, value in self.facts.items():
            seen[name] = {**seen[name], **value} if isinstance(value, dict) and seen.get(name) else value
        arguments = {"wanted": {"hub": self.hub.address, **wanted}, "catalogue": str(
            ROOT / "roles" / "vllm_model" / "meta" / "presets.yml"), "engines": {
            "cpu": {"bytes": 0}, "gpu": {"bytes": 0, "cuda": "13.0"}}}
        found: dict[str, Any] = action().answer(arguments, seen)
        return found


def publish(hub: Hub, name: str, *, stored: int | None = None, **more: Any) -> str:
    """A published model on the hub: its real config; files whose sizes are told, not kept."""
    one = MODELS[name]
    config = {**one["config"], **more.pop("config", {})}
    hub.repositories[one["id"]] = Repository({"config.json": json.dumps(config).encode(), "tokenizer.json": b"{}",
                                              "model.safetensors": Sized(stored or one["bytes"])}, **more)
    return str(one["id"])


class Sized(bytes):
    """Bytes that say that they are many."""

    def __new__(cls, size: int) -> Sized:
        one = super().__new__(cls, b"")
        one.size = size
        return one

    def __len__(self) -> int:
        return self.size


def refused(result: dict[str, Any], code: str) -> str:
    assert result.get("failed"), result
    assert result["changed"] is False and code in result["codes"], result["codes"]
    assert result["next"] and all("None" not in line for line in result["journal"])
    return f"{result['msg']} {result['next']}"


def test_what_fits_is_said_in_figures(server: Server) -> None:
    server.gpus()
    found = server.judge(model=publish(server.hub, "qwen3-8b"), max_length=16384)
    assert not found.get("failed"), found["msg"]
    assert (found["engine"], found["gpus"], found["commit"]) == ("gpu", [0], COMMIT)
    assert found["engine_directory"] == str(server.place / "engines" / "gpu")
    figures = found["webops_plan"]["model"]
    assert figures["weights"] == figures["stored"] == figures["download"] == MODELS["qwen3-8b"]["bytes"]
    assert figures["kv_per_token"] == 147456 and figures["kv_wanted"] == 16384 * 147456
    assert figures["weights"] + figures["kv_wanted"] < figures["total"] < figures["has"] == int(23034 * 2**20 * 0.9)
    assert found["webops_summary"].startswith("Needs 18.7 GiB of 20.2 GiB on GPU 0: weights 15.3 GiB, KV cache 2.2 GiB")
    assert not found["complete"] and found["files"] == ["config.json", "tokenizer.json", "model.safetensors"]
    assert found["directory"].endswith(f"/models/models--Qwen--Qwen3-8B/snapshots/{COMMIT}")


def test_what_does_not_fit_says_what_would(server: Server) -> None:
    server.gpus(used=(4, 4))
    said = refused(server.judge(model=publish(server.hub, "qwen3-14b")), "does_not_fit")
    assert "Does not fit: needs 35.0 GiB, has 20.2 GiB on GPU 0 (weights 27.5 GiB, KV cache 6.2 GiB for 40,960" in said
    assert "It fits with 2 GPUs (tensor parallel 2)" in said
    assert "Qwen/Qwen3-14B-AWQ (awq, needs 16.8 GiB)" in said
    assert "max length" not in said.partition("It fits with")[2], "the weights alone are too large"


def test_what_would_fit_does_fit(server: Server) -> None:
    server.gpus()
    said = refused(server.judge(model=publish(server.hub, "qwen3-8b")), "does_not_fit")
    length = int(said.partition("max length ")[2].split()[0].rstrip(".,"))
    assert length % 1024 == 0 and 16384 < length < 40960
    assert not server.judge(model="Qwen/Qwen3-8B", max_length=length).get("failed")
    assert server.judge(model="Qwen/Qwen3-8B", max_length=length + 1024).get("failed")


def test_fewer_conversations_at_once_are_offered_where_they_are_enough(server: Server) -> None:
    server.gpus(name="NVIDIA H200", total=143771, capability="9.0")
    server.facts = {"disk": {"free": 500 * GIB}}
    one = publish(server.hub, "qwen3-8b", stored=int(124 * GIB))
    said = refused(server.judge(model=one, max_length=4096), "does_not_fit")
    count = int(said.partition("at most ")[2].split()[0])
    assert not server.judge(model=one, max_length=4096, max_sequences=count).get("failed")


def test_a_cache_that_holds_less_than_one_conversation(server: Server) -> None:
    server.facts = {"gpus": [], "memory": {"total": 64 * GIB, "available": 60 * GIB, "own": 0}}
    said = refused(server.judge(model=publish(server.hub, "qwen3-4b"), engine="cpu", kv_cache="1G"), "cache_too_small")
    assert "A KV cache of 1.0 GiB holds about 7,281 tokens, but one request may have 40,960" in said
    assert "max length 7168" in said


def test_a_cpu_has_the_memory_that_nobody_else_uses(server: Server) -> None:
    one = publish(server.hub, "qwen3-4b")
    server.facts = {"memory": {"total": 16 * GIB, "available": 6 * GIB, "own": 0}}
    assert "has 6.0 GiB of the server's memory" in refused(
        server.judge(model=one, engine="cpu", kv_cache="1G", max_length=4096), "does_not_fit")
    server.facts = {"memory": {"total": 16 * GIB, "available": 6 * GIB, "own": 9 * GIB}}
    again = server.judge(model=one, engine="cpu", kv_cache="1G", max_length=4096)
    assert not again.get("failed"), "what its own running engine holds is free for the next one"
    assert again["beside"] is False, "but not for both at once"
    assert "memory limit is 4.0 GiB" in refused(
        server.judge(model=one, engine="cpu", kv_cache="1G", max_length=4096, memory="4G"), "limit_too_small")


@pytest.fixture
def seen_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Directories of tests lie below /tmp, which an engine does not see."""
    monkeypatch.setattr(sys.modules[f"{model().__name__}.model"], "_HIDDEN", ())


def test_a_directory_that_the_engine_cannot_see(server: Server, tmp_path: Path) -> None:
    assert "no access to /home, /root and /tmp" in refused(server.judge(model=str(tmp_path)), "hidden_place")


@pytest.mark.usefixtures("seen_everywhere")
def test_a_directory_without_a_config(server: Server, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    said = refused(server.judge(model=str(tmp_path / "empty")), "no_config")
    assert "holds no config.json" in said
    assert "There is no directory" in refused(server.judge(model=str(tmp_path / "none")), "no_directory")
    (tmp_path / "empty" / "config.json").write_text("{not json")
    assert "not JSON" in refused(server.judge(model=str(tmp_path / "empty")), "bad_config")
    (tmp_path / "empty" / "config.json").write_text(json.dumps(MODELS["qwen3-4b"]["config"]))
    (tmp_path / "empty" / "pytorch_model.bin").write_bytes(b"x")
    assert "only .bin" in refused(server.judge(model=str(tmp_path / "empty")), "no_weights")


@pytest.mark.usefixtures("seen_everywhere")
def test_a_directory_that_the_engine_may_not_read(server: Server, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    server.facts = {"model": {"problem": {"code": "not_readable", "detail": "closed"}}}
    said = refused(server.judge(model=str(closed)), "not_readable")
    assert f"chmod -R o+rX {closed}" in said


@pytest.mark.parametrize(("name", "wanted", "words"), [
    ("qwen3-4b", {"dtype": "bfloat16"}, "bfloat16 needs 8.0"),
    ("qwen3-4b", {"dtype": "float16", "config": {"model_type": "gemma2"}}, "cannot be served in float16"),
    ("qwen3-4b", {"config": {"model_type": "gemma3_text"}}, "needs bfloat16, which this GPU"),
    ("gpt-oss-20b", {"dtype": "float32"}, "is not served in float32")])
def test_a_wrong_number_format(server: Server, name: str, wanted: dict[str, Any], words: str) -> None:
    server.gpus(name="Tesla T4", capability="7.5")
    one = publish(server.hub, name, config=wanted.pop("config", {}))
    assert words in refused(server.judge(model=one, max_length=1024, **wanted), "wrong_dtype")


@pytest.mark.parametrize(("wanted", "code", "words"), [
    ({"quantization": "gptq", "config": {"quantization_config": {"quant_method": "awq"}}}, "wrong_quantization",
     "is quantized with awq, not with gptq"),
    ({"quantization": "awq"}, "not_quantized", "cannot be done while loading"),
    ({"engine": "cpu", "quantization": "bitsandbytes"}, "quantization_not_there", "not possible on a CPU"),
    ({"max_length": 99999}, "too_long", "made for 40,960 tokens"),
    ({"tensor_parallel": 3}, "heads_do_not_divide", "32 attention heads, which cannot be spread over 3 GPUs"),
    ({"config": {"architectures": ["NoSuchForCausalLM"]}}, "unknown_architecture",
     "does not know the architecture NoSuch"),
    ({"config": {"architectures": ["NoSuchForCausalLM"], "auto_map": {"AutoConfig": "x.Y"}}}, "remote_code",
     "brings Python code of its own"),
    ({"config": {"hidden_size": None}}, "unknown_shape", "has no hidden_size")])
def test_a_model_that_the_engine_cannot_serve_so(server: Server, wanted: dict[str, Any], code: str, words: str) -> None:
    server.gpus(used=(4, 4, 4, 4))
    one = publish(server.hub, "qwen3-4b", config=wanted.pop("config", {}))
    assert words in refused(server.judge(model=one, **{"max_length": 1024, **wanted}), code)


def test_code_of_a_model_that_the_engine_knows_itself_is_not_needed(server: Server) -> None:
    server.gpus()
    one = publish(server.hub, "qwen3-4b", config={"auto_map": {"AutoConfig": "x.Y"}})
    assert not server.judge(model=one, max_length=1024).get("failed")


def test_an_engine_that_is_there_is_asked_what_it_knows(server: Server) -> None:
    server.gpus()
    registry = server.place / "engines/gpu/lib/python3.11/site-packages/vllm/model_executor/models/registry.py"
    registry.parent.mkdir(parents=True)
    registry.write_text('_TEXT_GENERATION_MODELS = {\n    "NewForCausalLM": ("new", "NewForCausalLM"),\n}\n'
                        '_PREVIOUSLY_SUPPORTED_MODELS = {\n    "OldForCausalLM": "0.1",\n}\n')
    for name, known in (("NewForCausalLM", True), ("OldForCausalLM", False), ("Qwen3ForCausalLM", False)):
        one = publish(server.hub, "qwen3-4b", config={"architectures": [name]})
        assert bool(server.judge(model=one, max_length=1024).get("failed")) is not known


@pytest.mark.parametrize(("token", "wanted", "code", "words"), [
    ("", {"gated": True}, "gated", "is gated"),
    ("mine", {"gated": True}, "not_let_in", "has not let in"),
    ("wrong", {}, "token_refused", "refused the hub token"),
    ("", {"private": True}, "no_model", "has no model"),
    ("", {"revision": "v9"}, "no_revision", "has no revision 'v9'")])
def test_what_a_hub_refuses(server: Server, token: str, wanted: dict[str, Any], code: str, words: str) -> None:
    server.hub.tokens = {"mine": False, "theirs": True}
    revision = wanted.pop("revision", "")
    one = publish(server.hub, "qwen3-4b", **wanted)
    assert words in refused(server.judge(model=one, token=token, revision=revision), code)


def test_a_gated_model_with_the_token_of_somebody_who_was_let_in(server: Server) -> None:
    server.gpus()
    server.hub.tokens = {"theirs": True}
    one = publish(server.hub, "qwen3-4b", gated=True)
    assert not server.judge(model=one, token="theirs", max_length=1024).get("failed")


def test_no_model_and_no_hub(server: Server) -> None:
    assert "has no model Nobody/Nothing" in refused(server.judge(model="Nobody/Nothing"), "no_model")
    server.hub.address = "http://127.0.0.1:9"
    assert "could not be asked" in refused(server.judge(model="Nobody/Nothing"), "no_answer")


def test_an_old_driver(server: Server) -> None:
    server.gpus(driver="550.54.14", cuda="12.4")
    said = refused(server.judge(model=publish(server.hub, "qwen3-4b"), max_length=1024), "old_driver")
    assert "driver is 550.54.14, which speaks CUDA 12.4; this engine needs CUDA 13.0" in said
    assert "580.65.06 or newer" in said
    server.gpus(driver="580.65.06", cuda="?")
    assert not server.judge(model="Qwen/Qwen3-4B", max_length=1024).get("failed"), "known by the driver's number alone"
    server.gpus(driver="570.10", cuda="?")
    refused(server.judge(model="Qwen/Qwen3-4B", max_length=1024), "old_driver")


def test_no_gpu_where_one_is_wanted(server: Server) -> None:
    one = publish(server.hub, "qwen3-4b")
    assert "nvidia-smi was not found" in refused(server.judge(model=one, engine="gpu"), "no_gpu")
    server.gpus(used=())
    assert "no GPU" in refused(server.judge(model=one, engine="gpu"), "no_gpu")


def test_a_gpu_that_is_not_there(server: Server) -> None:
    server.gpus(used=(4, 4))
    one = publish(server.hub, "qwen3-4b")
    said = refused(server.judge(model=one, gpus=[3]), "no_such_gpu")
    assert "has no GPU 3. It has 0 (NVIDIA L4), 1 (NVIDIA L4)." in said
    assert "needs 4 GPUs, but this server has 2" in refused(server.judge(model=one, tensor_parallel=4), "too_few_gpus")


def test_memory_that_somebody_else_holds_is_named(server: Server) -> None:
    server.gpus(used=(18000,), apps=f"GPU-0, {os.getpid()}, 17900, /usr/bin/python3\n")
    one = publish(server.hub, "qwen3-4b", stored=GIB)
    said = refused(server.judge(model=one, max_length=1024), "gpu_taken")
    import pwd
    assert f"python3 (process {os.getpid()}, user {pwd.getpwuid(os.geteuid()).pw_name}) holds 17.5 GiB" in said
    assert "GPU 0 has 4.9 GiB of its 22.5 GiB free" in said
    share = float(said.partition("memory to ")[2].rstrip("."))
    assert not server.judge(model=one, max_length=1024, gpu_memory=share).get("failed")


def test_another_gpu_is_taken_where_one_is_free(server: Server) -> None:
    server.gpus(used=(18000, 4))
    one = publish(server.hub, "qwen3-8b")
    assert server.judge(model=one, max_length=8192)["gpus"] == [1]
    assert "choose GPU 1" not in refused(server.judge(model=one, max_length=8192, gpus=[0]), "gpu_taken")


def test_what_its_own_engine_holds_is_its_own(server: Server) -> None:
    import pwd
    server.user = pwd.getpwuid(os.geteuid()).pw_name
    server.gpus(used=(20000,), apps=f"GPU-0, {os.getpid()}, 19900, VLLM::EngineCore\n")
    found = server.judge(model=publish(server.hub, "qwen3-8b"), max_length=8192)
    assert not found.get("failed") and found["beside"] is False
    server.gpus(used=(4,))
    assert server.judge(model="Qwen/Qwen3-8B", max_length=8192)["beside"] is True


def test_another_model_takes_a_gpu_that_is_free_beside_its_own(server: Server) -> None:
    import pwd
    server.user = pwd.getpwuid(os.geteuid()).pw_name
    server.gpus(used=(20000, 4), apps=f"GPU-0, {os.getpid()}, 19900, VLLM::EngineCore\n")
    one = publish(server.hub, "qwen3-8b")

    def chosen(**wanted: Any) -> tuple[list[int], bool]:
        found = server.judge(model=one, max_length=8192, **wanted)
        assert not found.get("failed"), found["msg"]
        return found["gpus"], found["beside"]

    server.facts = {"model": {"serves": server.judge(model=one, max_length=8192)["directory"]}}
    assert chosen() == ([0], False), "what serves is not moved"
    server.facts = {"model": {"serves": "/srv/models/other"}}
    assert chosen() == ([1], True)
    assert chosen(gpus=[0]) == ([0], False) and chosen(tensor_parallel=2)[0] == [0, 1]
    server.gpus(used=(20000, 9000), apps=f"GPU-0, {os.getpid()}, 19900, VLLM::EngineCore\n")
    assert chosen() == ([0], False), "somebody else has the other one"


def test_a_gpu_that_does_not_say_how_much_memory_it_has(server: Server) -> None:
    server.gpus(used=(4, 4))
    fake = server.place / "bin" / "nvidia-smi"
    fake.write_text(fake.read_text().replace("NVIDIA L4, 23034, 4, 23030", "NVIDIA GB10, [N/A], [N/A], [N/A]", 1))
    one = publish(server.hub, "qwen3-4b")
    assert server.judge(model=one, max_length=1024)["gpus"] == [1]
    for wanted in ({"gpus": [0]}, {"tensor_parallel": 2}, {"gpus": [0, 1], "tensor_parallel": 2}):
        said = refused(server.judge(model=one, max_length=1024, **wanted), "unmeasured_gpu")
        assert "does not say how much memory GPU 0 has" in said and "it has 0 (NVIDIA GB10), 1 (NVIDIA L4)" in said


def test_a_full_disk(server: Server) -> None:
    server.gpus()
    one = publish(server.hub, "qwen3-8b")
    server.facts = {"disk": {"free": 9 * GIB}}
    said = refused(server.judge(model=one, max_length=8192), "disk_full")
    assert "has 9.0 GiB free, but the weights take 15.3 GiB" in said


def test_what_is_downloaded_already_takes_no_more_room(server: Server) -> None:
    server.gpus()
    one = publish(server.hub, "qwen3-4b", stored=1000)
    server.hub.repositories[one].files["model.safetensors"] = b"x" * 1000
    here = server.place / "models" / "models--Qwen--Qwen3-4B" / "snapshots" / COMMIT
    here.mkdir(parents=True)
    assert server.judge(model=one, max_length=1024)["needs"]["download"] == 1000
    for name, content in server.hub.repositories[one].files.items():
        (here / name).write_bytes(content)
    found = server.judge(model=one, max_length=1024)
    assert found["complete"] and found["needs"]["download"] == 0
    (here / "tokenizer.json").unlink()
    assert not server.judge(model=one, max_length=1024)["complete"]


def test_a_cpu_without_avx2(server: Server) -> None:
    server.facts = {"cpu": {"machine": "x86_64", "flags": []}}
    assert "has no AVX2" in refused(server.judge(model=publish(server.hub, "qwen3-4b"), engine="cpu"), "no_avx2")


def test_a_socket_that_another_process_listens_on(server: Server) -> None:
    server.gpus()
    path = str(server.place / "x.sock")
    unit = server.place / "ours.socket"
    server.sockets = [{"path": path, "unit": str(unit)}]
    one = publish(server.hub, "qwen3-4b")
    assert not server.judge(model=one, max_length=1024).get("failed")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        assert "is in use by another process" in refused(server.judge(model=one, max_length=1024), "socket_in_use")
        unit.touch()
        assert not server.judge(model=one, max_length=1024).get("failed"), "its own gate listens there"


def test_all_problems_are_told_at_once(server: Server) -> None:
    server.gpus(driver="535.1", cuda="12.2")
    server.facts = {"disk": {"free": GIB}}
    found = server.judge(model=publish(server.hub, "qwen3-14b"))
    assert found["codes"] == ["old_driver", "disk_full", "does_not_fit"]
    assert "(And 2 more: " in found["msg"] and len(found["journal"]) == 3


def test_the_token_goes_to_the_hub_alone(server: Server) -> None:
    server.hub.tokens = {"theirs": True}
    one = publish(server.hub, "qwen3-4b", gated=True)
    config = server.hub.repositories[one].files.pop("config.json")
    server.hub.repositories[one].files = {"config.json": config, **server.hub.repositories[one].files}
    server.look(model=one, token="theirs")
    assert all(headers.get("authorization") == "Bearer theirs" for _, path, headers in server.hub.asked)


def test_it_looks_as_it_does_on_a_server(server: Server, module: Callable[[str], ModuleType]) -> None:
    """By the server's own Python, its text on stdin, with the token in no argument."""
    server.gpus()
    server.hub.tokens = {"theirs": True}
    one = publish(server.hub, "qwen3-4b", gated=True)
    sender = action().load("webops_sender", ROOT / "plugins" / "action" / "webops_fetch.py")
    question = json.dumps(server.question(model=one, token="theirs"))
    text = f"import json\nQUESTION = json.loads({question!r})\n{sender.program('report', 'model_look')}"
    ended = module("webops_model_preflight").ask("wo-nobody-here", text)
    line = next(line for line in ended.stdout.splitlines() if line.startswith("webops-result "))
    assert json.loads(line.split(" ", 1)[1])["model"] == server.look(model=one, token="theirs")["model"]


def test_a_plan_and_the_other_servers_of_a_group_decide_the_commit() -> None:
    asked, revision = {"revision": "main"}, action().revision
    others = {"inventory_hostname": "chat@web2", "ansible_play_hosts_all": ["chat@web1", "chat@web2", "shop@web1"],
              "hostvars": {"chat@web1": {"ansible_facts": {"webops_model_commit": COMMIT}}, "shop@web1": {}}}
    assert revision(asked, {}) == "main"
    assert revision(asked, others) == COMMIT
    assert revision(asked, {**others, "webops_planned": {"commit": "e" * 40}}) == "e" * 40
    assert revision(asked, {**others, "webops_planned": {"commit": "live"}}) == "main", "each stays with its own"
