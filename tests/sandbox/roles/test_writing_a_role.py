"""The role of docs/writing-a-role.md, written down as the document says, is a kind and does what it promises."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from panel.catalog import Refused, clean, read_kind
from tests.sandbox.roles.conftest import Ready
from tests.sandbox.roles.play import ROOT, Played

DOC = ROOT / "docs" / "writing-a-role.md"
GREETING = "/etc/webops/greeting-hello"


@pytest.fixture
def addon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An add-on with what stands in the document's blocks, each under the path of its first line."""
    folder = tmp_path / "greetings"
    for path, content in re.findall(r"^```yaml\n# (\S+)\n(.*?)^```", DOC.read_text(), re.MULTILINE | re.DOTALL):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(f"---\n{content}")
    monkeypatch.setenv("ANSIBLE_ROLES_PATH", f"{folder}/roles:{ROOT}/roles")
    yield folder


def test_the_document_makes_a_kind(addon: Path) -> None:
    kind = read_kind(addon / "roles" / "greeting", addon / "greeting.yml", "greetings")
    assert [one.key for one in kind.main.parameters] == ["text"]
    assert clean(kind, "main", {"text": "hello"}).values == {"greeting_text": "hello"}
    with pytest.raises(Refused, match="Text is needed"):
        clean(kind, "main", {})


def test_the_document_keeps_a_roles_promises(ready: Ready, addon: Path) -> None:

    def play(action: str = "main", check: bool = False) -> Played:
        played = ready.play(str(addon / "greeting"), "hello", {"greeting_text": "{{ 1 + 1 }} $(id)"},
                            action=action, check=check, group="greeting")
        assert played.code == 0, played.words() or played.output
        return played

    before = ready.snapshot()
    assert play(check=True).changed == play().changed == ["Write the greeting"]
    assert ready.run("cat", GREETING) == "{{ 1 + 1 }} $(id)\n"
    assert play().changed == play(check=True).changed == []
    play("remove")
    assert ready.snapshot() == before
