"""What every role promises on paper: its spec is complete, its defaults agree, its secrets stay out of sight."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
ROLES = sorted(path for path in [*ROOT.glob("roles/*"), *ROOT.glob("addons/*/roles/*")] if path.is_dir())
each_role = pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)


class Loader(yaml.SafeLoader):
    """Knows Ansible's own tags, which a plain loader refuses."""


Loader.add_multi_constructor("!", lambda loader, suffix, node: loader.construct_scalar(node))


def load(path: Path) -> Any:
    return yaml.load(path.read_text(), Loader=Loader) if path.exists() else {}


def specs(role: Path) -> dict[str, Any]:
    return load(role / "meta/argument_specs.yml")["argument_specs"]


def options(role: Path) -> dict[str, dict[str, Any]]:
    return {name: option for spec in specs(role).values()
            for name, option in ((spec or {}).get("options") or {}).items()}


def tasks(role: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    def walk(file: Path, items: list[dict[str, Any]]) -> Iterator[tuple[Path, dict[str, Any]]]:
        for item in items or []:
            yield file, item
            for part in ("block", "rescue", "always"):
                yield from walk(file, item.get(part, []))
    for folder in ("tasks", "handlers"):
        for file in sorted((role / folder).glob("*.yml")):
            yield from walk(file, load(file))


@each_role
def test_an_action_has_its_tasks(role: Path) -> None:
    missing = [entry for entry in specs(role) if not (role / "tasks" / f"{entry}.yml").exists()]
    assert not missing, f"{role.name}: no tasks/{missing[0]}.yml for the entry point '{missing[0]}'"
    assert all((spec or {}).get("short_description") for spec in specs(role).values())


@each_role
def test_every_option_is_described_and_named_for_its_role(role: Path) -> None:
    for name, option in options(role).items():
        assert name.startswith(f"{role.name}_"), f"{name} must begin with {role.name}_"
        assert option.get("description"), f"{name} needs a description: its first entry is the label"


@each_role
def test_defaults_agree_with_the_spec(role: Path) -> None:
    defaults = load(role / "defaults/main.yml") or {}
    for name, option in options(role).items():
        if "default" in option:
            assert name in defaults, f"{name}: defaults/main.yml lacks it"
            assert defaults[name] == option["default"], f"{name}: spec says {option['default']!r}, " \
                f"defaults/main.yml says {defaults[name]!r}"
    unknown = {name for name in defaults if not name.startswith("__")} - set(options(role))
    assert not unknown, f"{role.name}: defaults/main.yml has {unknown}, which no entry point names"


@each_role
def test_an_entry_point_checks_its_values_first(role: Path) -> None:
    for entry in specs(role):
        first = load(role / "tasks" / f"{entry}.yml")[0]
        assert "webops_values" in first, f"{role.name}/tasks/{entry}.yml must begin with webops_values"


@each_role
def test_tasks_are_orders_with_qualified_modules(role: Path) -> None:
    for file, task in tasks(role):
        assert task.get("name"), f"{file}: a task without a name"
        for key in task:
            assert key not in ("ignore_errors", "shell", "ansible.builtin.shell"), f"{file}: '{key}' is not used here"


@each_role
def test_secrets_stay_in_tasks_that_do_not_log(role: Path) -> None:
    secrets = [name for name, option in options(role).items() if option.get("no_log")]
    quiet = re.compile("|".join(rf"\b{name}\b" for name in secrets)) if secrets else None
    for file, task in tasks(role):
        own = {key: value for key, value in task.items() if key not in ("block", "rescue", "always", "name", "when")}
        if quiet and quiet.search(yaml.safe_dump(own)) and not any("include" in key for key in own):
            assert task.get("no_log"), f"{file}: '{task['name']}' touches a secret and needs no_log: true"


@each_role
def test_a_kind_says_who_may_do_what(role: Path) -> None:
    kind = load(role / "meta/kind.yml")
    assert kind.get("label") and kind.get("summary"), f"{role.name}/meta/kind.yml needs label and summary"
    assert set(kind.get("actions", {})) == set(specs(role)), f"{role.name}: kind.yml and spec differ in actions"
    known = set(options(role))
    named = {path.partition("[")[0].partition(".")[0] for path in kind.get("formats", {})} | {
        name for group in kind.get("groups", []) for name in group["parameters"]}
    assert named <= known, f"{role.name}/meta/kind.yml names {named - known}, which no entry point has"


@each_role
def test_a_kind_has_its_playbook(role: Path) -> None:
    folder = ROOT / "playbooks" if role.parent.parent == ROOT else role.parent.parent
    play = load(folder / f"{role.name}.yml")[0]
    assert play["hosts"] == role.name and play["gather_facts"] is False


def test_collections_come_from_the_wheel_that_is_pinned() -> None:
    wanted = {one["name"]: one["version"] for one in load(ROOT / "requirements.yml")["collections"]}
    for name, version in wanted.items():
        manifest = ROOT / "collections/ansible_collections" / name.replace(".", "/") / "MANIFEST.json"
        assert load(manifest)["collection_info"]["version"] == version
