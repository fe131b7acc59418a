"""Values on their way through the command line: options, secrets, files that Ansible reads as text."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from cli import asking, options, values_file
from cli.exits import Stop
from cli.overlay import laid_over
from panel.catalog import catalog
from panel.catalog.described import described

#: Texts that YAML, a template engine or a shell would make something else of.
HOSTILE = ["yes", "no", "0123", "123", "null", "~", "", "0x1F", "1_000", ".inf", "1:30", "1.0", "=", "<<", "{#",
           "{{ lookup('pipe','touch CANARY') }}", "lookup('pipe','touch CANARY')", "{% raw %}", "a\nb\r\nc",
           "é😀\u2028\x85\x7f\x1b\ufeff", "$ANSIBLE_VAULT;1.1;AES256\n12", "!vault |", "!unsafe", "# x", "- a", " lead",
           "trail ", "\\", "\"'`$HOME"]
VALUES: dict[str, Any] = {
    "v_list": HOSTILE, "v_pairs": [{"name": "__ansible_unsafe", "value": one} for one in HOSTILE], "v_number": 5,
    "v_yes": True, "v_half": 1.5, "v_map": {"k": [1, "2", False]}, "v_text": HOSTILE[15]}


def main_of(kind: str) -> dict[str, Any]:
    return dict(described(catalog().kind(kind))["actions"]["main"])


def test_what_is_written_is_read_back_the_same(tmp_path: Path) -> None:
    values_file.write(tmp_path / "v.yml", values_file.text(VALUES, "a\rb: {{ x }}\n"), private=True)
    assert values_file.read(tmp_path / "v.yml") == VALUES
    assert stat.S_IMODE((tmp_path / "v.yml").stat().st_mode) == 0o600


def test_ansible_reads_every_text_as_it_is_and_runs_none(tmp_path: Path) -> None:
    content = values_file.text(VALUES, "values")
    inventory = tmp_path / "inventory"
    (inventory / "host_vars").mkdir(parents=True)
    here = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    (inventory / "hosts.yml").write_text(json.dumps({"all": {"hosts": {"here": here}}}))
    both = ", ".join(f"'{name}': {name}" for name in VALUES)
    task = {"ansible.builtin.copy": {"dest": f"{tmp_path}/out.json", "content": "{{ {" + both + "} | to_json }}"}}
    (tmp_path / "play.yml").write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": [task]}]))
    (tmp_path / "values.yml").write_text(content)
    for place, more in (("host_vars", []), ("-e", ["-e", f"@{tmp_path}/values.yml"])):
        (inventory / "host_vars" / "here.yml").write_text(content if place == "host_vars" else "")
        done = subprocess.run([Path(sys.executable).with_name("ansible-playbook"), "-i", inventory / "hosts.yml",
                               tmp_path / "play.yml", *more], cwd=tmp_path, capture_output=True, text=True,
                              env={**os.environ, "ANSIBLE_CONFIG": str(tmp_path / "none.cfg")}, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert json.loads((tmp_path / "out.json").read_text()) == VALUES, place
        (tmp_path / "out.json").unlink()
    assert not list(tmp_path.rglob("CANARY"))


def test_a_file_with_other_tags_or_no_mapping_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "v.yml"
    for text in ("!!python/object/apply:os.system [id]", "- a", "1: 2", "a: [", "!vault x"):
        file.write_text(text)
        with pytest.raises(Stop):
            values_file.read(file)
    file.write_text('{"a": {"__ansible_unsafe": "{{ x }}"}}')
    assert values_file.read(file) == {"a": "{{ x }}"}


def test_every_parameter_that_is_no_secret_is_an_option_and_no_secret_is_one() -> None:
    for kind in catalog().kinds.values():
        for action in described(kind)["actions"].values():
            flags = [flag for option in options.options(action) for flag in option.opts]
            assert len(flags) == len(set(flags)), f"{kind.name} {action['name']}"
            assert not set(flags) & {f"--{name}" for name in options.OWN}
            secret = {f"--{options.flag(one)}" for one in action["parameters"] if one["secret"]}
            assert not secret & set(flags)


def parse(action: dict[str, Any], *words: str) -> dict[str, Any]:
    command = click.Command("x", params=list(options.options(action)), callback=lambda **params: params)
    return options.given(action, command.main(list(words), standalone_mode=False))


def test_options_become_values_and_what_was_not_written_is_absent() -> None:
    found = parse(main_of("django_app"), "--repo", "https://x/y.git", "--aliases", "a.example.org", "--aliases",
                  "b.example.org", "--environment", "A=1=2", "--environment", "B=", "--no-database", "--domain", "-x")
    assert found == {"django_app_repo": "https://x/y.git", "django_app_aliases": ["a.example.org", "b.example.org"],
                     "django_app_environment": [{"name": "A", "value": "1=2"}, {"name": "B", "value": ""}],
                     "django_app_database": False, "django_app_domain": "-x"}
    with pytest.raises(click.BadParameter, match="NAME=VALUE"):
        parse(main_of("django_app"), "--environment", "A")


def test_secrets_come_from_files_and_items_by_name(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("s3cr3t with space \n")
    found = asking.secrets(main_of("django_app"), (), [f"secrets.API_KEY={tmp_path}/key"], None)
    assert found == {"django_app_secrets": [{"name": "API_KEY", "value": "s3cr3t with space "}]}
    for wrong in (f"secrets={tmp_path}/key", f"domain={tmp_path}/key", f"nope={tmp_path}/key"):
        with pytest.raises(click.UsageError, match=r"secrets\.NAME"):
            asking.secrets(main_of("django_app"), (), [wrong], None)


def test_new_values_lie_over_old_ones_item_by_item() -> None:
    action = main_of("django_app")
    old = {"django_app_domain": "a.example.org", "django_app_environment": [{"name": "A", "value": "1"}]}
    found = laid_over(action, old, {"django_app_secrets": ["OLD"]}, {
        "django_app_environment": [{"name": "B", "value": "2"}, {"name": "A", "value": "3"}]},
        {"django_app_secrets": [{"name": "NEW", "value": "x"}]}, ("domain",))
    assert found == {
        "django_app_domain": None,
        "django_app_environment": [{"name": "A", "value": "3"}, {"name": "B", "value": "2"}],
        "django_app_secrets": [{"name": "OLD", "value": None}, {"name": "NEW", "value": "x"}]}
    assert laid_over(action, found, {}, {}, {}, ("environment.A",))["django_app_environment"] == [
        {"name": "B", "value": "2"}]
    assert laid_over(action, {}, {"django_app_repo_token": True}, {}, {}, ("repo-token",)) == {
        "django_app_repo_token": []}, "what is left out would be kept"
