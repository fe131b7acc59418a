"""Ansible that was read ahead and forked says and does what a started one does."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
#: In a process of its own, as in a run: reading Ansible ahead is for a process that does nothing else.
SPAWN = """
import json, os, sys, threading
from panel.runs import ahead

ahead.read({})
argv, environment, threads = json.load(sys.stdin)
for _ in range(threads):
    threading.Thread(target=threading.Event().wait, daemon=True).start()
child = ahead.Spawn("ansible-playbook", argv, env={**os.environ, **environment}, encoding="utf-8",
                    echo=False, ignore_sighup=True)
said = child.read()
child.close()
print(json.dumps([child.is_forked, child.exitstatus, said]), flush=True)
os._exit(0)
"""
PLAY = [{"hosts": "all", "gather_facts": False, "connection": "local", "tasks": [
    {"name": "Say where", "ansible.builtin.debug": {"msg": "{{ lookup('env', 'MARK') }} {{ playbook_dir }}"}},
    {"name": "Fail", "ansible.builtin.fail": {"msg": "in words"}, "when": "fails | default(false) | bool"}]}]


@pytest.fixture
def play(tmp_path: Path):
    (tmp_path / "play.yml").write_text(json.dumps(PLAY))
    (tmp_path / "hosts.ini").write_text("here\n")
    environment = {"HOME": str(tmp_path), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                   "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "ANSIBLE_HOME": str(tmp_path / "home"),
                   "ANSIBLE_LOCAL_TEMP": str(tmp_path / "tmp"), "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
                   "ANSIBLE_NOCOLOR": "1", "WEBOPS_PLAIN": "1"}

    def spawn(*words: str, threads: int = 0, **more: str) -> tuple[bool, int, str]:
        told = [["-i", str(tmp_path / "hosts.ini"), str(tmp_path / "play.yml"), *words],
                {"MARK": "marked", **more}, threads]
        done = subprocess.run([sys.executable, "-c", SPAWN], input=json.dumps(told), env=environment, cwd=ROOT,
                              capture_output=True, text=True, check=True, timeout=60)
        forked, code, said = json.loads(done.stdout.splitlines()[-1])
        return forked, code, said

    return spawn


def _without_chance(said: str) -> str:
    return re.sub(r"\d+(\.\d+)?s\b", "", said)


@pytest.mark.parametrize("words,code,text", [
    ((), 0, "marked"), (("-e", "fails=true"), 2, "in words"), (("--not-an-option",), 2, "unrecognized arguments")])
def test_forked_and_started_are_the_same(play, words, code, text):
    forked, started = play(*words), play(*words, ANSIBLE_SOMETHING="else")
    assert (forked[0], started[0]) == (True, False)
    assert forked[1] == started[1] == code
    assert text in forked[2]
    assert _without_chance(forked[2]) == _without_chance(started[2])


def test_where_something_else_goes_on_it_is_started(play):
    """A thread would be cut in two by the fork."""
    forked, code, _ = play(threads=1)
    assert (forked, code) == (False, 0)
