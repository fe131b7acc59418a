"""The link on real servers: real SSH, real units, real journals, a cable that is pulled."""

from __future__ import annotations

import json
import shlex
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from panel.link import client
from sandbox.server import Server
from sandbox.suite import Sandbox, sandbox
from tests.linked import Linked, key_pair, wait

pytestmark = pytest.mark.sandbox

UNIT = """\
[Unit]
Description=Guestbook
[Service]
ExecStart=/usr/bin/python3 -u -m http.server --bind 127.0.0.1 8080 --directory /srv/empty
[Install]
WantedBy=multi-user.target
"""
RECORD = {"kind": "django_app", "name": "guestbook", "url": "http://guestbook.example.org/", "probes": [
    {"type": "unit", "units": ["wo-guestbook@a.service", "wo-guestbook@b.service"], "any": True},
    {"type": "http", "url": "http://guestbook.example.org:8080/", "connect": "127.0.0.1:8080"},
    {"type": "certificate", "path": "/etc/webops/certs/guestbook/fullchain.pem"}],
    "journal": ["wo-guestbook@a.service", "wo-guestbook@b.service", "wo-guestbook.task@say.service"]}
SAY = "systemd-run --quiet --wait --collect --unit wo-guestbook.task@say.service --property LogRateLimitIntervalSec=0 "
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
install -d /etc/webops/resources /etc/webops/certs/guestbook /srv/empty
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 90 -subj /CN=guestbook.example.org \\
  -keyout /etc/webops/certs/guestbook/privkey.pem -out /etc/webops/certs/guestbook/fullchain.pem 2>/dev/null
systemctl daemon-reload
systemctl start wo-guestbook@a.service
"""


class Ground:
    """A server with the two accounts and a resource that roles would have made, and a link that is connected."""

    def __init__(self, box: Sandbox, server: Server, linked: Linked) -> None:
        self.box, self.server, self.linked = box, server, linked
        self.id, self.resource = 0, 0

    def root(self, script: str, *given: str) -> str:
        return self.box.guest(self.server, ["sh", "-c", script, "sh", *given]).stdout

    def write(self, path: str, text: str) -> None:
        self.root(f"cat > {shlex.quote(path)} <<'THE_END'\n{text}\nTHE_END")

    def prepare(self) -> None:
        _, public = key_pair(self.linked.folder / "key-web1")
        self.root("mkdir -p /etc/webops/resources")
        self.write("/etc/systemd/system/wo-guestbook@.service", UNIT)
        self.write("/etc/webops/resources/guestbook.json", json.dumps(RECORD))
        self.root(PREPARE, public)

    def seen(self) -> Any:
        return self.linked.resource(self.resource)

    def processes(self) -> str:
        return self.root("ps -u webops-deploy -o pid=,args= || true")


@pytest.fixture(scope="module")
def box() -> Iterator[Sandbox]:
    with sandbox("link") as one:
        yield one


@pytest.fixture(params=["bookworm", "trixie"])
def ground(box: Sandbox, request: pytest.FixtureRequest, database: Path, tmp_path: Path) -> Iterator[Ground]:
    server = box.up("web1", request.param)
    linked = Linked(tmp_path)
    linked.records_at = "/etc/webops/resources"
    made = Ground(box, server, linked)
    try:
        made.prepare()
        linked.start_redis()
        linked.start_link()
        offered = client.ask("scan", address=server.address, port=22)
        made.id = linked.add_server("web1", server.address, host_key=offered["keys"][0])
        made.resource = linked.add_resource("guestbook", made.id)
        yield made
    finally:
        linked.close()
        box.down(server)


def test_a_server_from_the_first_look_to_the_last(ground: Ground) -> None:
    """One server for all of it: what is seen, what is read, and that nothing of ours stays."""
    linked = ground.linked
    _host_keys(ground)
    _accounts(ground)
    _states(ground)
    _logs(ground)
    before = set(ground.box.snapshot_list(ground.server))
    client.ask("observe", server_id=ground.id)
    assert linked.stop_link() < 3
    wait("nothing of ours runs there", lambda: "python3 -I" not in ground.processes(), seconds=10)
    assert "journalctl" not in ground.processes()
    left = {line for line in set(ground.box.snapshot_list(ground.server)) - before if "/var/log" not in line}
    assert not left


def _host_keys(ground: Ground) -> None:
    offered = client.ask("scan", address=ground.server.address, port=22)
    real = ground.root("for key in /etc/ssh/ssh_host_*_key.pub; do ssh-keygen -lf $key; done")
    assert offered["keys"][0].startswith("ssh-ed25519 ")
    assert all(fingerprint in real for fingerprint in offered["fingerprints"])
    with pytest.raises(client.LinkError, match="refuses connections on port 23"):
        client.ask("scan", address=ground.server.address, port=23)


def _accounts(ground: Ground) -> None:
    found = client.ask("test", server_id=ground.id)
    assert found["ok"], found
    assert [one["name"] for one in found["checks"]] == ["webops-deploy", "webops-admin"]
    assert "is not root" in found["checks"][0]["text"]
    assert "Debian" in found["checks"][1]["text"]


def _states(ground: Ground) -> None:
    linked = ground.linked
    text = linked.until(ground.seen, "ok").observed_text
    assert text.startswith("Serving: answered 200 in ")
    assert "Certificate valid until 20" in text and "(self-signed)" in text

    _change(ground, "systemctl stop wo-guestbook@a.service")
    assert linked.until(ground.seen, "stopped", seconds=5).observed_text == "Stopped: both slots are down."
    _change(ground, "systemctl start wo-guestbook@b.service")
    linked.until(ground.seen, "ok", seconds=12)  # its port opens a moment after systemd calls it active
    _change(ground, "systemctl kill -s SEGV wo-guestbook@b.service")
    assert "failed (it crashed" in linked.until(ground.seen, "failed", seconds=5).observed_text
    _change(ground, "systemctl restart wo-guestbook@a.service; rm /etc/webops/certs/guestbook/fullchain.pem")
    assert "no usable certificate" in wait("the certificate is missed", lambda: (
        found.observed_text if "certificate" in (found := ground.seen()).observed_text else ""), seconds=10)
    _change(ground, "mv /etc/webops/resources/guestbook.json /root")
    assert "nothing of guestbook is on web1" in linked.until(ground.seen, "missing", seconds=5).observed_text
    _change(ground, "mv /root/guestbook.json /etc/webops/resources")


def _change(ground: Ground, script: str) -> None:
    ground.root(script)
    client._redis().publish(f"webops:observe:{ground.id}", "")


def _logs(ground: Ground) -> None:
    ground.root(f"{SAY} printf '\\033[31mred\\033[0m and {{{{ 7*7 }}}} \\033]8;;javascript:x\\007\\n'")
    lines = wait("the line is in the journal", lambda: [
        one for one in client.entries(ground.resource, lines=50) if one and "red and" in one.text])
    assert lines[-1].text == "red and {{ 7*7 }} "
    assert lines[-1].unit == "wo-guestbook.task@say.service"
    assert 0 < len([one for one in client.journal(ground.resource, 3) if one]) <= 3
    assert all("red" in one for one in client.journal(ground.resource, 50, grep="RED AND") if one)
    assert not [one for one in client.journal(ground.resource, 50, since="2099-01-01") if one]

    heard: list[str] = []
    threading.Thread(target=_read_until, args=(ground.resource, " line 30", heard), daemon=True).start()
    wait("it follows", lambda: "journalctl" in ground.processes())
    ground.root(f"{SAY} sh -c 'seq 1 30 | sed \"s/^/line /\"'")
    wait("all lines came", lambda: sum(" line " in line for line in heard) == 30)
    assert [line.split()[-1] for line in heard if " line " in line] == [str(i) for i in range(1, 31)]
    wait("nobody reads, so nobody follows", lambda: "journalctl" not in ground.processes(), seconds=15)
    with pytest.raises(client.LinkError, match="keeps no log"):
        ground.write("/etc/webops/resources/silent.json", json.dumps({"kind": "ssl_cert", "journal": ["../etc"]}))
        list(client.journal(ground.linked.add_resource("silent", ground.id)))


def _read_until(resource: int, last: str, heard: list[str]) -> None:
    for line in client.journal(resource, 1, follow=True):
        heard.append(line)
        if line.endswith(last):
            return


def test_a_slow_reader_holds_the_journal_back_and_nobody_else(ground: Ground) -> None:
    ground.linked.until(ground.seen, "ok")
    ground.root(f"{SAY} seq 1 9000; journalctl --sync")
    slow = client.entries(ground.resource, lines=9000)
    next(slow)
    wait("the list fills", lambda: _waiting_lines() > 2000)
    time.sleep(2)
    assert _waiting_lines() < 3000
    assert client.ask("observe", server_id=ground.id)["observed"] == "ok"
    numbers = [one.text for one in slow if one and one.text.isdecimal()]
    assert len(numbers) > 8500
    assert numbers == sorted(numbers, key=int)


def _waiting_lines() -> int:
    redis = client._redis()
    return sum(redis.llen(key) for key in redis.keys("webops:journal:*") if redis.type(key) == "list")


def test_a_pulled_cable_and_a_changed_host_key(ground: Ground) -> None:
    linked = ground.linked
    linked.until(ground.seen, "ok")
    ground.box.cut_network(ground.server)
    assert "does not answer any more" in linked.until(ground.seen, "unknown", seconds=60).observed_text
    assert linked.server(ground.id).observed.value == "failed"
    ground.box.restore_network(ground.server)
    linked.until(ground.seen, "ok", seconds=90)

    ground.root("rm /etc/ssh/ssh_host_*; ssh-keygen -A; systemctl restart ssh; pkill -u webops-deploy || true")
    text = linked.until(lambda: linked.server(ground.id), "failed", seconds=30).observed_text
    assert "its host key is not the accepted one, so nothing was sent" in text
    offered = wait("the new key is offered", lambda: linked.server(ground.id).offered_host_key)
    real = ground.root("cat /etc/ssh/ssh_host_ed25519_key.pub").split()[1]
    assert real in offered
    with pytest.raises(client.LinkError, match="host key"):
        client.ask("observe", server_id=ground.id)
    said = ground.root('journalctl -q "_SYSTEMD_INVOCATION_ID=$(systemctl show --property InvocationID --value ssh)"')
    assert "Accepted" not in said
