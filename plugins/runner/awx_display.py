"""ansible-runner's event callback; hidden results stay hidden in banners too, and Ansible ends with its parent."""

from __future__ import annotations

# Lies beside plugins/callback, because Ansible would load it there for runs made by hand, too.
DOCUMENTATION = """
    name: awx_display
    type: stdout
    short_description: Events for ansible-runner, with no_log held everywhere
    description:
        - Since ansible-core 2.19 a failing task with C(no_log) still prints its message as an error banner,
          and a warning of it as a warning banner. This callback leaves both out.
    author: WebOps
    extends_documentation_fragment:
        - default_callback
    requirements:
        - Set as stdout callback by ansible-runner
"""

import ctypes
import importlib.util
import pathlib
import signal


def _load_original():
    """ansible-runner's own callback, by its path: importing the package would cost a tenth of a second per run."""
    package = importlib.util.find_spec("ansible_runner")
    path = pathlib.Path(package.origin).parent / "display_callback" / "callback" / "awx_display.py"
    found = importlib.util.spec_from_file_location("ansible_runner_awx_display", path)
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


_original = _load_original()

# kill -9 of the process that runs us must not leave Ansible behind: ask the kernel for a SIGTERM then.
_PR_SET_PDEATHSIG = 1
ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


class CallbackModule(_original.CallbackModule):
    """As in ansible-runner, without the banners of hidden results."""

    CALLBACK_NAME = "awx_display"

    @staticmethod
    def _is_hidden(result):
        return "censored" in result or bool(result.get("_ansible_no_log"))

    def _handle_exception(self, result, use_stderr=False):
        if self._is_hidden(result):
            result.pop("exception", None)
            return
        super()._handle_exception(result, use_stderr=use_stderr)

    def _handle_warnings(self, res):
        if self._is_hidden(res):
            res.pop("warnings", None)
            res.pop("deprecations", None)
            return
        super()._handle_warnings(res)
