"""Sandbox servers are real servers: they boot, reset, keep layers, lose their network, and leave nothing behind."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox import Sandbox, SandboxError, Server, StaleLayer, acme, cache, layer, server, snapshot

pytestmark = pytest.mark.sandbox


def ssh(one: Server, command: str, *options: str) -> subprocess.CompletedProcess[str]:
    words = one.ssh(command)
    return subprocess.run([words[0], *options, *words[1:]], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(("release", "version"), [("bookworm", "12"), ("trixie", "13")])
def test_a_bare_debian_boots(box: Sandbox, release: str, version: str) -> None:
    one = box.up(f"bare-{release}", release)
    said = ssh(one, "systemctl is-system-running; . /etc/os-release; echo $VERSION_ID; hostname; id -u; "
                    "cat /proc/1/comm; systemctl --failed --no-legend")
    assert said.stdout.splitlines() == ["running", version, f"bare-{release}", "0", "systemd"], said.stderr
    brought = box.guest(one, ["bash", "-c", "type -P python3 sudo ip nginx psql git curl"], check=False).stdout
    assert [Path(path).name for path in brought.split()] == ["python3", "sudo", "ip"]
    box.down(one)


def test_a_server_sees_its_own_network_and_nothing_of_the_host(box: Sandbox, web1: Server) -> None:
    assert sorted(box.guest(web1, ["ls", "/sys/class/net"]).stdout.split()) == ["host0", "lo"]
    here = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text()
    box.guest(web1, ["sysctl", "-qw", "net.ipv4.ip_local_port_range=40000 50000"])
    assert Path("/proc/sys/net/ipv4/ip_local_port_range").read_text() == here
    assert str(box.place.state) not in box.guest(web1, ["cat", "/proc/1/environ"]).stdout


def test_debian_comes_in_by_password_and_sudos_by_password(box: Sandbox, web1: Server, tmp_path: Path) -> None:
    asker = tmp_path / "ask"
    asker.write_text('#!/bin/sh\necho "$PASSWORD"\n')
    asker.chmod(0o700)
    words = ["ssh", "-o", f"UserKnownHostsFile={web1.known_hosts}", "-o", "PubkeyAuthentication=no",
             f"debian@{web1.address}", "sudo -n true || sudo -S -p '' id -un"]
    environment = {**os.environ, "PASSWORD": web1.password, "SSH_ASKPASS": str(asker), "SSH_ASKPASS_REQUIRE": "force"}
    done = subprocess.run(words, env=environment, input=f"{web1.password}\n", capture_output=True, text=True)
    assert done.stdout == "root\n", done.stderr
    wrong = subprocess.run(words, env={**environment, "PASSWORD": "wrong"}, capture_output=True, text=True, timeout=60)
    assert "Permission denied" in wrong.stderr


def test_reset_makes_it_bare_again_under_the_same_keys(box: Sandbox, web1: Server) -> None:
    box.guest(web1, ["touch", "/etc/left-behind"])
    again = box.reset(web1)
    assert (again.address, again.password) == (web1.address, web1.password)
    assert ssh(again, "test -e /etc/left-behind || echo bare").stdout == "bare\n"


def test_a_stopped_server_keeps_its_disk(box: Sandbox, web1: Server) -> None:
    box.guest(web1, ["touch", "/srv/kept"])
    box.stop(web1)
    with pytest.raises(SandboxError, match="up web1"):
        box.guest(web1, ["true"])
    box.up("web1")
    assert box.guest(web1, ["ls", "/srv"]).stdout == "kept\n"


def test_a_name_is_not_silently_another_server(box: Sandbox, web1: Server) -> None:
    assert box.up("web1").pid == web1.pid
    with pytest.raises(SandboxError, match="exists with bookworm"):
        box.up("web1", "trixie")


@pytest.fixture
def own_layer(box: Sandbox) -> Iterator[None]:
    """The layer of these tests is forgotten when they end."""
    yield
    layer.forget(box.place, "sandbox-test", "bookworm")
    cache.clear(box.place)


@pytest.mark.usefixtures("own_layer")
def test_new_servers_boot_over_a_saved_layer_as_servers_of_their_own(box: Sandbox, web1: Server) -> None:
    box.guest(web1, ["sh", "-c", "useradd -m ann; systemctl mask e2scrub_all.timer; rm /etc/issue"])
    first = identity_of(box, web1)
    box.save(web1, "sandbox-test", stamp="recipe-1")
    with pytest.raises(StaleLayer, match="has the stamp recipe-1, not recipe-2"):
        box.up("web2", from_layer="sandbox-test", stamp="recipe-2")
    with pytest.raises(StaleLayer, match="no layer sandbox-test for trixie"):
        box.up("web2", "trixie", from_layer="sandbox-test")
    web2 = box.up("web2", from_layer="sandbox-test", stamp="recipe-1")
    assert ssh(web2, "id -un ann; hostname; ls /etc/issue").stdout.split() == ["ann", "web2"]
    assert not set(identity_of(box, web2)) & set(first)
    box.down(web2)


def identity_of(box: Sandbox, one: Server) -> list[str]:
    files = ["/etc/machine-id", "/etc/hostname", "/etc/ssh/ssh_host_ed25519_key.pub"]
    return [*box.guest(one, ["cat", *files]).stdout.splitlines(),
            *box.guest(one, ["grep", "^debian:", "/etc/shadow"]).stdout.splitlines()]


@pytest.mark.usefixtures("own_layer")
def test_a_newer_layer_of_the_name_takes_its_place(box: Sandbox, web1: Server) -> None:
    for stamp in ("one", "two"):
        box.guest(web1, ["sh", "-c", f"echo {stamp} > /srv/stamp"])
        box.save(web1, "sandbox-test", stamp)
        box.up("web1")
    assert layer.find(box.place, "sandbox-test", "bookworm").stamp == "two"
    web2 = box.up("web2", from_layer="sandbox-test")
    assert box.guest(web2, ["cat", "/srv/stamp"]).stdout == "two\n"
    box.down(web2)


def test_a_cut_network_hangs_and_comes_back(box: Sandbox, web1: Server) -> None:
    box.cut_network(web1)
    assert "timed out" in ssh(web1, "true", "-o", "ConnectTimeout=1").stderr
    assert box.guest(web1, ["hostname"]).stdout == "web1\n"
    box.restore_network(web1)
    assert ssh(web1, "hostname").stdout == "web1\n"


def test_packages_come_from_the_registries_and_then_from_the_cache(box: Sandbox, web1: Server) -> None:
    script = ("apt-get install -qy --no-install-recommends python3-venv >/dev/null && python3 -m venv /srv/v && "
              "/srv/v/bin/pip install -q --disable-pip-version-check six uv 2>/dev/null && "
              "/srv/v/bin/uv pip install -q --python /srv/v/bin/python itsdangerous && "
              "/srv/v/bin/python -c 'import six, itsdangerous; print(six.__name__)'")
    assert box.guest(web1, ["sh", "-c", script]).stdout == "six\n"
    kept = set((box.place.cache / "packages").iterdir())
    box.reset(web1)
    assert box.guest(web1, ["sh", "-c", script]).stdout == "six\n"
    assert {path.name for path in (box.place.cache / "packages").glob("*.half")} == set()
    assert len(set((box.place.cache / "packages").iterdir()) - kept) <= 4  # index pages that had grown old


def test_certificates_and_repositories_come_from_the_sandbox(box: Sandbox, tmp_path: Path) -> None:
    authority = box.acme()
    one = box.up("web1", trust=[box.root_certificate()])
    commit = make_repository(tmp_path)
    box.guest(one, ["apt-get", "install", "-qy", "--no-install-recommends", "certbot", "git"])

    address = box.publish(tmp_path, "demo")
    box.guest(one, ["git", "clone", "-q", address, "/srv/demo"])
    assert box.guest(one, ["git", "-C", "/srv/demo", "rev-parse", "HEAD"]).stdout.strip() == commit
    private = box.publish(tmp_path, "private", "reader", "secret")
    denied = box.guest(one, ["env", "GIT_TERMINAL_PROMPT=0", "git", "ls-remote", private], check=False)
    assert "could not read Username" in denied.stderr
    known = private.replace("https://", "https://reader:secret@")
    assert commit in box.guest(one, ["git", "ls-remote", known]).stdout

    box.point("shop.example.org", one)
    order = ["certbot", "certonly", "-n", "--standalone", "--register-unsafely-without-email", "--agree-tos",
             "--server", authority.directory, "-d", "shop.example.org"]
    trusting = ["env", "REQUESTS_CA_BUNDLE=/etc/ssl/certs/ca-certificates.crt"]
    box.guest(one, [*trusting, *order])
    chain = tmp_path / "chain.pem"
    chain.write_text(box.guest(one, ["cat", "/etc/letsencrypt/live/shop.example.org/fullchain.pem"]).stdout)
    def proved() -> str:
        verified = subprocess.run(["openssl", "verify", "-CAfile", authority.root, "-untrusted", chain, chain],
                                  capture_output=True, text=True)
        return verified.stdout

    assert "OK" in proved()
    # After a reboot the authority has another root; what it issued before is still served.
    former = authority.root.read_text()
    acme.stop(box.place)
    box.acme()
    assert authority.root.read_text() != former and "OK" in proved()

    box.point("shop.example.org", None)
    gone = box.guest(one, [*trusting, *order, "--force-renewal"], check=False)
    assert gone.returncode
    box.down(one)


def make_repository(path: Path) -> str:
    git = ["git", "-C", str(path), "-c", "user.name=Ann", "-c", "user.email=ann@example.org"]
    (path / "index.html").write_text("hello\n")
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "First"]):
        subprocess.run([*git, *words], check=True)
    return subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()


def test_names_resolve_as_told_and_the_last_word_counts(box: Sandbox, web1: Server) -> None:
    box.add_hosts(web1, {"shop.example.org": "10.1.1.1"})
    box.add_hosts(web1, {"shop.example.org": web1.address, "other.example.org": "10.1.1.2"})
    assert box.guest(web1, ["getent", "hosts", "shop.example.org"]).stdout.split()[0] == web1.address
    assert box.guest(web1, ["getent", "hosts", "git.sandbox.test"]).stdout.split()[0] == box.gateway()


def test_a_snapshot_shows_exactly_what_was_left(box: Sandbox, web1: Server) -> None:
    before = box.snapshot_list(web1)
    box.guest(web1, ["sh", "-c", "useradd -M -c 'webops x' wo-x; mkdir -m 700 /srv/x; echo a > /etc/x.conf; "
                                 "printf '[Service]\\nExecStart=/bin/true\\n' > /etc/systemd/system/wo-x.service; "
                                 "systemctl daemon-reload"])
    came = snapshot.difference(before, box.snapshot_list(web1))
    about = {" ".join(line.split()[:3]) for line in came}
    assert {"+ user wo-x", "+ group wo-x", "+ file /srv/x", "+ file /etc/x.conf",
            "+ unit-file wo-x.service"} <= about
    box.guest(web1, ["sh", "-c", "userdel wo-x; rm -r /srv/x /etc/x.conf /etc/systemd/system/wo-x.service; "
                                 "systemctl daemon-reload"])
    assert snapshot.difference(before, box.snapshot_list(web1)) == []


def test_an_address_that_is_given_again_answers_at_once(box: Sandbox, web1: Server) -> None:
    took = []
    for _ in range(3):
        began = time.monotonic()
        again = box.up("again")
        took.append(time.monotonic() - began)
        box.down(again)
    assert max(took) < 15, "this machine still talks to the server that had the address before"


def test_servers_of_one_sandbox_reach_each_other_and_do_not_share_control_groups(box: Sandbox, web1: Server) -> None:
    web2 = box.up("web2")
    probe = f"import socket; print(socket.create_connection(('{web1.address}', 22), 3).recv(4))"
    assert box.guest(web2, ["python3", "-c", probe]).stdout == "b'SSH-'\n"
    box.guest(web2, ["systemctl", "stop", "ssh.service"])
    assert box.guest(web1, ["systemctl", "is-active", "ssh.service"]).stdout == "active\n"
    box.down(web2)
    assert "web2" not in {one.name for one in server.servers(box.place)}
