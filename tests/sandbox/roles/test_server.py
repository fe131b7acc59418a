"""A bare machine becomes a ready server, whatever login the person has for it, and a bare one again."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest
import yaml

from sandbox.snapshot import difference
from sandbox.suite import Sandbox
from tests.sandbox.roles.conftest import Ready, key_pair
from tests.sandbox.roles.cycle import taken_back
from tests.sandbox.roles.play import ROOT, Login

pytestmark = pytest.mark.sandbox


@pytest.fixture(scope="module")
def bare(box: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ready]:
    """A Debian without Python, as some providers hand them over."""
    server = box.up("bare", "trixie")
    box.guest(server, ["sh", "-c", "apt-get -qy purge 'python3*' && ! command -v python3"])
    yield Ready(box, server, key_pair(box), tmp_path_factory.mktemp("play"))
    box.down(server)


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def stocked(request: pytest.FixtureRequest, box: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ready]:
    """A bare server with the packages that WebOps brings, for these stay when it goes."""
    server = box.up(f"stocked-{request.param}", request.param)
    variables = yaml.safe_load((ROOT / "roles/server/vars/main.yml").read_text())
    box.guest(server, ["sh", "-c", 'apt-get -qy update && apt-get -qy install --no-install-recommends "$@"', "sh",
                       *variables["__server_packages"]], timeout=600)
    key = key_pair(box)
    box.guest(server, ["sh", "-c", "cat >> /root/.ssh/authorized_keys"], text=key.with_suffix(".pub").read_text())
    yield Ready(box, server, key, tmp_path_factory.mktemp("play"))
    box.down(server)


def sign_in(ready: Ready, account: str, *command: str) -> subprocess.CompletedProcess[str]:
    argv = ["ssh", "-i", str(ready.key), "-o", f"UserKnownHostsFile={ready.server.known_hosts}", "-o",
            "IdentitiesOnly=yes", "-o", "BatchMode=yes", f"{account}@{ready.server.address}", *command]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)


def test_first_contact_with_a_sudo_password_and_without_python(bare: Ready) -> None:
    from tests.sandbox.roles.play import play

    values = {"server_public_keys": [bare.key.with_suffix(".pub").read_text().strip()]}
    person = Login(bare.server.address, bare.server.known_hosts, "debian", password=bare.server.password)
    sshd = bare.run("sshd", "-T", "-C", "user=root,host=x,addr=192.0.2.1")
    rehearsed = play("server", "web", values, person, bare.place, check=True)
    assert rehearsed.code == 0, rehearsed.output
    assert rehearsed.changed == ["Bring Python and what Ansible needs beside it"]
    assert bare.run("sh", "-c", "command -v python3 || echo none").strip() == "none"
    made = play("server", "web", values, person, bare.place)
    assert made.code == 0, made.words() or made.output
    assert bare.server.password not in made.output
    facts = made.results["Read the facts of the server"]["webops_facts"]
    assert facts["distribution"] == "debian" and facts["distribution_version"] == "13"
    assert facts["processors"] > 0 and facts["memory_mb"] > 0 and facts["python_version"].startswith("3.")
    # Nobody is locked out: sshd holds for others what it held before.
    assert bare.run("sshd", "-T", "-C", "user=root,host=x,addr=192.0.2.1") == sshd
    again = bare.play("server", "web", values)
    assert again.code == 0 and again.changed == [], again.output
    assert bare.play("server", "web", values, check=True).changed == []
    assert bare.play("server", "web", values, plain=True).changed == []


@pytest.mark.every_release
def test_what_came_goes_again(stocked: Ready) -> None:
    """By the account that goes with it; what is left are packages, and data with the user that owns it."""
    before = stocked.snapshot()
    made = stocked.play("server", "web", {"server_public_keys": [stocked.key.with_suffix(".pub").read_text().strip()]},
                        account="root")
    assert made.code == 0, made.words() or made.output
    ready_list = stocked.snapshot()
    stocked.run("sh", "-c", 'echo \'{"kind": "static_site", "name": "shop"}\' > /etc/webops/resources/shop.json')
    for check in (True, False):
        refused = stocked.play("server", "web", {}, action="remove", check=check)
        assert "This server still has shop (static_site). Nothing was changed." in refused.words(), refused.output
    stocked.run("rm", "/etc/webops/resources/shop.json")
    rehearsed = stocked.play("server", "web", {}, action="remove", check=True)
    assert rehearsed.code == 0, rehearsed.words() or rehearsed.output
    assert difference(ready_list, stocked.snapshot()) == [], "--check and what is refused change nothing"
    number = stocked.run("id", "-u", "webops-admin").strip()
    gone = stocked.play("server", "web", {}, action="remove")
    assert gone.code == 0 and not gone.failed, gone.words() or gone.output
    assert gone.changed == rehearsed.changed and len(gone.changed) == 3
    left = difference(before, stocked.snapshot())
    assert [line for line in left if "unit-file session-" not in line] == []
    stocked.run("timeout", "60", "sh", "-c", f"while pgrep -U {number}; do sleep 0.5; done")
    assert stocked.run("sh", "-c", "ls -d /run/webops /run/lock/webops-* /home/webops-* || true") == ""
    assert sign_in(stocked, "webops-admin", "true").returncode == 255


def test_data_outlives_the_server_role(stocked: Ready) -> None:
    keys = {"server_public_keys": [stocked.key.with_suffix(".pub").read_text().strip()]}
    assert stocked.play("server", "web", keys, account="root").code == 0
    stocked.run("useradd", "--system", "--comment", "webops shop", "--groups", "webops-apps", "wo-shop")
    stocked.run("install", "-D", "-o", "wo-shop", "/dev/null", "/srv/webops/shop/shared/media/cat.jpg")
    before = stocked.snapshot()
    gone = stocked.play("server", "web", {}, action="remove", plain=True)
    assert gone.code == 0, gone.words() or gone.output
    assert gone.results["See that no resource is left on the server"]["webops_summary"] == "data stays: shop"
    left = [line for line in difference(before, stocked.snapshot()) if "/srv/webops" in line or "wo-shop" in line]
    assert left == [] and "wo-shop" in stocked.run("getent", "group", "webops-apps")


def test_only_what_was_switched_off_is_switched_on_again(stocked: Ready) -> None:
    """Not the link that somebody had deleted, nor one beside which nginx would refuse the server of theirs."""
    own = "server { listen 80 default_server; server_name old.example.org; return 200 'by hand'; }"
    keys = {"server_public_keys": [stocked.key.with_suffix(".pub").read_text().strip()]}
    step, enabled = "Let nginx serve what it served before", "/etc/nginx/sites-enabled"

    def removed() -> str:
        rehearsed, gone = (stocked.play("server", "web", {}, action="remove", check=check) for check in (True, False))
        assert gone.code == 0 and gone.changed == rehearsed.changed, gone.words() or gone.output
        assert stocked.curl("http://nobody.example.org/") == "by hand"
        assert stocked.run("ls", "-A", enabled) == ""
        summary = gone.results[step]["webops_summary"]
        assert rehearsed.results[step]["webops_summary"] == summary
        return str(summary)

    stocked.run("sh", "-ec", f"rm {enabled}/default; cat > /etc/nginx/conf.d/own.conf; systemctl reload nginx",
                text=own)
    assert stocked.play("server", "web", keys, account="root").code == 0
    assert removed() == ""
    stocked.run("sh", "-ec", f"rm /etc/nginx/conf.d/own.conf; ln -s ../sites-available/default {enabled}/default")
    assert stocked.play("server", "web", keys, account="root").code == 0
    stocked.run("sh", "-ec", "cat > /etc/nginx/conf.d/own.conf; sed -i 's/ default_server//' "
                f"{enabled}/webops-default.conf; systemctl reload nginx", text=own)
    assert removed() == f"{enabled}/default stays off: nginx would not take it beside what is there now"
    stocked.run("sh", "-ec", f"rm /etc/nginx/conf.d/own.conf; ln -s ../sites-available/default {enabled}/default")


@pytest.mark.every_release
def test_the_accounts_have_their_rights_and_no_others(ready: Ready) -> None:
    assert "uid=0" in sign_in(ready, "webops-admin", "sudo", "-n", "id").stdout
    rights = sign_in(ready, "webops-deploy", "sudo", "-n", "-l").stdout
    lines = [line.strip() for line in rights.partition("may run the following")[2].splitlines()[1:] if line.strip()]
    assert lines == ["(webops-deploy, %webops-apps) NOPASSWD: ALL"]
    for user in ("root", "postgres", "www-data", "webops-admin"):
        assert sign_in(ready, "webops-deploy", "sudo", "-n", "-u", user, "id").returncode != 0
    assert "systemd-journal" in sign_in(ready, "webops-deploy", "id").stdout
    ready.run("useradd", "--system", "--groups", "webops-apps", "wo-probe")
    assert "wo-probe" in sign_in(ready, "webops-deploy", "sudo", "-n", "-u", "wo-probe", "id").stdout
    ready.run("userdel", "wo-probe")
    effective = ready.run("sshd", "-T", "-C", "user=webops-deploy,host=x,addr=192.0.2.1")
    for setting in ("authenticationmethods publickey", "allowtcpforwarding no", "allowagentforwarding no"):
        assert setting in effective
    for account in ("webops-admin", "webops-deploy"):
        lines = ready.run("cat", f"/home/{account}/.ssh/authorized_keys").splitlines()
        assert len(lines) == 2 and lines[1].startswith("restrict,pty ssh-ed25519 ")


def test_what_was_done_by_hand_is_found_and_taken_back(ready: Ready) -> None:
    taken_back(ready, "server", "web", {}, "echo '# by hand' >> /etc/sudoers.d/webops; "
               "rm /etc/tmpfiles.d/webops.conf /etc/nginx/sites-enabled/webops-default.conf")


def test_it_runs_what_it_promises(ready: Ready) -> None:
    assert ready.run("/usr/local/lib/webops/uv", "--version").startswith("uv ")
    for url in ("http://nobody.example.org/", "https://nobody.example.org/"):
        assert ready.curl(url, "-k", "-o", "/dev/null", "-w", "%{http_code}") == "404"
    assert ready.run("systemctl", "is-active", "nginx", "webops-cert-renew.timer").split() == ["active", "active"]
    modes = {"/etc/webops": "755", "/etc/webops/resources": "755", "/etc/webops/secrets": "700", "/srv/webops": "755",
             "/etc/webops/certs/default/privkey.pem": "600", "/run/webops": "755"}
    for path, mode in modes.items():
        assert ready.run("stat", "-Lc", "%a %U:%G", path).strip() == f"{mode} root:root", path


def test_a_site_that_somebody_wrote_into_debians_own_file_stays_on(ready: Ready) -> None:
    """It serves on for all names, is taken over and given back; Debian's own file, untouched, is switched off."""
    site = "server { listen 80 default_server; server_name old.example.org; return 200 'by hand'; }"
    values = {"server_public_keys": [ready.key.with_suffix(".pub").read_text().strip()]}
    served = ("http://old.example.org/", "http://nobody.example.org/")
    ready.run("sh", "-ec", "cd /etc/nginx; cp sites-available/default /root/debians; cat > sites-available/default; "
              "ln -s ../sites-available/default sites-enabled/default; rm sites-enabled/webops-default.conf; "
              "systemctl reload nginx", text=site)
    rehearsed, made = (ready.play("server", "web", values, check=check) for check in (True, False))
    step = "Let nginx answer names that nobody serves"
    assert made.code == 0 and made.changed == rehearsed.changed and step in made.changed, made.words() or made.output
    assert made.results[step]["webops_summary"] == (
        "/etc/nginx/sites-enabled/default stays on: somebody made a site of it")
    assert [ready.curl(url) for url in served] == ["by hand"] * 2
    assert ready.curl("https://nobody.example.org/", "-k", "-o", "/dev/null", "-w", "%{http_code}") == "404"
    assert ready.play("server", "web", values).changed == []

    vhost = {"nginx_vhost_domain": "old.example.org", "nginx_vhost_roots": ["/var/www/html"],
             "nginx_vhost_replaces": ["/etc/nginx/sites-enabled/default"]}
    taken = ready.play("nginx_vhost", "old", vhost)
    assert taken.code == 0, taken.words() or taken.output
    assert "404 Not Found" in ready.curl(served[1]) and ready.play("nginx_vhost", "old", vhost).changed == []
    gone = ready.play("nginx_vhost", "old", {}, action="remove")
    assert gone.code == 0 and [ready.curl(url) for url in served] == ["by hand"] * 2, gone.words() or gone.output

    ready.run("mv", "/root/debians", "/etc/nginx/sites-available/default")
    assert ready.play("server", "web", values).changed == [step]
    assert ready.run("ls", "/etc/nginx/sites-enabled").split() == ["webops-default.conf"]
    assert "404 Not Found" in ready.curl(served[0])


def test_what_nginx_takes_once_is_left_to_who_said_it(ready: Ready) -> None:
    said = "server_names_hash_bucket_size"
    values = {"server_public_keys": [ready.key.with_suffix(".pub").read_text().strip()]}
    # As Debian's own file has it, behind a comment.
    for by_hand, line in ((f"s/# *{said} .*/{said} 128;/", f"{said} 128;"),
                          (f"s/{said} .*/# {said} 64;/", f"{said} 512;")):
        ready.run("sed", "-i", by_hand, "/etc/nginx/nginx.conf")
        rehearsed, made = (ready.play("server", "web", values, check=check) for check in (True, False))
        assert made.code == 0 and made.changed == rehearsed.changed, made.words() or made.output
        assert "Let nginx answer names that nobody serves" in made.changed
        assert [one.strip() for one in ready.run("nginx", "-T").splitlines() if one.strip().startswith(said)] == [line]
        assert ready.play("server", "web", values).changed == []


def test_what_somebody_else_made_is_left_alone(ready: Ready) -> None:
    ready.run("useradd", "--system", "--comment", "somebody", "webops-elsewhere")
    before = ready.snapshot()
    ready.run("sed", "-i", "s/webops deploy/somebody else/", "/etc/passwd")
    refused = ready.play("server", "web", {"server_public_keys": []})
    assert "The Unix user webops-deploy exists on this server and was not made by WebOps" in refused.words()
    ready.run("sed", "-i", "s/somebody else/webops deploy/", "/etc/passwd")
    assert [line for line in difference(before, ready.snapshot()) if "passwd" not in line] == []


def test_keys_are_given_and_taken(ready: Ready) -> None:
    own = ready.key.with_suffix(".pub").read_text().strip()
    for bad in ("ssh-ed25519 AAAA\ncommand", "{{ lookup('pipe','touch /tmp/CANARY') }}", "-oProxyCommand=x"):
        refused = ready.play("server", "web", {"server_public_keys": [bad]})
        assert refused.failed and "one line of a .pub file" in refused.words(), refused.output
    limited = {"server_public_keys": [own], "server_allowed_from": [ready.box.gateway()]}
    assert ready.play("server", "web", limited).code == 0
    assert f'from="{ready.box.gateway()}",restrict,pty ' in ready.run("cat", "/home/webops-deploy/.ssh/authorized_keys")
    # An app's user cannot lead root astray: the file is written as the account itself.
    assert ready.run("stat", "-c", "%U", "/home/webops-deploy/.ssh/authorized_keys").strip() == "webops-deploy"
    kept = ready.play("server", "web", {"server_public_keys": []})
    assert "Make the accounts webops-admin and webops-deploy" not in kept.changed


def test_what_is_not_said_of_the_server_stays_as_it_is(ready: Ready) -> None:
    keys, here = {"server_public_keys": [ready.key.with_suffix(".pub").read_text().strip()]}, ready.box.gateway()
    said = {"server_allowed_from": [here, "192.0.2.0/24"], "server_unattended_upgrades": False,
            "server_journal_size": "300M"}

    def seen() -> str:
        return ready.run("sh", "-c", "grep -ho 'from=\\S*,restrict' /home/webops-*/.ssh/authorized_keys; "
                         "grep -ho 'Unattended-Upgrade .*' /etc/apt/apt.conf.d/52webops; "
                         "grep -h Max /etc/systemd/journald.conf.d/52-webops.conf")

    made = ready.play("server", "web", {**keys, **said})
    assert made.code == 0, made.words() or made.output
    limit = f'from="{here},192.0.2.0/24",restrict\n' * 2
    assert seen() == limit + 'Unattended-Upgrade "0";\nSystemMaxUse=300M\n'
    for check in (True, False):
        assert ready.play("server", "web", keys, check=check).changed == []
        outside = ready.play("server", "web", {**keys, "server_allowed_from": ["192.0.2.0/24"]}, check=check)
        assert f"WebOps signs in to this server from {here}, which 192.0.2.0/24 would not allow" in outside.words()
    assert seen() == limit + 'Unattended-Upgrade "0";\nSystemMaxUse=300M\n'
    again = ready.play("server", "web", {**keys, "server_allowed_from": ["0.0.0.0/0", "::/0"],
                                         "server_unattended_upgrades": True, "server_journal_size": "1G"})
    assert again.code == 0, again.words() or again.output
    assert seen() == 'from="0.0.0.0/0,::/0",restrict\n' * 2 + 'Unattended-Upgrade "1";\nSystemMaxUse=1G\n'
    assert sign_in(ready, "webops-deploy", "true").returncode == 0
