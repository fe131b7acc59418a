"""Without the panel: plain ansible-playbook and `webops --local` on the server that the panel deployed to."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from panel.settings import ROOT
from tests.processes import fingerprints
from tests.world import BUNDLE, World

pytestmark = pytest.mark.sandbox


@pytest.fixture
def inventory(world: World, tmp_path: Path) -> Path:
    """inventory/ of a person who has the server's key, written by hand."""
    folder = tmp_path / "inventory"
    folder.mkdir()
    connection = {"ansible_host": world.ready.server.address, "ansible_user": "root",
                  "ansible_ssh_private_key_file": str(world.ready.server.ssh_key), "ansible_ssh_common_args":
                  f"-o UserKnownHostsFile={world.ready.server.known_hosts} -o IdentitiesOnly=yes"}
    hosts = {"server": {"hosts": {"web1": connection}},
             "django_app": {"hosts": {name: connection for name in ("guestbook@web1", "second@web1")}}}
    (folder / "hosts.yml").write_text(json.dumps({"all": {"children": hosts}}))
    return folder


def playbook(inventory: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    argv = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(inventory), *words]
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600,
                          env={**os.environ, "ANSIBLE_NOCOLOR": "1", **environment})


def recap(done: subprocess.CompletedProcess[str]) -> dict[str, int]:
    lines = [line for line in done.stdout.splitlines() if re.search(r"\bok=\d+", line)]
    assert len(lines) == 1, done.stdout + done.stderr
    return {name: int(count) for name, count in re.findall(r"(\w+)=(\d+)", lines[0])}


def test_the_panels_values_change_nothing(guestbook: World, inventory: Path, tmp_path: Path) -> None:
    file = tmp_path / "values.yml"
    done = guestbook.webops("values", "guestbook", "--secrets", "-o", str(file))
    assert done.returncode == 0 and file.stat().st_mode & 0o077 == 0
    played = playbook(inventory, "playbooks/django_app.yml", "--limit", "guestbook@web1", "-e", f"@{file}")
    found = recap(played)
    assert (found["changed"], found["failed"], found["unreachable"]) == (0, 0, 0), played.stdout
    assert found["ok"] > 5


def test_two_apps_on_one_server(guestbook: World, inventory: Path, tmp_path: Path) -> None:
    """A second one by hand alone, beside the panel's; a second run changes nothing; it goes without a trace of the
    first being touched."""
    domain = "second.whole.test"
    guestbook.named(domain)
    values = {f"django_app_{key}": value for key, value in guestbook.guestbook().items()}
    values |= {"django_app_domain": domain, "django_app_certificate": "self_signed"}
    file = tmp_path / "second.json"
    file.write_text(json.dumps(values))
    first = playbook(inventory, "playbooks/django_app.yml", "--limit", "second@web1", "-e", f"@{file}")
    assert recap(first)["failed"] == 0 and recap(first)["changed"] > 0, first.stdout
    assert json.loads(guestbook.ready.curl(f"https://{domain}/healthz", "-k"))["status"] == "ok"
    assert recap(playbook(inventory, "playbooks/django_app.yml", "--limit", "second@web1", "-e", f"@{file}"))[
        "changed"] == 0
    file.write_text(json.dumps({"webops_action": "remove", "django_app_remove_data": "second"}))
    gone = playbook(inventory, "playbooks/django_app.yml", "--limit", "second@web1", "-e", f"@{file}")
    assert recap(gone)["failed"] == 0, gone.stdout
    assert json.loads(guestbook.curl("/healthz"))["status"] == "ok"


def test_the_panel_is_an_inventory(guestbook: World) -> None:
    """`inventory/panel.webops.yml`: groups by kind, hosts by resource, addresses and all values."""
    argv = [str(Path(sys.executable).with_name("ansible-inventory")), "-i", "inventory/panel.webops.yml", "--list"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False, env=guestbook.environment)
    listed: dict[str, Any] = json.loads(done.stdout)
    assert "guestbook@web1" in listed["django_app"]["hosts"], done.stderr
    host = listed["_meta"]["hostvars"]["guestbook@web1"]["ansible_host"]
    assert host in (guestbook.ready.server.address, {"__ansible_unsafe": guestbook.ready.server.address})


def _offered(address: str, right: set[str]) -> str:
    """The fingerprint that a person reads on the server's console."""
    keys = subprocess.run(["ssh-keyscan", "-t", "ed25519", address], capture_output=True, text=True, check=True).stdout
    shown = subprocess.run(["ssh-keygen", "-lf", "-"], input=keys, capture_output=True, text=True, check=True).stdout
    found = shown.split()[1]
    assert found in right
    return found


def test_the_same_words_without_a_panel(world: World, tmp_path: Path) -> None:
    """`webops --local`: a server added and made ready, a site applied, deployed, listed, looked at, removed."""
    mine = {"WEBOPS_INVENTORY": str(tmp_path / "mine"), "WEBOPS_CONFIG": str(tmp_path / "nobody.json"),
            "HOME": str(tmp_path)}
    server, domain = world.ready.server, "local.whole.test"
    world.named(domain)

    def webops(*words: str, text: str = "") -> str:
        done = world.webops("--local", *words, text=text, **mine)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    key = fingerprints(server.known_hosts, server.address)
    webops("server", "add", "web1", "--address", server.address, "--accept-host-key", _offered(server.address, key),
           "--user", server.ssh_user, "--key-file", str(server.ssh_key))
    asked = ["apply", "static_site", "local-site", "--server", "web1", f"--repo={world.repository('site').address}",
             f"--domain={domain}", "--command=python3", "--command=build.py", "--directory=public",
             f"--acme-directory={world.acme.directory}", f"--acme-ca-bundle={BUNDLE}", "--acme-terms"]
    webops(*asked, "--check")
    webops(*asked)
    assert world.curl("/", "-o", "/dev/null", "-w", "%{http_code}", domain=domain) == "200"
    assert re.search(r"changed=0\b", webops(*asked))
    webops("deploy", "local-site")
    assert "local-site" in webops("list")
    webops("remove", "local-site", "--yes")
    # The accounts take the keys of whoever made the server ready last: it is the panel's again.
    root = {"user": server.ssh_user, "private_key": server.ssh_key.read_text()}
    world.succeeded(world.ask("POST", "/servers/web1/runs", {"login": root})["run"]["id"])
    assert "local-site" not in webops("list")
