"""Sends the program that does the work on the server along with the module that asks for it."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

_spec = importlib.util.spec_from_file_location(
    "webops_told", Path(__file__).resolve().parent.parent / "contract" / "repository.py"
)
_repository = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_repository)
TOLD = {"read": _repository.READ, "named": _repository.NAMED, "skipped": _repository.SKIPPED}
#: The fact by which one server of a run tells the others which commit it got.
FETCHED = "webops_fetched"
PROGRAMS = Path(__file__).resolve().parent.parent / "programs"
LOADER = """
import sys, types
for name, text in PARTS:
    module = sys.modules["__main__"] if name == "__main__" else sys.modules.setdefault(name, types.ModuleType(name))
    exec(compile(text, f"<webops {name}>", "exec"), module.__dict__)
"""


def program(*names: str) -> str:
    """One Python text that holds the named programs, the last of which is run; the others it can import."""
    parts = [(name, (PROGRAMS / f"{name}.py").read_text()) for name in names]
    parts[-1] = ("__main__", parts[-1][1])
    return f"PARTS = {json.dumps(parts)}\n{LOADER}"


class ActionModule(ActionBase):
    """Runs the module with `source` filled in; keeps that text out of what is recorded."""

    TRANSFERS_FILES = False

    @property
    def module(self) -> str:
        """Which of the modules was asked for, without its collection."""
        return str(self._task.action).rpartition(".")[2]

    def parts(self) -> tuple[str, ...]:
        """Programs by name, the one that runs last; the other modules reach this file by links of their names."""
        sort = self._task.args.get("sort")
        return {
            "webops_fetch": ("report", "listing", "login", "submodules", "lfs", "migrations", "fetch"),
            "webops_build": ("report", "tree", "commands", "migrations", "locked", "caches", "python_env",
                             f"{sort}_build"),
            "webops_model_prune": ("report", "model_prune"),
            "webops_snapshot": ("report", "snapshot"),
            "webops_rollback": ("report", "snapshot"),
        }[self.module]

    def held(self, task_vars: dict[str, Any]) -> dict[str, Any]:
        """What a fetch is held to: the commit that was planned; and what it shall tell of the commit's files."""
        if self.module != "webops_fetch":
            return {}
        planned, commit = task_vars.get("webops_planned"), self.commit(task_vars)
        if commit:
            # Another server of the run has it: what was planned was compared there.
            return {"told": TOLD, "commit": commit}
        return {"told": TOLD, **({"planned": planned} if isinstance(planned, dict) else {})}

    def commit(self, task_vars: dict[str, Any]) -> str | None:
        """The commit that other servers of the same resource have: all are to get one, also when its branch moves."""
        if isinstance(given := task_vars.get("webops_commit"), str):
            return given
        if (task_vars.get("webops_planned") or {}).get("commit") == "live":
            return None
        me, known = task_vars["inventory_hostname"], task_vars.get("hostvars") or {}
        others = [one for one in task_vars.get("ansible_play_hosts_all") or []
                  if one != me and one.partition("@")[0] == me.partition("@")[0]]
        found = ((known[one].get("ansible_facts") or {}).get(FETCHED) for one in others)
        return next((str(one) for one in found if one), None)

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = {**self._task.args, **self.held(task_vars or {}), "source": program(*self.parts())}
        result.update(self._execute_module(module_args=arguments, task_vars=task_vars))
        result.get("invocation", {}).get("module_args", {}).pop("source", None)
        if self.module == "webops_fetch" and result.get("commit") and not result.get("failed"):
            result["ansible_facts"] = {FETCHED: result["commit"]}
        return result
