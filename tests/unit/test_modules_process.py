"""What an app runs beside its web process: which units, with which description, and what has to be started anew."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.test_modules_release import releases

__all__ = ["releases"]
CONTRACT = {
    "processes": [{"name": "worker", "command": ["celery", "-A", "shop"], "count": 2, "memory": "1G"}],
    "cron": [{"name": "nightly", "schedule": "daily", "command": ["/bin/sh", "-c", "echo $X"]}],
    "commands_in": "backend",
}
RELEASE: dict[str, Any] = {
    "id": "r2",
    "build": "b1",
    "contract": CONTRACT,
    "project": {"settings": "shop.settings", "python": "/x/venv/bin/python", "cwd": "/x"},
}


@pytest.fixture
def processes(module, releases, tmp_path):
    (tmp_path / "units").mkdir()
    return module("webops_process").Processes(releases, str(tmp_path / "units"))


def test_each_has_a_description_with_the_programs_of_its_release(processes, releases):
    wanted = processes.wanted(RELEASE, {"MEDIA": "/m", "STATIC": "/public/{build}/static", "": "left out"})
    assert sorted(wanted) == ["cron-nightly", "worker@1", "worker@2"]
    top = f"{releases.base}/releases/b1"
    worker = wanted["worker@1"]
    assert worker["argv"] == ["celery", "-A", "shop"] and worker["cwd"] == f"{top}/app/backend"
    assert worker["env"]["PATH"].startswith(f"{top}/venv/bin:{top}/app/node_modules/.bin:")
    assert worker["env"]["DJANGO_SETTINGS_MODULE"] == "shop.settings"
    assert worker["env"]["STATIC"] == "/public/b1/static" and "" not in worker["env"]
    assert processes.unit("worker@2") == "wo-shop.worker@2.service"
    assert processes.unit("cron-nightly") == "wo-shop.cron-nightly.timer"


def test_a_release_from_before_contracts_has_none(processes):
    assert processes.wanted({key: RELEASE[key] for key in ("id", "build", "project")}, {}) == {}
    assert processes.there() == [] and processes.differs({"id": "r", "build": "b", "project": {}}, {}) == []


def test_what_runs_is_compared_with_what_is_wanted(processes):
    directory = Path(processes.directory)
    directory.mkdir()
    for name, description in processes.wanted(RELEASE, {}).items():
        (directory / name).write_text(json.dumps(description))
    (directory / "worker@1.4711").write_text("half a file, of an interrupted run")
    assert processes.differs(RELEASE, {}) == []
    fewer = {**RELEASE, "contract": {**CONTRACT, "processes": [{**CONTRACT["processes"][0], "count": 1}]}}
    assert processes.differs(fewer, {}) == ["worker@2"]
    (Path(processes.units) / "wo-shop.worker@.service").write_text("other limits")
    assert processes.differs(RELEASE, {}) == ["worker@1", "worker@2"]


def test_a_release_whose_processes_are_not_installed_is_refused_before_the_switch(module, processes):
    with pytest.raises(
        module("webops_unit").Refused, match="Needs Apply, because the process worker 1 of that release"
    ):
        processes.refuse_uninstalled(RELEASE)
    wants = Path(processes.units)
    for place, unit in (
        ("multi-user", "worker@1.service"),
        ("multi-user", "worker@2.service"),
        ("timers", "cron-nightly.timer"),
    ):
        (wants / f"{place}.target.wants").mkdir(exist_ok=True)
        (wants / f"{place}.target.wants" / f"wo-shop.{unit}").symlink_to("/dev/null")
    processes.refuse_uninstalled(RELEASE)


def test_all_are_started_and_what_is_gone_is_stopped(module, processes, monkeypatch):
    process = module("webops_process")
    calls: list[tuple[str, ...]] = []
    states: dict[str, str] = {}

    def systemctl(*argv: str) -> Any:
        calls.append(argv)
        states[argv[-1]] = "inactive" if argv[0] == "stop" else "active"
        return type("Ended", (), {"returncode": 0, "stderr": ""})

    monkeypatch.setattr(process, "systemctl", systemctl)
    monkeypatch.setattr(process, "state", lambda unit: states.get(unit, "inactive"))
    starts = itertools.count()
    monkeypatch.setattr(process, "show", lambda unit, *_names: {
        "ActiveState": states.get(unit), "NRestarts": "0", "Job": "", "InvocationID": next(starts)})
    monkeypatch.setattr(process, "SETTLED_SECONDS", 0)
    assert processes.follow(RELEASE, {}) == ["worker@1", "worker@2", "cron-nightly"]
    assert calls == [
        ("restart", "--no-block", "wo-shop.worker@1.service"),
        ("restart", "--no-block", "wo-shop.worker@2.service"),
        ("start", "wo-shop.cron-nightly.timer"),
    ]
    assert processes.follow(RELEASE, {}) == [], "the same again starts nothing"
    calls.clear()
    assert processes.follow({**RELEASE, "contract": {}}, {}) == []
    assert sorted(call[-1] for call in calls) == [
        "wo-shop.cron-nightly.timer",
        "wo-shop.worker@1.service",
        "wo-shop.worker@2.service",
    ]
    assert processes.there() == []


@pytest.mark.parametrize(
    "facts", [{"ActiveState": "failed"}, {"SubState": "auto-restart"}, {"ActiveState": "active", "Job": "5"}]
)
def test_one_that_ends_at_once_is_told_with_its_own_words(module, processes, monkeypatch, facts):
    process = module("webops_process")
    lines = [
        "Started wo-shop.worker@1.service",
        "Traceback (most recent call last):",
        "ImportError: no celery",
        "wo-shop.worker@1.service: Main process exited, code=exited, status=1/FAILURE",
    ]
    monkeypatch.setattr(process, "systemctl", lambda *_argv: type("Ended", (), {"returncode": 0, "stderr": ""}))
    monkeypatch.setattr(process, "state", lambda _unit: "inactive")
    starts = itertools.count()
    monkeypatch.setattr(process, "show", lambda *_names: {
        "NRestarts": str(next(starts)), "InvocationID": next(starts), **facts})
    monkeypatch.setattr(process, "journal", lambda *_more: lines)
    with pytest.raises(module("webops_unit").Refused) as refused:
        processes.follow(RELEASE, {})
    assert str(refused.value) == "The release serves, and its process worker does not start: ImportError: no celery"
    assert refused.value.journal == lines and "roll back" in refused.value.next
