"""What must hold under the fast strategy as it does under Ansible's own: secrets, host keys, users, cancel."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from sandbox import Sandbox, Server
from sandbox.place import REPOSITORY

SECRET = "correct-horse-battery-staple"
ANSIBLE = Path(sys.executable).with_name("ansible-playbook")


class Plays:
    """Plays a few tasks on a bare server, with this repository's ansible.cfg."""

    def __init__(self, box: Sandbox, server: Server, place: Path) -> None:
        self.box, self.server, self.place = box, server, place
        self.known_hosts = server.known_hosts

    def command(self, tasks: list[dict[str, Any]]) -> list[str]:
        options = f"-o UserKnownHostsFile={self.known_hosts} -o GlobalKnownHostsFile=/dev/null -o IdentitiesOnly=yes"
        host = {"ansible_host": self.server.address, "ansible_user": "root", "ansible_ssh_common_args": options,
                "ansible_ssh_private_key_file": str(self.server.ssh_key)}
        play = {"hosts": "all", "gather_facts": False, "vars": {"secret": SECRET}, "tasks": tasks}
        (self.place / "hosts.json").write_text(json.dumps({"all": {"hosts": {"web1": host}}}))
        (self.place / "play.yml").write_text(json.dumps([play]))
        return [str(ANSIBLE), "-i", str(self.place / "hosts.json"), str(self.place / "play.yml")]

    def environment(self, **more: str) -> dict[str, str]:
        (self.place / "control").mkdir(exist_ok=True)
        return {**os.environ, "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self.place / "control"), "NO_COLOR": "1", **more}

    def __call__(self, *tasks: dict[str, Any], verbose: bool = False, **more: str) -> tuple[int, str]:
        done = subprocess.run([*self.command(list(tasks)), *(["-vvv"] if verbose else [])], cwd=REPOSITORY,
                              env=self.environment(**more), capture_output=True, text=True, check=False, timeout=120)
        return done.returncode, done.stdout + done.stderr

    def on_server(self, *argv: str) -> str:
        return self.box.guest(self.server, argv, check=False).stdout


@pytest.fixture(scope="module")
def server(box: Sandbox) -> Iterator[Server]:
    one = box.up("mitogen", "bookworm")
    yield one
    box.down(one)


@pytest.fixture
def plays(box: Sandbox, server: Server, tmp_path: Path) -> Plays:
    return Plays(box, server, tmp_path)


def logins(plays: Plays) -> int:
    return plays.on_server("journalctl", "-q", "--no-pager", "-u", "ssh", "--grep", "Accepted publickey").count("\n")


def test_the_fast_way_is_taken_with_one_login(plays: Plays) -> None:
    before = logins(plays)
    # The first task needs no server: while it runs, the connection is begun.
    code, said = plays({"ansible.builtin.assert": {"that": True}}, {"ansible.builtin.ping": {}},
                       {"webops_files": {"files": []}}, verbose=True)
    assert code == 0, said
    assert "ESTABLISH SSH CONNECTION" not in said, "Ansible's own connection was used"
    assert "webops_linear:" not in said, "the strategy could not prepare what it wanted to"
    assert logins(plays) == before + 1
    assert not list((plays.place / "control").iterdir()), "a connection outlives the play"


def test_without_mitogen_the_same_is_done(plays: Plays) -> None:
    code, said = plays({"ansible.builtin.ping": {}}, {"webops_files": {"files": []}}, verbose=True, WEBOPS_PLAIN="1")
    assert code == 0, said
    assert "ESTABLISH SSH CONNECTION" in said


def test_a_hidden_task_shows_its_secret_nowhere(plays: Plays) -> None:
    show = {"ansible.builtin.command": {"argv": ["echo", "{{ secret }}"]}, "changed_when": False}
    write = {"ansible.builtin.copy": {"content": "{{ secret }}", "dest": "/root/secret", "mode": "0600"}}
    code, said = plays({**show, "no_log": True}, {**write, "no_log": True, "diff": True},
                       {**show, "no_log": True, "failed_when": True, "ignore_errors": True})
    assert code == 0, said
    assert plays.on_server("cat", "/root/secret") == SECRET
    assert SECRET not in said
    assert SECRET not in plays.on_server("journalctl", "-q", "--no-pager", "-b")


def test_what_a_module_was_called_with_stays_out_of_the_servers_journal(plays: Plays) -> None:
    content = "# webops\nsomething of a person\n"
    code, said = plays({"webops_files": {"files": [{"path": "/etc/webops-mitogen", "content": content}]}})
    assert code == 0, said
    assert "something of a person" not in plays.on_server("journalctl", "-q", "--no-pager", "-b")


def test_a_server_with_another_host_key_is_not_spoken_to(plays: Plays) -> None:
    known = plays.known_hosts.read_text()
    plays.known_hosts = plays.place / "known_hosts"
    key = plays.place / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    other = " ".join(key.with_suffix(".pub").read_text().split()[:2])
    for text in (f"{plays.server.address} {other}\n", ""):
        plays.known_hosts.write_text(text)
        code, said = plays({"ansible.builtin.copy": {"content": "x", "dest": "/root/touched", "mode": "0600"}})
        assert code == 4, said
        assert "UNREACHABLE" in said
        assert not plays.on_server("ls", "/root/touched")
        assert plays.known_hosts.read_text() == text
    assert known


def test_tasks_of_another_user_are_his(plays: Plays) -> None:
    mine = {"ansible.builtin.copy": {"content": "x", "dest": "/tmp/mitogen-debian", "mode": "0600"}}
    code, said = plays(
        {"ansible.builtin.command": {"argv": ["id", "-un"]}, "become": True, "become_user": "debian",
         "register": "who", "changed_when": False},
        {"ansible.builtin.assert": {"that": "who.stdout == 'debian'"}},
        {**mine, "become": True, "become_user": "debian"},
        {"ansible.builtin.command": {"argv": ["id", "-un"]}, "register": "who", "changed_when": False},
        {"ansible.builtin.assert": {"that": "who.stdout == 'root'"}})
    assert code == 0, said
    assert plays.on_server("stat", "-c", "%U", "/tmp/mitogen-debian").strip() == "debian"


@pytest.mark.parametrize("moment", ["before the connection stands", "in the middle of a task"])
def test_cancel_leaves_no_process_here_and_no_python_there(plays: Plays, moment: str) -> None:
    argv = plays.command([{"ansible.builtin.command": {"argv": ["sleep", "4711"]}}])
    running = subprocess.Popen(argv, cwd=REPOSITORY, env=plays.environment(), stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, start_new_session=True)
    if moment == "in the middle of a task":
        wait("the task runs", lambda: plays.on_server("pgrep", "-f", "sleep 4711"))
    else:
        wait("ssh is started", lambda: any(one.name() == "ssh" for one in below(running.pid)))
    tree = below(running.pid)
    running.terminate()
    running.wait(timeout=20)
    _gone, left = psutil.wait_procs(tree, timeout=20)
    assert not left, [one.cmdline() for one in left]
    wait("no Python of the play is left on the server", lambda: not plays.on_server("pgrep", "-f", "mitogen"))
    plays.on_server("pkill", "-f", "sleep 4711")


@pytest.mark.parametrize("user", ["root", "debian"])
def test_a_step_that_was_begun_comes_to_its_end_when_its_play_is_ended(plays: Plays, user: str) -> None:
    """Else a file would be new, what reads it as before, and the next play would see nothing to do."""
    home = plays.on_server("getent", "passwd", user).split(":")[5]
    wish = {"files": [{"path": f"{home}/wish", "content": "# webops\n", "mode": "0644"}],
            "after": [["sh", "-c", f"while [ ! -e {home}/go ]; do sleep 0.1; done"], ["touch", f"{home}/felt"]]}
    argv = plays.command([{"webops_files": wish, "become": user != "root", "become_user": user}])
    running = subprocess.Popen(argv, cwd=REPOSITORY, env=plays.environment(), stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, start_new_session=True)
    wait("the file is there", lambda: plays.on_server("ls", f"{home}/wish"))
    running.terminate()
    running.wait(timeout=20)
    # All that Mitogen and sudo do to what is left at the other end, they have done by then.
    time.sleep(6)
    plays.on_server("touch", f"{home}/go")
    wait("no Python of the play is left on the server", lambda: not plays.on_server("pgrep", "-f", "mitogen"))
    assert plays.on_server("ls", f"{home}/wish", f"{home}/felt").split() == [f"{home}/felt", f"{home}/wish"]


def below(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


def wait(what: str, found: Callable[[], Any]) -> None:
    limit = time.monotonic() + 30
    while not found():
        assert time.monotonic() < limit, f"not seen: {what}"
        time.sleep(0.05)
