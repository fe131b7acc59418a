"""`webops model … --local`: the same without a panel. ssh is a shell on this machine; the gate is real."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from cli.exits import Exit
from cli.local import conversation
from cli.main import root
from tests.gates import Gate
from tests.processes import short_folder

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="records of resources must belong to root")


@pytest.fixture(scope="module")
def gate() -> Iterator[Gate]:
    place = short_folder("near")
    made = Gate(place)
    made.engine()
    made.point_to("a")
    made.start()
    yield made
    made.close()
    shutil.rmtree(place)


@pytest.fixture
def webops(gate: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    ssh = tmp_path / "ssh"
    ssh.write_text(textwrap.dedent(f"""\
        #!{sys.executable}
        import os, sys
        os.execvp("sh", ["sh", "-c", sys.argv[-1]])
        """))
    ssh.chmod(0o755)
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"all": {"children": {
        "server": {"hosts": {"web1": {"ansible_host": "192.0.2.1"}}},
        "vllm_model": {"hosts": {"chat@web1": {}}}, "redis_db": {"hosts": {"cache@web1": {}}}}}}))
    records = tmp_path / "records"
    records.mkdir()
    (records / "chat.json").write_text(json.dumps({
        "kind": "vllm_model", "name": "chat", "desk": str(gate.desk), "keys": str(gate.place / "env" / "keys.json")}))
    monkeypatch.setenv("WEBOPS_INVENTORY", str(tmp_path))
    monkeypatch.setattr(conversation, "RECORDS", str(records))
    monkeypatch.setattr(conversation, "environment", lambda: {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"})
    return lambda *words: CliRunner().invoke(root, [*words, "--local"])


def test_keys_chat_and_measurement(webops: Any, gate: Gate) -> None:
    done = webops("model", "keys", "add", "chat", "near")
    assert done.exit_code == Exit.OK, done.output
    text = done.stdout.strip()
    assert gate.chat(text).status == 200
    assert re.search(r"near +sk-wo-\S+ +no limit", webops("model", "keys", "list", "chat").stdout)
    told = webops("model", "chat", "chat", "low water", "--max-tokens", "2")
    assert told.stdout.strip() == "low water" and "2 written" in told.stderr
    rows = webops("model", "bench", "chat", "--clients", "2", "--seconds", "1").stdout.splitlines()
    assert rows[1].split()[0] == "2"
    assert webops("model", "keys", "revoke", "chat", "near").exit_code == Exit.OK
    assert gate.chat(text).status == 401


def test_refusals_are_the_panels(webops: Any) -> None:
    assert "There is no key 'x'" in webops("model", "keys", "revoke", "chat", "x").output
    wrong = webops("model", "keys", "add", "chat", "a/b")
    assert wrong.exit_code == Exit.REFUSED and "A key's name has up to 64 letters" in wrong.output
    none = webops("model", "keys", "list", "cache")
    assert none.exit_code == Exit.REFUSED and "which has no keys" in none.output
