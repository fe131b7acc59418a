"""A language model before an engine is there: what a real server refuses in words, without a change, and how a model of
a hub is fetched, served, kept. The hub is ours (tests/hub.py), over TLS; the client that fetches is the real one, in a
stand-in for an engine, which would take minutes to install (tests/llm has a real one). nvidia-smi is one, too."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox import authority
from sandbox.snapshot import difference
from sandbox.suite import Sandbox
from tests.hub import COMMIT, Hub, Repository, running
from tests.llm import tiny
from tests.sandbox.roles.conftest import Ready, boot
from tests.sandbox.roles.play import ROOT, Played
from tests.watcher import Watcher

pytestmark = pytest.mark.sandbox

NAME, TOKEN = "chat", "hf_" + "Zq7" * 11
ENGINE = "/opt/webops/engines/cpu-0.32.0-python3.11-1"
#: It answers at the paths that are asked, with Debian's aiohttp, which the gate brings.
VLLM = """#!/usr/bin/python3
# Not vLLM: a stand-in for tests.
import runpy, sys
sys.argv[1:] = [word.partition("=")[2] for word in sys.argv if word.startswith("--uds=")]
runpy.run_path("/usr/local/lib/fake_engine.py", run_name="__main__")
"""
LIVE, MODELS = f"/srv/webops/{NAME}/live", f"/srv/webops/{NAME}/shared/models/models--some--gated"
FIRST, SECOND, THIRD = COMMIT, "e" * 40, "f" * 40
OLD_DRIVER = """#!/bin/sh
# Not NVIDIA's: a stand-in for tests.
case "$*" in
*--query-gpu*) echo "0, GPU-1, NVIDIA L4, 23034, 4, 23030, 535.54.03, 8.9" ;;
*--query-compute-apps*) ;;
*) echo "| NVIDIA-SMI 535.54.03   Driver Version: 535.54.03   CUDA Version: 12.2 |" ;;
esac
"""


@pytest.fixture(scope="module")
def hub(box: Sandbox) -> Iterator[Hub]:
    names = ("hub.sandbox.test", "large.sandbox.test")
    with running(box.gateway(), names, authority.certificate(box.place, names)) as one:
        yield one


@pytest.fixture(scope="module")
def ready(box: Sandbox, hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ready]:
    one = boot(box, "model", "bookworm", tmp_path_factory.mktemp("play"), trust=[box.root_certificate()])
    box.add_hosts(one.server, {name: box.gateway() for name in ("hub.sandbox.test", "large.sandbox.test")})
    made = tiny.make(tmp_path_factory.mktemp("models") / "tiny")
    hub.repositories["some/tiny"] = Repository({path.name: path.read_bytes() for path in made.iterdir()})
    yield one
    box.down(one.server)


@pytest.fixture(scope="module")
def engine(ready: Ready, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A Python with the hub's client, and a stand-in for vLLM, where the role looks for the engine, with its mark."""
    packages = tmp_path_factory.mktemp("engine")
    subprocess.run([str(Path(sys.executable).parent / "uv"), "pip", "install", "-q", "--python-version", "3.11",
                    "--target", str(packages), "huggingface_hub>=1.31.0,<3.0"], check=True)
    packed = subprocess.run(["tar", "cz", "--exclude=hf_xet", "-C", str(packages), "."], check=True,
                            capture_output=True).stdout
    ready.run("sh", "-ec", f"python3 -m venv --without-pip {ENGINE}; base64 -d | tar xz --no-same-owner "
              f"-C {ENGINE}/lib/python3.*/site-packages; chmod -R a+rX {ENGINE}",
              text=base64.b64encode(packed).decode())
    ready.run("sh", "-ec", f"cat > {ENGINE}/bin/vllm; chmod 755 {ENGINE}/bin/vllm", text=VLLM)
    ready.run("sh", "-ec", "cat > /usr/local/lib/fake_engine.py", text=(ROOT / "tests" / "fake_engine.py").read_text())
    ready.run("touch", f"{ENGINE}/engine.json")


def play(ready: Ready, hub: Hub, /, planned: str = "", options: dict[str, Any] | None = None, **values: Any) -> Played:
    given = {"model": "some/tiny", "engine": "cpu", "eager": True, "max_length": 1024, "kv_cache": "64M",
             "hub": hub.address, "ready_timeout": 60, **values}
    return ready.play("vllm_model", NAME, {**{f"vllm_model_{key}": value for key, value in given.items()},
                                           **({"webops_planned": {"commit": planned}} if planned else {})},
                      **(options or {}))


def gated(ready: Ready, hub: Hub, action: str = "main", /, *, check: bool = False, **values: Any) -> Played:
    """The gated model, by the branch that it has; a swap as webops-deploy does it."""
    account = "webops-admin" if action == "main" else "webops-deploy"
    done = play(ready, hub, options={"action": action, "check": check, "account": account},
                **{"model": "some/gated", "hub_token": TOKEN, **values})
    assert not done.failed and done.code == 0, done.words() or done.output
    return done


def snapshots(ready: Ready) -> list[str]:
    return ready.run("ls", f"{MODELS}/snapshots").split()


@pytest.mark.parametrize(("spoil", "restore", "values", "words"), [
    ("mkdir -p -m 755 /srv/models/empty", "rm -r /srv/models", {"model": "/srv/models/empty"}, "holds no config.json"),
    ("true", "true", {"dtype": "float16", "model": "some/gemma"}, "cannot be served in float16"),
    ("true", "true", {"model": "some/gated"}, "is gated"),
    ("true", "true", {"model": "some/none"}, "has no model some/none"),
    ("true", "true", {"model": "some/large"}, "Does not fit: needs "),
    ("mkdir -p /srv/webops; mount -t tmpfs -o size=8M none /srv/webops", "umount /srv/webops", {},
     "free, but the weights"),
    ("tee /usr/local/bin/nvidia-smi; chmod 755 /usr/local/bin/nvidia-smi", "rm /usr/local/bin/nvidia-smi",
     {"engine": "auto", "kv_cache": ""}, "driver is 535.54.03, which speaks CUDA 12.2; this engine needs CUDA 13.0"),
], ids=["no config", "wrong dtype", "gated", "no model", "too large", "full disk", "old driver"])
def test_what_cannot_be_is_refused_in_words_and_changes_nothing(
        ready: Ready, hub: Hub, spoil: str, restore: str, values: dict[str, Any], words: str) -> None:
    files = hub.repositories["some/tiny"].files
    config = json.loads(files["config.json"])
    hub.repositories["some/gated"] = Repository(files, gated=True)
    hub.repositories["some/gemma"] = Repository({**files, "config.json": json.dumps(
        {**config, "architectures": ["Gemma2ForCausalLM"], "model_type": "gemma2"}).encode()})
    hub.repositories["some/large"] = Repository({**files, "model.safetensors": Large(1 << 45)})
    ready.run("sh", "-ec", spoil, text=OLD_DRIVER)
    try:
        before = ready.snapshot()
        refused = play(ready, hub, **values)
        assert refused.failed == "Look at the server and at the model" and refused.changed == []
        assert words in refused.words(), refused.words()
        assert refused.error["next"]
        assert difference(before, ready.snapshot()) == []
    finally:
        ready.run("sh", "-ec", restore)


class Large(bytes):
    """Bytes that say that they are many."""

    def __new__(cls, size: int) -> Large:
        one = super().__new__(cls, b"")
        one.size = size
        return one

    def __len__(self) -> int:
        return self.size


@pytest.mark.usefixtures("engine")
def test_a_gated_model_is_fetched_as_its_own_user_and_the_token_is_nowhere(ready: Ready, hub: Hub) -> None:
    files = {**hub.repositories["some/tiny"].files, "weights-b.safetensors": os.urandom(30 << 20)}
    hub.repositories["some/gated"] = Repository(files, gated=True)
    hub.tokens, hub.slow = {TOKEN: True}, 8 << 20
    hub.asked.clear()
    with Watcher([TOKEN]) as watcher:
        done = gated(ready, hub)
    assert watcher.rounds > 5 and watcher.seen == set()
    place = f"{MODELS}/snapshots/{FIRST}"
    assert done.results["Fetch the model from the hub"]["directory"] == place
    assert sorted(ready.run("ls", place).split()) == sorted(files)
    assert ready.run("sha256sum", f"{place}/weights-b.safetensors").split()[0] in ready.run(
        "readlink", f"{place}/weights-b.safetensors")
    assert ready.run("find", f"/srv/webops/{NAME}/shared/models", "!", "-user", f"wo-{NAME}") == ""
    told = {headers.get("authorization") for _, path, headers in hub.asked if "/resolve/" in path}
    assert told == {f"Bearer {TOKEN}"}
    assert all("authorization" not in headers for _, path, headers in hub.asked if path.startswith("/large/"))
    found = ready.run("grep", "-rlsF", TOKEN, "/srv", "/etc", "/opt/webops", "/run", "/var", "/tmp", "/home", "/root",
                      check=False)
    assert found == "", "the token lies in a file"
    assert TOKEN not in ready.run("journalctl", "--no-pager", "-q") and TOKEN not in done.output


@pytest.mark.usefixtures("engine")
def test_what_is_there_is_not_fetched_again_and_a_plan_gets_its_commit(ready: Ready, hub: Hub) -> None:
    hub.slow = 0
    hub.asked.clear()
    assert gated(ready, hub).changed == []
    assert not [path for _, path, _ in hub.asked if path.startswith("/large/")]
    move_on(hub, SECOND)
    held = gated(ready, hub, planned=SECOND)
    assert held.results["Look at the server and at the model"]["webops_plan"]["from"]["id"] == FIRST
    assert held.results["Fetch the model from the hub"]["directory"].endswith(SECOND)
    blobs = ready.run("ls", f"{MODELS}/blobs").split()
    assert len(blobs) == len(hub.repositories["some/gated"].files) + 1, "what both commits have is there once"
    assert snapshots(ready) == sorted([FIRST, SECOND]), "a swap back would need a download"


def move_on(hub: Hub, commit: str) -> None:
    """Its branch is at another commit now."""
    one = hub.repositories["some/gated"]
    hub.repositories["some/gated"] = Repository(
        {**one.files, "config.json": one.files["config.json"] + b" "}, commit=commit, gated=True,
        before={**one.before, one.commit: one.files})


@pytest.mark.usefixtures("engine")
def test_what_serves_is_no_drift_wherever_its_branch_went_and_whether_the_hub_is_there(ready: Ready, hub: Hub) -> None:
    move_on(hub, THIRD)
    assert gated(ready, hub, check=True, planned="live").changed == [], "the look for drift"
    assert gated(ready, hub, check=True, planned="live", hub="https://127.0.0.1:9").changed == []
    assert gated(ready, hub, planned="live", hub="https://127.0.0.1:9").changed == [], "a reconcile"
    assert "Fetch the model from the hub" in gated(ready, hub, check=True).changed, "an apply takes what is new"


@pytest.mark.usefixtures("engine")
def test_a_swap_keeps_the_model_before_and_goes_back_to_it_without_the_hub(ready: Ready, hub: Hub) -> None:
    assert "Fetch the model from the hub" in gated(ready, hub, "swap").changed
    assert snapshots(ready) == sorted([SECOND, THIRD]), "others than the last two"
    assert ready.run("find", f"{MODELS}/snapshots", "-xtype", "l") == "", "a link to nothing"
    back = gated(ready, hub, "swap", revision=SECOND, hub="https://127.0.0.1:9")
    assert back.changed == ["Let the model answer, then let traffic go to it"]
    assert SECOND in ready.run("cat", f"{LIVE}/serves")


@pytest.mark.usefixtures("engine")
def test_an_engine_sees_neither_keys_nor_tokens(ready: Ready) -> None:
    slot = ready.run("readlink", f"{LIVE}/sock").split("/")[2][-1]
    process = ready.run("systemctl", "show", "-p", "MainPID", "--value", f"wo-{NAME}@{slot}.service").strip()
    asked = f"setpriv --reuid wo-{NAME} --regid wo-{NAME} --init-groups cat /srv/webops/{NAME}/env/keys.json"
    assert '"keys"' in ready.run("sh", "-c", asked), "the group of the model may read them"
    assert ready.run("nsenter", "-m", "-t", process, "sh", "-c", asked, check=False) == ""


@pytest.mark.usefixtures("engine")
def test_an_engine_that_a_lost_run_left_ends_with_a_stop(ready: Ready, hub: Hub) -> None:
    """A run writes what the other slot shall run, starts it, and is never heard of again."""
    slot = ready.run("readlink", f"{LIVE}/sock").split("/")[2][-1]
    other = "b" if slot == "a" else "a"
    ready.run("runuser", "-u", "webops-deploy", "--", "sh", "-ec",
              f"sed 's/{NAME}-{slot}/{NAME}-{other}/' {LIVE}/{slot} > {LIVE}/{other}; rm {LIVE}/sock")
    ready.run("systemctl", "start", f"wo-{NAME}@{other}.service")
    assert gated(ready, hub, "stop").changed and gated(ready, hub, "stop").changed == []
    units = [f"wo-{NAME}@{one}.service" for one in "ab"]
    assert ready.run("systemctl", "is-active", *units, check=False).split() == ["inactive", "inactive"]
    assert ready.run("ls", LIVE).split() == ["served", "serves"]
