"""`webops install` without a machine: what was set stays, and what cannot be used never reaches the settings."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from click.testing import CliRunner, Result

from cli import install as command
from panel import settings

ROLE = settings.ROOT / "roles" / "panel"
#: Each option of the command, with a value that is not its default.
SET: dict[str, Any] = {
    "panel_domain": "panel.example.org", "panel_certificate": "self_signed", "panel_port": 8010, "panel_workers": 3,
    "panel_acme_directory": "https://ca.example.org/dir", "panel_acme_staging": True, "panel_acme_preflight": False,
    "panel_acme_ca_bundle": "/etc/ssl/ca.pem", "panel_acme_email": "ops@example.org", "panel_acme_terms": True,
    "panel_keep_runs_days": 0, "panel_git_networks": ["10.1.0.0/16", "fd00::/8"],
    "panel_database_url": "postgresql://webops:p$a#b%27@db.example.org/webops",
    "panel_redis_url": "redis://:secret@redis.example.org:6379/1",
}


class Machine:
    """Where it is installed: its settings file, and what was played there."""

    def __init__(self, folder: Path) -> None:
        self.settings = folder / "settings.env"
        self.played: dict[str, Any] | None = None

    def install(self, *words: str) -> Result:
        self.played = None
        return CliRunner().invoke(command.install, words)

    def play(self, _action: str, values: dict[str, Any], _check: bool) -> None:
        """What the role does with the settings file."""
        self.played = {name: value for name, value in values.items() if name not in command._OURS}
        rooms = {"__panel_state": "/var/lib/webops-panel", "__panel_settings": "/etc/webops-panel"}
        engine = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)
        engine.filters["bool"] = bool
        text = (ROLE / "templates" / "settings.env.j2").read_text()
        defaults = yaml.safe_load((ROLE / "defaults" / "main.yml").read_text())
        self.settings.write_text(engine.from_string(text).render({**defaults, **values, **rooms}))


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    one = Machine(tmp_path)
    monkeypatch.setattr(command, "_must_fit", lambda: None)
    monkeypatch.setattr(command, "_play", one.play)
    monkeypatch.setattr(command, "SETTINGS", one.settings)
    return one


@pytest.fixture
def installed(machine: Machine) -> Machine:
    """With every option."""
    machine.play("main", SET, False)
    return machine


def test_what_is_not_given_again_stays(installed: Machine) -> None:
    assert installed.install().exit_code == 0
    assert installed.played == SET, "every option is kept: one that is new needs its line in settings.env.j2"
    assert installed.install("--workers", "4", "--git-networks", "10.2.0.0/16").exit_code == 0
    assert installed.install().exit_code == 0
    assert installed.played == {**SET, "panel_workers": 4, "panel_git_networks": ["10.2.0.0/16"]}


def test_there_is_a_way_back_to_each_default(installed: Machine, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    done = installed.install("--unset", "database-url", "--unset", "git-networks", "--unset", "workers",
                             "--acme-email", "", "--secret-file", f"redis-url={tmp_path / 'empty'}")
    assert done.exit_code == 0, done.output
    assert installed.install().exit_code == 0 and installed.played
    assert not installed.played.get("panel_database_url") and not installed.played.get("panel_redis_url")
    assert not installed.played.get("panel_git_networks") and not installed.played.get("panel_acme_email")
    assert installed.played["panel_workers"] == 1 and installed.played["panel_keep_runs_days"] == 0
    assert installed.install("--unset", "domain").exit_code == 3 and installed.played is None


@pytest.mark.parametrize(("option", "value", "words"), [
    ("--git-networks", "nonsense", "10.1.0.0/16"), ("--git-networks", "10.1.0.7/16", "10.1.0.0/16"),
    ("--keep-runs-days", "-1", "0 or more"), ("--workers", "0", "1 or more"), ("--port", "0", "1-65535"),
    ("--database-url", "mysql://db/webops", "PostgreSQL"), ("--database-url", "postgresql://u:a b@db/x", "%20"),
    ("--redis-url", "nonsense", "Redis"),
])
def test_what_cannot_be_used_is_refused_in_words_before_anything_is_played(
        installed: Machine, option: str, value: str, words: str) -> None:
    before = installed.settings.read_text()
    given = [option, value]
    if option.endswith("-url"):
        file = installed.settings.with_name("secret")
        file.write_text(value)
        given = ["--secret-file", f"{option.removeprefix('--')}={file}"]
    done = installed.install(*given)
    assert done.exit_code == 3 and words in done.output, done.output
    assert option.removeprefix("--").replace("-", "_") in done.output
    assert installed.played is None and installed.settings.read_text() == before


@pytest.mark.parametrize("values", [SET, {"panel_domain": "panel.example.org"}])
def test_the_processes_can_read_what_was_written(machine: Machine, values: dict[str, Any],
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    machine.play("main", values, False)
    for name in [name for name in os.environ if name.startswith("WEBOPS_")]:
        monkeypatch.delenv(name)
    for line in machine.settings.read_text().splitlines():
        name, sign, value = line.partition("=")
        if sign and not name.endswith("_KEY_FILE"):
            monkeypatch.setenv(name, value.strip("'"))
    found = settings.load()
    assert found.base_url == "https://panel.example.org" and found.workers == values.get("panel_workers", 1)
    assert [str(one) for one in found.allowed_networks] == values.get("panel_git_networks", [])
    assert found.database_url == values.get("panel_database_url", "")
