"""Refuses values that break their format, before a role touches anything: the second wall behind the panel.

Reads `formats:` of the role's meta/kind.yml, so that a role states the format of a parameter once.
Runs on the control side only; no connection is opened.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

_FORMATS_FILE = Path(__file__).resolve().parent.parent / "test" / "formats.py"
_spec = importlib.util.spec_from_file_location("webops_formats", _FORMATS_FILE)
formats = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(formats)
# Twenty times as fast as the one in Python, where libyaml is there; as safe.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def values_at(path: str, value: Any) -> Iterator[Any]:
    """The values that a path of kind.yml means below `value`: "x", "x[]", "x[].name"."""
    for step in path.replace("[]", ".[]").split(".")[1:]:
        if step == "[]":
            yield from (deeper for item in value or [] for deeper in values_at(path.partition("[]")[2], item))
            return
        value = (value or {}).get(step)
    yield value


class ActionModule(ActionBase):
    """`webops_values: {}` as the first task of every entry point."""

    TRANSFERS_FILES = False
    _VALID_ARGS = frozenset()

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        role = self._task._role
        if role is None:
            raise AnsibleActionFail("webops_values checks the values of a role and belongs into one.")
        kind = yaml.load((Path(role._role_path) / "meta" / "kind.yml").read_text(), Loader=LOADER)  # noqa: S506
        refused = list(self._problems(kind.get("formats", {}), task_vars or {}))
        if refused:
            raise AnsibleActionFail("Not accepted: " + " · ".join(refused))
        result["changed"] = False
        return result

    def _problems(self, wanted: dict[str, str], task_vars: dict[str, Any]) -> Iterator[str]:
        for path, format_name in wanted.items():
            parameter = path.partition("[")[0].partition(".")[0]
            if parameter not in task_vars:
                continue
            value = self._templar.template(task_vars[parameter])
            for one in values_at(path, value):
                found = formats.problem(format_name, one) if one not in (None, "", []) else None
                if found:
                    yield f"{path}: {found.message}"
