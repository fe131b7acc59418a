"""docs/install.md, command by command, on a server of its own: up, at work on a server, up again after a reboot, and
taken away."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

from panel.settings import ROOT
from sandbox import Sandbox, Server
from tests.processes import fingerprints
from tests.world import wait

DOC = ROOT / "docs" / "install.md"
UNITS = ("webops-panel", "webops-worker", "webops-link", "webops-valkey")
DOMAIN = "panel.example.org"
WEBOPS = ("/opt/webops-panel/.venv/bin/webops",)


def blocks() -> list[list[str]]:
    """The document's blocks of commands: install, update, take away."""
    found = re.findall(r"^```sh\n(.*?)^```", DOC.read_text(), re.MULTILINE | re.DOTALL)
    return [block.splitlines() for block in found]


def repository(folder: Path) -> Path:
    """This checkout as it stands, as somebody else would clone it."""
    listed = subprocess.run(["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=ROOT, check=True,
                            capture_output=True, text=True).stdout
    names = [name for name in listed.split("\0") if name and (ROOT / name).exists()]
    made = folder / "webops"
    made.mkdir()
    packed = subprocess.run(["tar", "-C", str(ROOT), "--null", "-T", "-", "-cf", "-"], input="\0".join(names).encode(),
                            check=True, capture_output=True).stdout
    subprocess.run(["tar", "-C", str(made), "-xf", "-"], input=packed, check=True)
    for words in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-qm", "WebOps"]):
        subprocess.run(["git", "-c", "user.name=Ada", "-c", "user.email=ada@example.org", *words], cwd=made, check=True)
    return made


def do(box: Sandbox, server: Server, block: list[str], words: dict[str, str]) -> str:
    """The block in one shell, as it is pasted; its output. Any command that fails ends it."""
    script = "\n".join(["set -euo pipefail", *block])
    for doc, here in words.items():
        script = script.replace(doc, here)
    done = box.guest(server, ["bash", "-lc", script], check=False, timeout=900)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def answers(box: Sandbox, server: Server) -> str:
    """What a visitor of the panel's domain gets, with as much patience as a booting server needs."""
    return box.guest(server, ["curl", "-sk", "--retry", "60", "--retry-delay", "1", "--retry-all-errors", "--fail",
                              "--resolve", f"{DOMAIN}:443:127.0.0.1", f"https://{DOMAIN}/healthz"], timeout=180).stdout


def settings(box: Sandbox, server: Server) -> str:
    return box.guest(server, ["cat", "/etc/webops-panel/settings.env"]).stdout


def works(box: Sandbox, server: Server, password: str) -> None:
    """The installed units do what they are there for, on the machine that they run on: a run, and the link's look."""
    box.add_hosts(server, {DOMAIN: "127.0.0.1"})
    certificate = "/etc/webops/certs/webops-panel-cert/fullchain.pem"
    box.guest(server, ["webops", "login", f"https://{DOMAIN}", "--name", "ada", "--password-file", "-",
                       "--ca", certificate], text=password)
    key = fingerprints(server.known_hosts, server.address).pop()
    added = json.loads(box.guest(server, ["webops", "server", "add", "web1", "--address", server.address,
                                          "--accept-host-key", key, "--json"]).stdout)
    box.guest(server, ["tee", "-a", "/root/.ssh/authorized_keys"], text=f"{added['public_key'].strip()}\n")
    box.guest(server, ["webops", "server", "ready", "web1", "--user", "root"])

    def looked() -> str:
        seen = json.loads(box.guest(server, ["webops", "server", "show", "web1", "--json"]).stdout)
        return str(seen["observed"]) if seen["observed_at"] else ""

    assert wait("the link's look", looked) == "ok"


def test_installed_it_works_stays_up_over_a_reboot_and_goes_without_a_trace(box: Sandbox, tmp_path: Path) -> None:
    server = box.up("panel", trust=[box.root_certificate()])
    try:
        box.guest(server, ["apt-get", "-qy", "install", "--no-install-recommends", "git", "make", "curl",
                           "python3-venv"], timeout=600)
        # No authority leads to a domain of a document: a certificate of its own stands for it.
        words = {"ADDRESS": box.publish(repository(tmp_path), "webops"),
                 "--acme-terms": "--certificate self_signed --keep-runs-days 30 --git-networks 10.1.0.0/16"}
        install, update, remove = blocks()

        password = do(box, server, install, words).splitlines()[-1]
        assert len(password) >= 16, "the new person's password is shown"
        assert "ok" in answers(box, server)
        assert box.guest(server, ["systemctl", "is-active", *UNITS]).stdout.split() == ["active"] * len(UNITS)
        key = box.guest(server, ["stat", "-c", "%a", "/etc/webops-panel/fernet.key"]).stdout.strip()
        assert key == "600"
        works(box, server, password)

        server = box.up(box.stop(server).name)
        assert "ok" in answers(box, server)

        before = settings(box, server)
        refused = box.guest(server, [*WEBOPS, "install", "--git-networks", "nonsense"], check=False)
        assert refused.returncode == 3 and "10.1.0.0/16" in refused.stderr
        assert "changed=0" in do(box, server, update, words), "it is as it was, and stays so"
        assert settings(box, server) == before and "WEBOPS_KEEP_RUNS_DAYS=30" in before and "10.1.0.0/16" in before
        assert "ok" in answers(box, server)

        do(box, server, ["cd /opt/webops-panel", *remove], words)
        left = box.guest(server, ["systemctl", "list-unit-files", "--no-legend", "webops-*"]).stdout
        assert not [unit for unit in UNITS if f"{unit}.service" in left]
    finally:
        box.down(server)
