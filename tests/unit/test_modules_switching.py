"""What serves an app when a change of it fails or is ended in the middle. systemd and the database are played."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.unit.test_modules_release import releases

__all__ = ["releases"]
WORKER = {"processes": [{"name": "worker", "command": ["celery"], "count": 1}]}
PARAMS: dict[str, Any] = {"name": "shop", "slots": True, "argv": ["{python}"], "environment": {},
                          "health": {"host": "x"}, "keep": 5, "run": {}, "release": "", "data": True,
                          "variable": "DATABASE_URL"}


def record(name: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "build": name, "commit": "4f1c9aa", "subject": "x", "author": "Ada", "committed": "",
            "served": True, "went_live": "2026-11-22T10:00:00Z", "project": {"cwd": "/x"}, **more}


class Server:
    """systemd, the probe and the database of one app; `said` is all that happened, in order."""

    def __init__(self, module, releases, monkeypatch, units: Path) -> None:
        self.releases, self.states, self.said = releases, dict[str, str](), list[str]()
        self.fails = dict[str, Exception]()
        self.switching, self.slot = module("webops_switching"), module("webops_slot")
        self.process, self.rollback = module("webops_process"), module("webops_rollback")
        self.refused = module("webops_unit").Refused
        for one in (self.slot, self.process, module("webops_prune")):
            monkeypatch.setattr(one, "systemctl", self.systemctl)
        for one in (self.slot, self.process):
            monkeypatch.setattr(one, "state", lambda unit: self.states.get(unit, "inactive"))
        monkeypatch.setattr(self.process, "units_in", self.units_in)
        monkeypatch.setattr(self.process, "UNITS", str(units))
        monkeypatch.setattr(self.process.Processes, "__init__", self.with_units(units))
        monkeypatch.setattr(self.process.Processes, "_settle", lambda *_more: self.happens("settled"))
        monkeypatch.setattr(self.process.Processes, "_invocation", lambda *_more: "")
        monkeypatch.setattr(self.slot.Slots, "wait_for_empty_queue", lambda *_more: self.happens("drains"))
        monkeypatch.setattr(self.slot.Probe, "ask", lambda *_more: self.happens("probed") or True)
        monkeypatch.setattr(self.rollback, "snapshot", self.snapshot)
        for one in (self.switching, self.rollback):
            monkeypatch.setattr(one, "Releases", lambda _name: releases)

    @staticmethod
    def with_units(units: Path):
        def begin(self, releases):
            self.releases, self.name, self.units = releases, releases.name, str(units)
            self.directory = os.path.join(releases.live_directory, "run")
        return begin

    def happens(self, what: str) -> None:
        self.said.append(what)
        if what in self.fails:
            raise self.fails.pop(what)

    def systemctl(self, verb: str, *units: str) -> Any:
        units = tuple(unit for unit in units if unit != "--no-block")
        self.states.update(dict.fromkeys(units, "inactive" if verb == "stop" else "active"))
        self.happens(f"{verb} {units[-1]}")
        return type("Ended", (), {"returncode": 0, "stderr": ""})

    def units_in(self, states: tuple[str, ...], _pattern: str) -> list[str]:
        return [unit for unit, state in self.states.items() if state in states and unit.startswith("wo-shop.")]

    def snapshot(self, _releases, _params, step: str, **_more: Any) -> dict[str, Any]:
        self.happens(step)
        return {"writes": 0, "tables": {}}

    def switch(self, release: dict[str, Any] | None = None, **more: Any) -> Any:
        return self.switching.Switch(PARAMS, False, release, **more)

    def deployed(self, name: str, **more: Any) -> dict[str, Any]:
        self.releases.save(record(name, **more))
        self.switch(self.releases.get(name)).serve()
        self.said.clear()
        return self.releases.live()

    def served(self) -> str | None:
        slots = self.slot.Slots(self.releases)
        slot = slots.serving()
        return slots.described(slot)["release"] if slot else None

    def running(self) -> set[str]:
        return {unit for unit, state in self.states.items() if state == "active" and not unit.endswith(".socket")}


@pytest.fixture
def server(module, releases, monkeypatch, tmp_path) -> Server:
    wants = tmp_path / "units" / "multi-user.target.wants"
    wants.mkdir(parents=True)
    (wants / "wo-shop.worker@1.service").symlink_to("/dev/null")
    return Server(module, releases, monkeypatch, tmp_path / "units")


def test_it_is_written_down_what_serves_before_anything_waits(server, releases):
    server.deployed("r1")
    server.deployed("r2")
    releases.save(record("r3"))
    server.fails["drains"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        server.switch(releases.get("r3")).serve()
    assert server.served() == releases.live()["id"] == "r3"


@pytest.mark.parametrize("pointer", ["b", "current"])
def test_clean_up_spares_what_serves_whatever_the_records_say(releases, pointer):
    for name in ("r1", "r2", "r3"):
        releases.save(record(name, build="r1" if name == "r2" else name))
        releases.write_environment(name, {})
    releases.make_live({"id": "r3"})
    if pointer == "b":
        Path(releases.live_directory, "b").write_text(json.dumps({"release": "r2"}))
    else:
        Path(releases.live_directory, "current").symlink_to("../public/r1")
    assert releases.forget(1) == ["r1"]
    assert releases.get("r2") and releases.environment("r2") == {}


def test_a_run_that_is_ended_takes_back_what_has_not_answered(server, releases):
    server.deployed("r1")
    before = server.running()
    releases.save(record("r2"))
    with pytest.raises(server.refused, match="The run was ended before the new release had answered"):
        server.switch(releases.get("r2"), ended=lambda: True).serve()
    assert "probed" not in server.said
    assert server.served() == "r1" and server.running() == before
    assert not Path(releases.live_directory, "b" if "wo-shop@a.service" in before else "a").exists()


def test_stop_ends_what_a_killed_run_left_without_traffic(server, releases):
    server.deployed("r1")
    idle = server.slot.Slots(releases).idle()
    Path(releases.live_directory, idle).write_text(json.dumps({"release": "r2"}))
    server.states[f"wo-shop@{idle}.service"] = "activating"
    assert server.switch().stop()["changed"]
    assert set(server.states.values()) == {"inactive"}
    assert not {"a", "b"} & set(os.listdir(releases.live_directory))
    assert not server.switch().stop()["changed"]
    server.states[f"wo-shop@{idle}.service"] = "activating"
    assert server.switch().stop()["changed"], "also where nothing else runs"
    assert set(server.states.values()) == {"inactive"}


@pytest.mark.parametrize("action", ["serve", "start", "restart"])
def test_a_site_that_was_left_closed_opens_when_it_is_served(server, releases, action):
    server.deployed("r1")
    page = Path(releases.live_directory, "maintenance")
    page.touch()
    assert getattr(server.switch(), action)()["changed"]
    assert not page.exists() and server.served() == "r1"
    assert action == "restart" or not getattr(server.switch(), action)()["changed"]


@pytest.fixture
def gone(server):
    """r1 with a worker, then r2, whose data shall go."""
    server.deployed("r1", contract=WORKER)
    server.deployed("r2", contract=WORKER)

    def back(check: bool = False, ended: bool = False) -> dict[str, Any]:
        return server.rollback.roll_back({**PARAMS, "release": "r1"}, check, lambda: ended)

    return back


def test_data_come_back_when_nobody_writes_any_more_and_the_site_is_closed(server, releases, gone):
    assert gone()["release"] == "r1"
    assert server.said[:3] == ["count", "stop wo-shop.worker@1.service", "stop wo-shop@b.service"]
    assert server.said[3:].index("restore") < server.said[3:].index("probed")
    assert server.served() == "r1"
    assert server.running() == {"wo-shop@a.service", "wo-shop.worker@1.service"}
    assert not Path(releases.live_directory, "maintenance").exists()


@pytest.mark.parametrize("unit", ["wo-shop.worker@1.service", "wo-shop.cron-nightly.service", "wo-shop.old@2.service"])
def test_what_does_not_end_is_named_before_the_site_is_closed_and_all_runs_on(server, gone, monkeypatch, unit):
    monkeypatch.setattr(server.process, "END_SECONDS", 0.3)
    stop = server.systemctl

    def slowly(verb, *units):
        stop(verb, *units)
        server.states[unit] = "deactivating"
        return type("Ended", (), {"returncode": 0, "stderr": ""})

    monkeypatch.setattr(server.process, "systemctl", slowly)
    what = unit.removeprefix("wo-shop.").removeprefix("cron-").partition("@")[0].removesuffix(".service")
    with pytest.raises(server.refused, match=f"^{what} of shop did not end within .* would write into the database"):
        gone()
    assert server.served() == "r2" and "restore" not in server.said
    assert not [one for one in server.said if one.startswith("stop wo-shop@")]
    assert server.said[-2:] == ["restart wo-shop.worker@1.service", "settled"]


def test_a_run_that_is_ended_before_the_data_come_back_brings_nothing_back(server, gone):
    with pytest.raises(server.refused, match="The run was ended before anything was brought back"):
        gone(ended=True)
    assert "restore" not in server.said and server.served() == "r2"
    assert "wo-shop.worker@1.service" in server.running()


@pytest.mark.parametrize("fails", ["restore", "probed"])
def test_data_and_code_stay_together_when_traffic_could_not_move(server, releases, gone, fails):
    server.fails[fails] = server.refused("no")
    with pytest.raises(server.refused, match="no"):
        gone()
    assert ("undo" in server.said) == (fails == "probed")
    assert server.served() == releases.live()["id"] == "r2"
    assert "wo-shop.worker@1.service" in server.running()
    assert not Path(releases.live_directory, "maintenance").exists()


def test_data_go_back_also_where_a_cancel_stopped_their_way_back(server, gone):
    server.fails.update(probed=server.refused("sick"), undo=server.refused("stopped"))
    with pytest.raises(server.refused, match="sick"):
        gone()
    assert server.said.count("undo") == 2 and server.served() == "r2"


def test_data_that_do_not_come_back_are_named_with_a_way_out(server, gone, monkeypatch):
    def snapshot(*_more: Any, step: str) -> dict[str, Any]:
        if step == "undo":
            raise server.refused("the disk is full")
        return {"writes": 0, "tables": {}}

    monkeypatch.setattr(server.rollback, "snapshot", lambda *more, step, **_rest: snapshot(*more, step=step))
    server.fails["probed"] = server.refused("sick")
    with pytest.raises(server.refused, match=r"^Nothing serves, and the data of r2 do not come back: the disk") as told:
        gone()
    assert "roll back to it without its data" in told.value.next


def test_data_and_code_stay_together_when_a_worker_does_not_start(server, releases, gone):
    server.fails["settled"] = server.refused("The release serves, and its process worker does not start")
    with pytest.raises(server.refused, match="The release serves, and its process worker"):
        gone()
    assert "undo" not in server.said
    assert server.served() == releases.live()["id"] == "r1"


@pytest.mark.parametrize("check", [True, False])
def test_a_release_whose_worker_is_not_installed_is_refused_before_anything_and_in_the_plan(server, gone, check,
                                                                                           tmp_path):
    (tmp_path / "units" / "multi-user.target.wants" / "wo-shop.worker@1.service").unlink()
    with pytest.raises(server.refused, match="Needs Apply, because the process worker 1 of that release"):
        gone(check)
    assert server.said == []
