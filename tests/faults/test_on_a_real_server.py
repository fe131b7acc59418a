"""Over real SSH, with Mitogen as in production: who it is, what is hidden, what cancel ends, a cable that is cut."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from panel.runs.submit import cancel
from panel.store import db
from panel.store.models import Mode, Resource, Run, Server
from panel.store.seal import seal
from sandbox.suite import Sandbox, sandbox
from tests.faults.conftest import Installation, installed, wait

pytestmark = pytest.mark.sandbox
UNIT = "wo-thing.task@build.service"
PREPARE = """\
set -eu
groupadd -f webops-apps
for user in webops-deploy webops-admin; do
  useradd --create-home --shell /bin/bash --groups systemd-journal $user
  install -d -m 0700 -o $user -g $user /home/$user/.ssh
  printf '%s\\n' "$1" > /home/$user/.ssh/authorized_keys
  chown $user /home/$user/.ssh/authorized_keys
done
echo 'webops-admin ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/webops
for verb in start stop; do
  echo "webops-deploy ALL=(root) NOPASSWD: /usr/bin/systemctl $verb wo-thing.task@build.service"
done > /etc/sudoers.d/wo-thing
printf '[Service]\\nType=oneshot\\nExecStart=/bin/sleep 617\\n' > /etc/systemd/system/wo-thing.task@.service
systemctl daemon-reload
"""


class Ground:
    def __init__(self, box: Sandbox, installation: Installation) -> None:
        self.box, self.installation = box, installation
        self.server = box.up("web1", "bookworm")

    def root(self, script: str, *given: str) -> str:
        return self.box.guest(self.server, ["sh", "-c", script, "sh", *given], check=False).stdout

    def prepare(self) -> None:
        from panel.runs.servers import _key_pair

        private, public = _key_pair("web1")
        self.root(PREPARE, public)
        offered = subprocess.run(["ssh-keyscan", "-t", "ed25519", self.server.address], capture_output=True, text=True)
        with db.session() as s:
            one = Server(name="web1", address=self.server.address, public_key=public, ready_at=db.now(s),
                         private_key=seal("server:web1:private_key", private),
                         host_key=offered.stdout.split(" ", 1)[1].strip())
            s.add(Resource(kind="far", name="thing", server=one))
            s.commit()

    def submit(self, action: str, **more: Any) -> int:
        from panel.runs.submit import submit

        with db.session() as s:
            return submit(s, kind="far", action=action, actor="ada", door="api", resource=s.query(Resource).one(),
                          **more).id

    def unit(self) -> str:
        return self.root(f"systemctl is-active {UNIT}").strip()


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with sandbox("runs") as box, installed(tmp_path_factory.mktemp("real") / "state") as made:
        one = Ground(box, made)
        one.prepare()
        yield one


def test_apply_is_done_by_the_admin_account_and_values_are_text(ground: Ground, tmp_path: Path):
    text = "{{ lookup('pipe','touch %s') }}" % (tmp_path / "CANARY")
    number = ground.submit("main", values={"far_text": text})
    run = ground.installation.ended(number)
    assert (run.state, run.error) == ("succeeded", "")
    said = {one.name: one.data.get("stdout") for one in ground.installation.events(number) if one.type == "ok"}
    assert said == {"Who is it": "webops-admin", "Who is root": "root", "Say the text": text}
    assert not (tmp_path / "CANARY").exists()
    ground.installation.gone(number)


def test_what_is_hidden_stays_hidden(ground: Ground):
    number = ground.submit("leak", secrets={"far_password": "S3cretpass"})
    run = ground.installation.ended(number)
    assert run.state == "failed" and "hidden" in run.error
    rows = ground.installation.events(number)
    assert "S3cretpass" not in str([(one.name, one.data) for one in rows])
    assert [one.type for one in rows if one.data.get("hidden")] == ["ignored", "failed"]


def test_cancel_stops_the_unit_on_the_server_too(ground: Ground):
    number = ground.submit("slow")
    wait("the unit", lambda: ground.unit() == "activating")
    with db.session() as s:
        cancel(s, s.get_one(Run, number), "eve")
    run = ground.installation.ended(number, 20)
    assert (run.state, run.error) == ("canceled", "Canceled by eve, during 'Build on the server'.")
    assert f"Stopped there: {UNIT}." in run.next_step
    assert ground.unit() != "activating"
    ground.installation.gone(number, 3)


def test_a_timeout_stops_the_unit_on_the_server_too(ground: Ground):
    run = ground.installation.ended(ground.submit("slow", timeout=15), 60)
    assert run.state == "failed" and "time-out of 15 seconds" in run.error
    assert ground.unit() != "activating"


def test_another_host_key_ends_the_run_before_anything_is_sent(ground: Ground):
    with db.session() as s:
        one = s.query(Server).one()
        right = one.host_key
        one.host_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1bMBGsEnNhxpWZRYjHPbQ6yJY8qZTNs+5oH9pTz0pX"
        s.commit()
    try:
        run = ground.installation.ended(ground.submit("main"))
        assert (run.state, run.error) == ("failed", "web1 shows another host key than the one that was accepted.")
    finally:
        with db.session() as s:
            s.query(Server).one().host_key = right
            s.commit()


def test_a_cable_that_is_cut_ends_the_run_in_words_and_the_next_one_works(ground: Ground):
    number = ground.submit("slow", mode=Mode.APPLY)
    wait("the unit", lambda: ground.unit() == "activating")
    ground.box.cut_network(ground.server)
    began = time.monotonic()
    try:
        run = ground.installation.ended(number, 150)
    finally:
        ground.box.restore_network(ground.server)
    assert (run.state, run.error) == ("failed", "The SSH connection to web1 failed.")
    assert "webops server test web1" in run.next_step and "may still be going on" in run.next_step
    assert time.monotonic() - began < 130
    ground.installation.gone(number)
    ground.root(f"systemctl stop {UNIT}")
    assert ground.installation.ended(ground.submit("main")).state == "succeeded"
