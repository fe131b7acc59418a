"""Sends the program that builds this sort of release along with the module of this name."""

from __future__ import annotations

import importlib.util
from pathlib import Path

_spec = importlib.util.spec_from_file_location(
    "webops_sends_programs", Path(__file__).resolve().parent / "webops_fetch.py"
)
_sender = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_sender)


class ActionModule(_sender.ActionModule):
    def parts(self) -> tuple[str, ...]:
        return ("report", "tree", "python_env", f"{self._task.args['sort']}_build")
