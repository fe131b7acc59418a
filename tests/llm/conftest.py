"""A ready server with two tiny models on it. All of it is the real thing: vLLM, systemd, nginx, OpenAI's client."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from sandbox import why_not
from sandbox.suite import Sandbox, sandbox
from tests.llm import tiny
from tests.sandbox.roles.conftest import Ready, boot
from tests.sandbox.roles.play import Played

pytest.register_assert_rewrite("tests.sandbox.roles.cycle")

NAME, DOMAIN = "chat", "models.example.org"
CLIENTS = Path(__file__).with_name("clients.py")
#: Named by nobody, so that a file of it on the server, or in a log, is found.
KEY = "sk-wo-" + "A0b1C2d3E4f5G6h7I8j9K0l1M2n3O4p5Q6r7S8t9U0v"
VALUES: dict[str, Any] = {
    "vllm_model_model": "/srv/models/one", "vllm_model_engine": "cpu", "vllm_model_eager": True,
    "vllm_model_dtype": "float32", "vllm_model_kv_cache": "128M", "vllm_model_max_sequences": 8,
    "vllm_model_domain": DOMAIN, "vllm_model_certificate": "self_signed",
}


@dataclass
class Model:
    """The server, and the model on it as its clients see it."""

    ready: Ready
    values: dict[str, Any] = field(default_factory=lambda: dict(VALUES))

    def play(self, action: str = "main", *, check: bool = False, account: str = "webops-admin", **more: Any) -> Played:
        given = {**self.values, **{f"vllm_model_{name}": value for name, value in more.items()}}
        return self.ready.play("vllm_model", NAME, given, action=action, check=check, account=account)

    def done(self, action: str = "main", **options: Any) -> Played:
        played = self.play(action, **options)
        assert played.code == 0 and not played.failed, played.words().strip() or played.output
        return played

    def start(self, action: str, *more: str) -> subprocess.Popen[str]:
        """OpenAI's client on this machine, which reaches the server as anybody does."""
        authority = self.ready.place / "authority.pem"
        authority.write_text(self.ready.run("cat", f"/etc/webops/certs/{NAME}-cert/fullchain.pem"))
        argv = [sys.executable, str(CLIENTS), action, self.ready.server.address, DOMAIN, KEY, NAME, *more]
        return subprocess.Popen(argv, env={"SSL_CERT_FILE": str(authority), "PATH": "/usr/bin:/bin"}, text=True,
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def ask(self) -> dict[str, Any]:
        """One answer of each form."""
        output, errors = self.start("once").communicate(timeout=300)
        assert output, errors
        return dict(json.loads(output))

    def status(self, path: str = "/v1/models", *options: str) -> str:
        return self.ready.curl(f"https://{DOMAIN}{path}", "-k", "-o", "/dev/null", "-w", "%{http_code}", *options)

    def states(self) -> dict[str, str]:
        """Of both slots, as systemd says it: {"a": "active", "b": "inactive"}."""
        return {slot: self.ready.run("systemctl", "show", "-p", "ActiveState", "--value",
                                     f"wo-{NAME}@{slot}.service").strip() for slot in "ab"}

    def serving(self) -> str:
        """The slot that traffic goes to; "" while there is none."""
        found = self.ready.run("readlink", f"/srv/webops/{NAME}/live/sock", check=False).strip()
        return found.removeprefix(f"/run/webops-{NAME}-").removesuffix("/engine.sock")


def until(seen: Callable[[], Any], what: str, seconds: float = 300) -> Any:
    """What `seen` gives once it gives something."""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        if found := seen():
            return found
        time.sleep(0.5)
    raise AssertionError(f"not within {seconds:.0f} s: {what}")


def put(ready: Ready, directory: Path, name: str) -> None:
    """A directory of this machine as /srv/models/<name> on the server."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.add(directory, arcname=name)
    ready.run("sh", "-ec", "mkdir -p -m 755 /srv/models; base64 -d | tar xz --no-same-owner -C /srv/models",
              text=base64.b64encode(packed.getvalue()).decode())


@pytest.fixture(scope="session")
def box() -> Iterator[Sandbox]:
    if reason := why_not():
        pytest.skip(reason)
    with sandbox("llm") as one:
        yield one


@pytest.fixture(scope="session")
def model(box: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    ready = boot(box, "llm", "bookworm", tmp_path_factory.mktemp("play"))
    for seed, name in enumerate(("one", "two")):
        put(ready, tiny.make(tmp_path_factory.mktemp("models") / name, seed), name)
    yield Model(ready)
    box.down(ready.server)
