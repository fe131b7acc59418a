"""Runs a program of a release; what a person's command writes is on the screen while it goes on."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase

#: What only this plugin is told, and a result shall not hold.
_PRIVATE = ("going", "said", "invocation")


class ActionModule(ActionBase):
    """Calls the module until it is over. The screen has the host's name on a line of its own (panel.runs.translate)."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        seen = self._call({}, task_vars)
        several = bool(seen.get("going"))
        while seen.get("going"):
            self._show(seen, task_vars)
            seen = self._call(seen["going"], task_vars)
        if several:
            self._show(seen, task_vars)
        result.update({name: value for name, value in seen.items() if name not in _PRIVATE})
        return result

    def _call(self, going: dict[str, Any], task_vars: dict[str, Any] | None) -> dict[str, Any]:
        found: dict[str, Any] = self._execute_module(module_args={**self._task.args, "going": going},
                                                     task_vars=task_vars)
        return found

    def _show(self, seen: dict[str, Any], task_vars: dict[str, Any] | None) -> None:
        if seen.get("said"):
            self._display.display("\n".join([f"{(task_vars or {})['inventory_hostname']}:", *seen["said"]]))
