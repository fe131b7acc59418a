"""docs/cli.md, command by command, in a terminal, against a real panel and a real server."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pexpect
import pytest

from cli import demo_world
from cli.exits import Exit
from cli.main import root
from panel.settings import ROOT
from sandbox import Sandbox, Server, network
from tests.unit.test_cli_processes import Installation

DOC = ROOT / "docs" / "cli.md"
PASSWORD = "correct horse battery"


@dataclass
class Terminal:
    """A shell's view: a folder to work in, an environment, and somebody who answers questions."""

    folder: Path
    environment: dict[str, str]

    def run(self, line: str) -> tuple[int, str]:
        """The exit code and what was on the screen."""
        child = pexpect.spawn("/bin/bash", ["-c", line], cwd=str(self.folder), env=self.environment, timeout=600,
                              encoding="utf-8", codec_errors="replace", dimensions=(40, 160),
                              # Tests that were started in the background ignore Ctrl-C; a terminal does not.
                              preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
        screen = ""
        answers = {r"Password: ": PASSWORD, r"Is it this server\? \[y/N\]: ": "y", r"API_KEY: ": "s3cr3t",
                   r"confirmation: ": "s3cr3t"}
        questions = [*answers, pexpect.EOF]
        if line.endswith(" -f"):
            questions.insert(0, r"\n")  # one line has come: that is enough
        while True:
            found = questions[child.expect(questions)]
            screen += str(child.before)
            if found is pexpect.EOF:
                break
            if found == r"\n":
                child.sendintr()
                questions.remove(r"\n")
            else:
                child.sendline(answers[found])
        child.close()
        return child.exitstatus if child.exitstatus is not None else -1, screen


def commands() -> list[str]:
    """Every line of a block of commands, in order."""
    blocks = re.findall(r"^```sh\n(.*?)^```", DOC.read_text(), re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


@pytest.fixture
def terminal(box: Sandbox, tmp_path: Path) -> Iterator[Terminal]:
    place = box.place
    with tempfile.TemporaryDirectory(prefix="wo-") as short:
        installation = Installation(Path(short))
        installation.environment["WEBOPS_GIT_NETWORKS"] = network.ensure(place).subnet
        added = installation.webops("user", "add", "ada", "--admin", "--password-file", str(_file(tmp_path)))
        assert added.returncode == 0, added.stderr
        started = installation.webops("up", "--detach")
        assert started.returncode == 0, started.stdout + started.stderr
        paths = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        yield Terminal(tmp_path / "work", {**installation.environment, "PATH": paths, "TERM": "xterm",
                                           "WEBOPS_CONFIG": str(tmp_path / "config" / "config.json"),
                                           "WEBOPS_INVENTORY": str(tmp_path / "work" / "inventory"),
                                           "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")})
        assert installation.webops("down").returncode == 0


def _file(folder: Path) -> Path:
    path = folder / "password"
    path.write_text(PASSWORD)
    return path


def prepare(terminal: Terminal, box: Sandbox, web1: Server) -> dict[str, str]:
    """What the words of the document stand for here."""
    box.up("web1", trust=[box.root_certificate()])
    (terminal.folder / "inventory").mkdir(parents=True)
    (terminal.folder / "api-key.txt").write_text("s3cr3t")
    (terminal.folder / "playbooks").symlink_to(ROOT / "playbooks")
    address = box.publish(demo_world.repository(terminal.folder.parent, "guestbook"), "guestbook")
    return {"http://127.0.0.1:8009": terminal.environment["WEBOPS_BASE_URL"], "192.0.2.10": web1.address,
            "192.0.2.20": box.up("web2").address, "~/.ssh/id_ed25519": str(web1.ssh_key),
            "https://git.example.org/guestbook.git": address}


def inventory(terminal: Terminal, web1: Server) -> None:
    """What a person writes before the first run by hand."""
    options = f"-o UserKnownHostsFile={web1.known_hosts} -o IdentitiesOnly=yes"
    (terminal.folder / "inventory" / "hosts.yml").write_text(f"""
all:
  children:
    django_app:
      hosts:
        guestbook@web1:
          ansible_host: {web1.address}
          ansible_user: root
          ansible_ssh_private_key_file: {web1.ssh_key}
          ansible_ssh_common_args: "{options}"
""")


def test_every_command_of_the_document_does_what_it_says(terminal: Terminal, box: Sandbox, web1: Server) -> None:
    words = prepare(terminal, box, web1)
    for command in commands():
        line = command
        for doc, here in words.items():
            line = line.replace(doc, here)
        if line.startswith("ansible-playbook"):
            inventory(terminal, web1)
        code, screen = terminal.run(line)
        assert code == Exit.OK, f"{command}\n{screen}"
        if line.startswith("ansible-playbook"):
            assert re.search(r"changed=0 .*failed=0", screen), screen
            shutil.rmtree(terminal.folder / "inventory")
        assert "s3cr3t" not in screen
    box.down(box.up("web2"))


def test_the_document_names_every_command_and_every_exit_code() -> None:
    text = DOC.read_text()
    for name in root.lazy:
        assert f"webops {name}" in text, f"docs/cli.md does not mention `webops {name}`"
    for one in Exit:
        assert f"| {one.value} | {one.name} |" in text, f"docs/cli.md lacks the exit code {one.name}"
