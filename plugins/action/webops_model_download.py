"""Fetches a model, with how far it is on the screen meanwhile. A model that is all there is left as it is."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

_spec = importlib.util.spec_from_file_location("webops_sender", Path(__file__).resolve().parent / "webops_fetch.py")
_sender = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_sender)
#: What only this plugin is told, and a result shall not hold.
_PRIVATE = ("waits", "since", "token", "over", "lines", "shown", "invocation")


class ActionModule(ActionBase):
    """Calls the module step by step."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        self._vars = task_vars or {}
        begun = self._step("begin", source=_sender.program("report", "model_download"))
        if not begun.get("failed") and begun.get("waits"):
            refused = self._watch(begun)
            begun = refused or self._step("end", begun=begun)
        result.update({name: value for name, value in begun.items() if name not in _PRIVATE})
        return result

    def _watch(self, begun: dict[str, Any]) -> dict[str, Any]:
        """Until it is over: {}; or why it cannot be followed any more."""
        shown = 0
        while True:
            seen = self._step("look", begun={"since": begun["since"], "token": begun["token"]}, shown=shown)
            if seen.get("failed") or "lines" not in seen:
                return {"failed": True, **seen}
            for line in seen["lines"]:
                self._display.display(f"{self._vars['inventory_hostname']}: {line}")
            shown = seen["shown"]
            if seen["over"]:
                return {}

    def _step(self, step: str, **more: Any) -> dict[str, Any]:
        found: dict[str, Any] = self._execute_module(module_args={**self._task.args, **more, "step": step},
                                                     task_vars=self._vars)
        return found
