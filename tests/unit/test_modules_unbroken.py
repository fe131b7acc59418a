"""A module that is told to end in the middle of its work brings it to its end; one that is killed leaves a note."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.plugins import PLUGINS

BEGIN = f"""
import os, signal, subprocess, sys
sys.path.insert(0, {str(PLUGINS / "module_utils")!r})
import webops_unbroken
from webops_unbroken import *
"""


def module_of(text: str, place: Path) -> int:
    """How a process ended that did this."""
    return subprocess.run([sys.executable, "-c", BEGIN + text], cwd=place, timeout=20, check=False).returncode


def test_what_was_begun_is_done_before_it_ends(tmp_path: Path) -> None:
    code = module_of("""
with unbroken() as ended:
    assert not ended()
    os.kill(os.getpid(), signal.SIGTERM)
    assert ended()
    open("done", "w").close()
open("too far", "w").close()
""", tmp_path)
    assert code == -signal.SIGTERM and os.listdir(tmp_path) == ["done"]


def test_a_terminal_that_goes_ends_neither_it_nor_what_it_called(tmp_path: Path) -> None:
    code = module_of("""
with unbroken():
    os.kill(os.getpid(), signal.SIGHUP)
    subprocess.run(["sh", "-c", "kill -HUP $$; touch done"])
subprocess.run(["sh", "-c", "kill -HUP $$; touch too-far"])
os.kill(os.getpid(), signal.SIGHUP)
""", tmp_path)
    assert code == -signal.SIGHUP and os.listdir(tmp_path) == ["done"]


@pytest.mark.parametrize(("how", "due"), [("SIGKILL", True), ("SIGTERM", False)])
def test_only_a_kill_leaves_a_note_that_a_program_was_not_told(tmp_path: Path, how: str, due: bool) -> None:
    module_of(f"""
webops_unbroken.DUE = "due-"
with until_felt("nginx"):
    assert is_due("nginx")
    os.kill(os.getpid(), signal.{how})
""", tmp_path)
    assert os.listdir(tmp_path) == (["due-nginx"] if due else [])


def test_what_fails_leaves_no_note(tmp_path: Path) -> None:
    module_of("""
webops_unbroken.DUE = "due-"
with until_felt("nginx"):
    raise ValueError
""", tmp_path)
    assert os.listdir(tmp_path) == []


def test_units_that_systemd_was_not_told_of_are_noticed(module, monkeypatch: pytest.MonkeyPatch,
                                                        tmp_path: Path) -> None:
    files, entry = module("webops_files"), module("webops_place").Entry
    program = tmp_path / "systemctl"
    program.write_text('#!/bin/sh\necho "$@" > "$0.asked"\n'
                       'echo NeedDaemonReload=no; echo; echo NeedDaemonReload=$SAYS\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    units = [entry({"path": f"{files.UNITS}/{name}", "content": "# webops"}) for name in ("wo-a@.service", "b.timer")]
    other = entry({"path": "/etc/nginx/x.conf", "content": "# webops"})
    monkeypatch.setenv("SAYS", "yes")
    assert files.is_late([*units, other])
    assert (tmp_path / "systemctl.asked").read_text() == "show -p NeedDaemonReload -- wo-a@*.service b.timer\n"
    assert not files.is_late([other]), "no unit, no question"
    monkeypatch.setenv("SAYS", "no")
    assert not files.is_late(units)
    told = files.commands({"test": [], "after": [["x"]], "daemon_reload": True}, [], late=True)
    assert told == [["systemctl", "daemon-reload"], ["x"]]
