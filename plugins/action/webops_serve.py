"""Starts an engine and waits until it has answered, with its words on the screen meanwhile."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase

#: What only this plugin is told, and a result shall not hold.
_PRIVATE = ("waits", "begun", "since", "began", "interrupted", "slot")


class ActionModule(ActionBase):
    """Calls the module step by step; the server keeps the time-out of the start (its unit's)."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        self._vars = task_vars or {}
        result.update(self._serve({}))
        for name in _PRIVATE:
            result.pop(name, None)
        return result

    def _serve(self, other: dict[str, Any]) -> dict[str, Any]:
        """The whole way of one action; `other` replaces arguments of the task."""
        begun = self._step("begin", **other)
        if begun.get("failed") or not begun.get("waits"):
            return begun
        refused = self._watch(begun, other)
        if not refused:
            return self._step("turn", begun=begun, **other)
        return self._go_back(begun, refused, other)

    def _watch(self, begun: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
        """Until the engine has answered: {}; or why it never will."""
        shown = 0
        while True:
            seen = self._step("look", begun=begun, shown=shown, **other)
            if seen.get("failed"):
                return seen
            for line in seen["lines"]:
                self._display.display(f"{self._vars['inventory_hostname']}: {line}")
            shown = seen["shown"]
            if seen["state"] == "ready":
                return {}

    def _go_back(self, begun: dict[str, Any], refused: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
        """What served goes on; where it had to end first, it is started again."""
        stands = self._step("back", begun=begun, **other)
        if stands.get("serves"):
            words = "What served before goes on serving."
        elif begun.get("interrupted") and not other:
            again = self._serve({"action": "start"})
            words = "What served before serves again." if not again.get("failed") else \
                f"What served before does not start either: {again.get('msg')}"
        else:
            words = "Nothing serves now."
        return {**refused, "next": f"{words} {refused.get('next', '')}".strip()}

    def _step(self, step: str, **more: Any) -> dict[str, Any]:
        run = self._vars.get("webops_run")
        arguments = {**self._task.args, "run": run if isinstance(run, dict) else {}, **more, "step": step}
        found: dict[str, Any] = self._execute_module(module_name=self._task.action, module_args=arguments,
                                                     task_vars=self._vars)
        found.pop("invocation", None)
        return found
