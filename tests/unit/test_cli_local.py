"""--local: the same words and refusals without a panel; files that plain Ansible reads, and a real playbook run."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cli.exits import Exit
from cli.local.inventory import Inventory, Resource, Server
from cli.main import root
from panel.settings import ROOT


@pytest.fixture
def inventory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An inventory of its own with one server that cannot be reached; nobody is signed in anywhere."""
    folder = tmp_path / "inventory"
    monkeypatch.setenv("WEBOPS_INVENTORY", str(folder))
    monkeypatch.setenv("WEBOPS_CONFIG", str(tmp_path / "config" / "config.json"))
    monkeypatch.setenv("WEBOPS_STATE", str(tmp_path / "none"))
    Inventory().put_server(Server("here", "192.0.2.1"))
    return folder


def webops(*words: str, stdin: str = "") -> Result:
    return CliRunner().invoke(root, [*words, "--local"], input=stdin)


def hosts(folder: Path) -> dict[str, dict[str, Any]]:
    """What Ansible itself reads out of the folder."""
    done = subprocess.run([Path(sys.executable).with_name("ansible-inventory"), "-i", folder / "hosts.yml", "--list"],
                          cwd=ROOT, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout)["_meta"]["hostvars"])


def test_kinds_and_options_come_from_this_checkout(inventory: Path) -> None:
    assert "ssl_cert" in webops("kinds").output
    assert "--acme-directory" in webops("apply", "ssl_cert", "--help").output
    assert webops("list").output.startswith("Nothing yet.")


def test_what_is_said_of_a_server_is_an_option_of_making_it_ready(inventory: Path) -> None:
    words = webops("server", "ready", "--help").output
    assert "--allowed-from" in words and "--no-unattended-upgrades" in words and "--public-keys" not in words
    refused = webops("server", "ready", "here", "--allowed-from", "web1", "--journal-size", "much")
    assert refused.exit_code == Exit.REFUSED and "allowed_from[0]: Write an IP address, or a network" in refused.output
    assert "journal_size: Write a size" in refused.output


def test_the_same_values_are_refused_in_the_same_words(inventory: Path) -> None:
    before = (inventory / "hosts.yml").read_text()
    done = webops("apply", "ssl_cert", "demo", "--server", "here", "--domain", "a.com; }")
    assert (done.exit_code, "domain: Write one full domain" in done.output) == (Exit.REFUSED, True)
    assert webops("apply", "ssl_cert", "-rf", "--server", "here", "--domain", "a.example.org").exit_code != Exit.OK
    reserved = webops("apply", "ssl_cert", "nginx", "--server", "here", "--domain", "a.example.org")
    assert (reserved.exit_code, "reserved" in reserved.output) == (Exit.REFUSED, True)
    private = webops("apply", "django_app", "app", "--server", "here", "--repo", "https://127.0.0.1/x.git")
    assert (private.exit_code, "private network" in private.output) == (Exit.REFUSED, True)
    nowhere = webops("apply", "ssl_cert", "demo", "--server", "other", "--domain", "a.example.org")
    assert (nowhere.exit_code, "server add other" in nowhere.output) == (Exit.REFUSED, True)
    assert (inventory / "hosts.yml").read_text() == before
    assert not (inventory / "host_vars").exists()


def test_values_lie_where_plain_ansible_finds_them_and_stay_text(inventory: Path) -> None:
    hostile = "{{ lookup('pipe','touch CANARY') }}"
    Inventory().put(Resource("app", "django_app", "here", None, {
        "django_app_repo": "https://git.example.org/x.git", "django_app_ref": "0123",
        "django_app_environment": [{"name": "A", "value": hostile}]},
        {"django_app_secrets": [{"name": "B", "value": hostile}]}))
    found = hosts(inventory)["app@here"]
    assert found["django_app_ref"] == {"__ansible_unsafe": "0123"}, "marked: text, never a template"
    assert found["django_app_environment"][0]["value"] == {"__ansible_unsafe": hostile}
    assert stat.S_IMODE((inventory / "host_vars" / "app@here" / "secrets.yml").stat().st_mode) == 0o600
    assert found["ansible_host"] == "192.0.2.1"
    shown = webops("status", "app").output
    assert "B=••••" in shown and "0123" in shown
    assert not list(ROOT.glob("CANARY"))


def test_parts_follow_from_their_parent(inventory: Path) -> None:
    Inventory().put(Resource("app", "django_app", "here", None, {
        "django_app_repo": "https://git.example.org/x.git", "django_app_domain": "app.example.org"}))
    listed = webops("list", "--all").output
    assert "app-cert" in listed and "app-vhost" in listed and "app-db" in listed
    assert set(hosts(inventory)) == {"here", "app@here"}
    assert webops("remove", "app-cert", "--yes").exit_code == Exit.REFUSED
    taken = webops("apply", "ssl_cert", "app-cert", "--server", "here", "--domain", "b.example.org")
    assert taken.exit_code == Exit.REFUSED


def test_one_domain_belongs_to_one_resource(inventory: Path) -> None:
    Inventory().put(Resource("app", "django_app", "here", None, {
        "django_app_repo": "https://git.example.org/x.git", "django_app_domain": "app.example.org"}))
    done = webops("apply", "static_site", "site", "--server", "here", "--repo", "https://git.example.org/y.git",
                  "--domain", "app.example.org")
    assert (done.exit_code, "belongs to app on here" in done.output) == (Exit.REFUSED, True)


def test_what_a_person_wrote_into_the_inventory_counts(inventory: Path) -> None:
    text = (inventory / "hosts.yml").read_text()
    (inventory / "hosts.yml").write_text(text + "    ssl_cert:\n      hosts:\n        mine@here:\n"
                                         "          ssl_cert_domain: m.example.org\n")
    assert json.loads(webops("status", "mine", "--json").output)["values"] == {"ssl_cert_domain": "m.example.org"}


def test_values_of_a_run_are_gone_when_it_ends_and_its_exit_code_stays(inventory: Path, tmp_path: Path) -> None:
    from cli.local.play import play

    room = Path("/dev/shm")
    playbook = tmp_path / "play.yml"
    playbook.write_text("""
- hosts: here
  gather_facts: false
  tasks:
    - ansible.builtin.assert: {that: ["v == text", "webops_action == 'main'"]}
      vars: {text: "{% raw %}{{ 7 * 7 }}{% endraw %}"}
    - ansible.builtin.fail: {msg: "as asked"}
      when: fails
""")
    here = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    (inventory / "hosts.yml").write_text(json.dumps({"all": {"hosts": {"here": here}}}))
    before = set(room.glob("webops-local-*"))
    for fails, expected in ((False, Exit.OK), (True, Exit.FAILED)):
        code = play(playbook, "here", inventory / "hosts.yml", action="main",
                    values={"v": "{{ 7 * 7 }}", "fails": fails}, timeout=120)
        assert code is expected
    assert set(room.glob("webops-local-*")) - before == set()


def test_a_host_that_another_inventory_names_is_reached_with_the_same_known_hosts(inventory: Path) -> None:
    found = Inventory().beside("here")
    assert f"UserKnownHostsFile={inventory}/known_hosts" in found["ansible_ssh_common_args"]
    assert "{{" not in json.dumps(found)


def test_a_deploy_key_is_kept_in_a_file_of_its_owner_alone(inventory: Path) -> None:
    made = webops("key", "leaflet", "--new", "--kind", "static_site", "--server", "here")
    assert made.exit_code == Exit.OK, made.output
    assert made.stdout.startswith("ssh-ed25519 AAAA") and webops("key", "leaflet").stdout == made.stdout
    file = inventory / "host_vars" / "leaflet@here" / "secrets.yml"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    said = hosts(inventory)["leaflet@here"]["static_site_repo_key"]["__ansible_unsafe"]
    assert said.startswith("-----BEGIN OPENSSH PRIVATE KEY-----\n")
    assert webops("key", "other", "--new").exit_code == Exit.REFUSED
    wrong = webops("key", "leaflet", "--new", "--kind", "django_app", "--server", "here")
    assert (wrong.exit_code, "taken" in wrong.output) == (Exit.REFUSED, True)
    assert webops("key", "BAD", "--new", "--kind", "static_site", "--server", "here").exit_code == Exit.REFUSED


def test_a_name_on_several_servers_is_done_on_each_or_on_one(inventory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    played: list[tuple[str, Any]] = []

    def play(_playbook: Path, host: str, _inventory: Path, *, values: dict[str, Any], **_more: Any) -> Exit:
        played.append((host, values.get("webops_batch")))
        return Exit.OK

    monkeypatch.setattr("cli.local.play.play", play)
    Inventory().put_server(Server("there", "192.0.2.2"))
    for server in ("here", "there"):
        Inventory().put(Resource("jobs", "redis_db", server))
    assert webops("apply", "redis_db", "jobs", "--memory", "64M", "--batch", "2").exit_code == Exit.OK
    assert all(hosts(inventory)[f"jobs@{server}"]["redis_db_memory"] for server in ("here", "there"))
    assert webops("restart", "jobs", "--on", "there").exit_code == Exit.OK
    assert played == [("jobs@here,jobs@there", "2"), ("jobs@there", None)]
    assert "--limit jobs@here,jobs@there" in webops("values", "jobs").output
    assert "jobs is not on nowhere" in webops("logs", "jobs", "--on", "nowhere").output
    assert "jobs is not on nowhere" in CliRunner().invoke(
        root, ["exec", "jobs", "--on", "nowhere", "--local", "--", "true"]).output
    refused = webops("restart", "jobs", "--on", "nowhere")
    assert refused.exit_code == Exit.REFUSED and "jobs is not on nowhere" in refused.output
    assert webops("remove", "jobs", "--on", "here", "--yes").exit_code == Exit.OK
    assert [one.server for one in Inventory().named("jobs")] == ["there"]
    group = webops("apply", "redis_db", "more", "--group", "web")
    assert group.exit_code == Exit.USAGE and "Groups are kept by a panel" in group.output


def test_what_a_swap_brought_stays_in_the_inventory(inventory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cli.local import play

    codes = [Exit.FAILED, Exit.OK]
    monkeypatch.setattr(play, "play", lambda *_words, **_more: codes.pop(0))
    Inventory().put(Resource("tiny", "vllm_model", "here", None, {
        "vllm_model_model": "org/one", "vllm_model_revision": "v1", "vllm_model_kv_cache": "1G"}))
    assert webops("swap", "tiny", "--model", "org/two").exit_code == Exit.FAILED
    assert Inventory().resource("tiny").values["vllm_model_model"] == "org/one"
    assert webops("swap", "tiny", "--model", "org/two").exit_code == Exit.OK
    assert Inventory().resource("tiny").values == {"vllm_model_model": "org/two", "vllm_model_kv_cache": "1G"}
