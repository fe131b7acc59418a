"""A model is fetched with the engine's own client: whole, at one commit, going on where it broke off. The hub is ours
(tests/hub.py); the client is the real one, in an environment as an engine has it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hub import COMMIT, Hub, Repository, running
from tests.unit.sized import ROOT, action

MODEL = "Some/Model"
#: The client writes ten million bytes and some at once.
WEIGHTS = os.urandom(25 << 20)
FILES = {"config.json": b'{"model_type": "llama"}', "tokenizer.json": b"{}", "vocab.json": b"{}",
         "model.safetensors": WEIGHTS,
         "README.md": b"not read", "original/model.safetensors": WEIGHTS}
WANTED = ["config.json", "tokenizer.json", "vocab.json", "model.safetensors"]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python that has the client, of the versions that the pinned engines allow."""
    place = tmp_path_factory.mktemp("engine")
    for words in (["venv", "-q", str(place / "env")],
                  ["pip", "install", "-q", "--python", str(place / "env"), "huggingface_hub>=1.31.0,<3.0"]):
        subprocess.run([str(Path(sys.executable).parent / "uv"), *words], check=True)
    return place / "env" / "bin" / "python"


@pytest.fixture
def hub() -> Iterator[Hub]:
    with running() as one:
        one.repositories[MODEL] = Repository(dict(FILES))
        yield one


def started(client: Path, hub: Hub, place: Path, token: str = "", **more: Any) -> subprocess.Popen[str]:
    question = {"model": MODEL, "commit": COMMIT, "files": WANTED, "bytes": len(WEIGHTS), "hub": hub.address,
                "models": str(place / "models"), "every": 0.2, "pause": 0, **more}
    sender = action().load("webops_sender", ROOT / "plugins" / "action" / "webops_fetch.py")
    environment = {"PATH": "/usr/bin:/bin", "HF_HOME": str(place / "home"), **({"HF_TOKEN": token} if token else {})}
    one = subprocess.Popen([client, "-I", "-", json.dumps(question)], text=True, env=environment, cwd=place,
                           stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert one.stdin
    one.stdin.write(sender.program("report", "model_download"))
    one.stdin.close()
    return one


def download(client: Path, hub: Hub, place: Path, token: str = "", **more: Any) -> tuple[dict[str, Any], str]:
    """What the program reports, and what it wrote."""
    one = started(client, hub, place, token, **more)
    assert one.stdout
    with one:
        said = one.stdout.read()
    report = next((line for line in said.splitlines() if line.startswith("webops-result ")), None)
    assert report, said
    return json.loads(report.split(" ", 1)[1]), said


def blob(place: Path) -> Path:
    return place / "models" / "models--Some--Model" / "blobs" / hashlib.sha256(WEIGHTS).hexdigest()


def fetched(hub: Hub, name: str) -> list[dict[str, str]]:
    return [headers for method, path, headers in hub.asked if method == "GET" and path.endswith(name)]


def test_the_files_that_are_read_are_there_and_no_others(client: Path, hub: Hub, tmp_path: Path) -> None:
    found, _ = download(client, hub, tmp_path)
    assert found["directory"] == str(tmp_path / "models" / "models--Some--Model" / "snapshots" / COMMIT)
    assert sorted(os.listdir(found["directory"])) == sorted(WANTED)
    assert (Path(found["directory"]) / "model.safetensors").read_bytes() == WEIGHTS
    before = len(fetched(hub, "model.safetensors"))
    assert download(client, hub, tmp_path)[0] == found
    assert len(fetched(hub, "model.safetensors")) == before, "what is there is not fetched again"


def test_it_goes_on_where_the_connection_broke(client: Path, hub: Hub, tmp_path: Path) -> None:
    hub.breaks, hub.breaks_after = 1, 12 << 20
    found, _ = download(client, hub, tmp_path)
    assert (Path(found["directory"]) / "model.safetensors").read_bytes() == WEIGHTS
    ranges = [headers.get("range") for headers in fetched(hub, "/large/Some/Model/model.safetensors")]
    assert ranges[-1] and int(re.findall(r"\d+", ranges[-1])[0]) >= 10 << 20, ranges


def test_another_run_goes_on_where_one_was_killed(client: Path, hub: Hub, tmp_path: Path) -> None:
    hub.slow, part = 12 << 20, blob(tmp_path).with_suffix(".incomplete")
    with started(client, hub, tmp_path) as one:
        while not part.exists() or part.stat().st_size < 10 << 20:
            assert one.poll() is None
        one.kill()
    hub.slow = 0
    hub.asked.clear()
    found, _ = download(client, hub, tmp_path)
    assert (Path(found["directory"]) / "model.safetensors").read_bytes() == WEIGHTS
    ranges = [headers.get("range") for headers in fetched(hub, "/large/Some/Model/model.safetensors")]
    assert len(ranges) == 1 and ranges[0] and int(re.findall(r"\d+", ranges[0])[0]) >= 10 << 20, ranges


def test_a_hub_that_goes_away_is_told(client: Path, hub: Hub, tmp_path: Path) -> None:
    hub.address = "http://127.0.0.1:9"
    stopped, _ = download(client, hub, tmp_path)
    assert "The download broke off" in stopped["failed"] and "not fetched again" in stopped["next"]


def test_what_came_damaged_is_fetched_anew(client: Path, hub: Hub, tmp_path: Path) -> None:
    blob(tmp_path).parent.mkdir(parents=True)
    blob(tmp_path).with_suffix(".incomplete").write_bytes(b"x" * (5 << 20))
    found, _ = download(client, hub, tmp_path)
    assert (Path(found["directory"]) / "model.safetensors").read_bytes() == WEIGHTS


def test_it_says_how_far_it_is(client: Path, hub: Hub, tmp_path: Path) -> None:
    hub.slow = 20 << 20
    _, lines = download(client, hub, tmp_path, bytes=3 << 30)
    assert re.search(r"^0\.0 of 3\.0 GiB, \d+ MiB/s, about .* left$", lines, re.MULTILINE), lines


def test_the_commit_that_was_looked_at_is_the_one_that_comes(client: Path, hub: Hub, tmp_path: Path) -> None:
    hub.repositories[MODEL] = Repository({**FILES, "config.json": b"{}"}, commit="f" * 40)
    assert "does not give Some/Model any more" in download(client, hub, tmp_path)[0]["failed"]


def test_a_gated_model_wants_its_token_and_the_token_goes_nowhere_else(client: Path, hub: Hub, tmp_path: Path) -> None:
    hub.repositories[MODEL].gated, hub.tokens = True, {"hf_theirs": True}
    assert "does not give" in download(client, hub, tmp_path)[0]["failed"]
    hub.asked.clear()
    found, lines = download(client, hub, tmp_path, token="hf_theirs")
    assert "directory" in found and "hf_theirs" not in lines
    assert {headers.get("authorization") for headers in fetched(hub, "/resolve/" + COMMIT + "/config.json")} == {
        "Bearer hf_theirs"}
    assert all("authorization" not in headers for _, path, headers in hub.asked if path.startswith("/large/"))
    held = [path for path in tmp_path.rglob("*") if path.is_file() and b"hf_theirs" in path.read_bytes()]
    assert not held


def test_what_the_download_left_is_seen_before_the_next(client: Path, hub: Hub, tmp_path: Path, program: Any) -> None:
    """The look before a download and the client agree on where files lie."""
    download(client, hub, tmp_path)
    question = {"model": MODEL, "revision": "", "hub": hub.address, "token": "", "models": str(tmp_path / "models")}
    seen = program("model_look").hub(question)
    assert seen["here"] == sorted(WANTED) and seen["snapshot"].endswith(COMMIT) and seen["unfinished"] == 0


def test_a_commit_that_is_here_needs_no_hub(client: Path, hub: Hub, tmp_path: Path, program: Any) -> None:
    download(client, hub, tmp_path)
    question = {"model": MODEL, "hub": "http://127.0.0.1:9", "token": "", "models": str(tmp_path / "models")}
    look = program("model_look").hub
    seen = look({**question, "revision": COMMIT})
    assert seen["commit"] == COMMIT and seen["here"] == sorted(WANTED) and seen["config"] == {"model_type": "llama"}
    assert look({**question, "revision": "main"})["problem"]["code"] == "no_answer", "nobody knows what main is now"
    assert look({**question, "revision": "e" * 40})["problem"]["code"] == "no_answer"


def test_what_serves_no_more_goes_and_what_another_commit_needs_stays(
        client: Path, hub: Hub, tmp_path: Path, program: Any) -> None:
    first = Path(download(client, hub, tmp_path)[0]["directory"])
    hub.repositories[MODEL] = Repository({**FILES, "config.json": b'{"a": 1}'}, commit="f" * 40)
    second = Path(download(client, hub, tmp_path, commit="f" * 40)[0]["directory"])
    hub.repositories["Some/Other"] = Repository(dict(FILES))
    other = Path(download(client, hub, tmp_path, model="Some/Other")[0]["directory"])
    blob(tmp_path).with_suffix(".incomplete").write_bytes(b"x" * 9000)
    prune, models = program("model_prune").prune, str(tmp_path / "models")
    assert prune({"models": models, "keep": [str(second)], "look": True})["freed"] > len(WEIGHTS)
    assert first.exists() and other.exists(), "it only looked"
    assert prune({"models": models, "keep": [str(second)]})["freed"] > len(WEIGHTS)
    assert not first.exists() and not other.parents[1].exists()
    assert (second / "model.safetensors").read_bytes() == WEIGHTS and (second / "config.json").stat().st_size == 8
    assert len(list(blob(tmp_path).parent.iterdir())) == len(WANTED) - 1, "two of the same content are one"
    assert prune({"models": models, "keep": [str(second)]})["freed"] == 0
    assert prune({"models": str(tmp_path / "none"), "keep": []})["freed"] == 0
