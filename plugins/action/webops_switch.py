"""Tells the module which run of WebOps lets traffic go to a release, so that it is written down with it."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    """Runs the module with `run` filled in; without a panel there is none."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        run = (task_vars or {}).get("webops_run")
        arguments = {**self._task.args, "run": run if isinstance(run, dict) else {}}
        result.update(self._execute_module(module_args=arguments, task_vars=task_vars))
        return result
