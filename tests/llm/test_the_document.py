"""docs/llm.md, command by command, in a terminal, against a real panel; after test_life.py, on the same server."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.exits import Exit
from panel.settings import ROOT
from tests.llm.conftest import DOMAIN, Model
from tests.sandbox.test_cli_docs import PASSWORD, Terminal
from tests.unit import test_docs
from tests.unit.test_cli_processes import Installation

pytestmark = pytest.mark.sandbox
DOCUMENT = ROOT / "docs" / "llm.md"
FLAGS = "--engine cpu --eager --dtype float32 --kv-cache 128M --max-sequences 8 --certificate self_signed"


def commands() -> list[str]:
    """Those that no other test runs: a hub cannot be reached from here."""
    mine = f"tests/llm/{Path(__file__).name}"
    return [line for line in test_docs.commands(DOCUMENT) if test_docs.PROVED.get(line, mine) == mine]


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    password = tmp_path / "password"
    password.write_text(PASSWORD)
    (tmp_path / "work").mkdir()
    with tempfile.TemporaryDirectory(prefix="wo-") as short:
        installation = Installation(Path(short))
        for words in (("user", "add", "ada", "--admin", "--password-file", str(password)), ("up", "--detach")):
            done = installation.webops(*words)
            assert done.returncode == 0, done.stdout + done.stderr
        one = Terminal(tmp_path / "work", {
            **installation.environment, "TERM": "xterm", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "WEBOPS_CONFIG": str(tmp_path / "config.json")})
        code, screen = one.run(f"webops login {installation.environment['WEBOPS_BASE_URL']} --name ada")
        assert code == Exit.OK, screen
        yield one
        assert installation.webops("down").returncode == 0


def test_every_command_of_the_document_does_what_it_says(terminal: Terminal, model: Model) -> None:
    server = model.ready.server
    # The words of the document, and what they stand for here: a tiny model, on processors, without an authority.
    words = {"192.0.2.10": server.address, "~/.ssh/id_ed25519": str(server.ssh_key), "models.example.org": DOMAIN,
             "--model /srv/models/qwen-new": "--model /srv/models/two",
             "--model /srv/models/qwen": f"--model /srv/models/one {FLAGS}",
             "webops model chat chat": "webops model chat chat --max-tokens 20"}
    shown = {}
    for command in commands():
        line = command
        for there, here in words.items():
            line = line.replace(there, here)
        code, shown[command] = terminal.run(line)
        assert code == Exit.OK, f"{line}\n{shown[command]}"
    key = re.search(r"sk-wo-[\w-]{43}", shown["webops model keys add chat laptop"])
    assert key and model.status("/v1/models", "-H", f"Authorization: Bearer {key[0]}") == "200"
    assert "/srv/models/two" in shown["webops status chat"], "what was swapped in is not the resource's own"
    assert model.serving() == "b"
