"""Ansible read ahead: imported while the run's child waits, then forked, so that a run waits for no second interpreter.

What a forked Ansible is must be what a started one would be. It has the same environment, arguments, terminal and
folder, and descends from the run's child as before; where something differs (`_as_read`), it is started as usual.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from ansible_runner.runner import pexpect
from ansible_runner.utils import get_callback_dir

from panel.runs import tree

_MODULES = (
    "ansible.cli.playbook", "ansible.executor.playbook_executor", "ansible.plugins.strategy.linear",
    "ansible.plugins.callback.default")
#: Read where they are there: the strategy does without.
_FAST = tuple(f"ansible_mitogen.{name}" for name in
              ("strategy", "process", "connection", "services", "mixins", "planner"))
#: What Ansible read its configuration from, when it was imported.
_read: dict[str, str] = {}


def by_runner() -> dict[str, str]:
    """What ansible-runner adds to Ansible's environment."""
    callbacks = filter(None, (os.environ.get("ANSIBLE_CALLBACK_PLUGINS"), get_callback_dir()))
    return {"ANSIBLE_CALLBACK_PLUGINS": ":".join(callbacks), "ANSIBLE_STDOUT_CALLBACK": "awx_display",
            "ANSIBLE_RETRY_FILES_ENABLED": "False"}


def read(more: Mapping[str, str]) -> None:
    """Import Ansible under this environment and `more`. Where that fails, Ansible is started later."""
    before = dict(os.environ)
    os.environ.update(more)
    gc.disable()
    try:
        for name in _MODULES:
            importlib.import_module(name)
        _read.update(_of_ansible(os.environ))
        for name in _FAST:
            importlib.import_module(name)
    except (Exception, SystemExit):  # noqa: BLE001  the Ansible that is started instead tells it where people see it
        traceback.print_exc()
    finally:
        gc.enable()
        gc.freeze()
        os.environ.clear()
        os.environ.update(before)


def _of_ansible(environment: Mapping[str, str]) -> dict[str, str]:
    read = ("ANSIBLE_", "HOME", "LC_", "LANG")
    return {key: str(value) for key, value in environment.items() if key.startswith(read)}


def _as_read(environment: dict[str, str]) -> bool:
    """Whether Ansible would read now what it has read, and nothing goes on here that a fork would cut in two."""
    return _of_ansible(environment) == _read and threading.active_count() == 1


class Spawn(pexpect.spawn):  # type: ignore[misc]  # pexpect comes without types
    """What ansible-runner starts Ansible with: forked where that is the same, and closed without a pause."""

    def __init__(self, command: str, args: list[str], *, env: dict[str, str], **given: Any) -> None:
        self.is_forked = _as_read(env)
        if not self.is_forked:
            super().__init__(command, args, env=env, **given)
            return
        above = os.getpid()
        # A signal that comes in between would be taken for one to the run's child.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        try:
            super().__init__(command, args, env=env, preexec_fn=lambda: _be_ansible([command, *args], env, above),
                             **given)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})

    def close(self, force: bool = True) -> None:
        # Ansible has ended by now: there is nothing to give time to.
        self.ptyproc.delayafterclose = 0
        super().close(force)


def _be_ansible(argv: Sequence[str], environment: dict[str, str], above: int) -> NoReturn:
    """In the forked process, on its own terminal, in the folder of the play: what `ansible-playbook` does."""
    code: Any = 1
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        tree.die_with_parent(above)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        os.closerange(3, 256)  # pexpect waits for the end of a pipe that a started program would have closed
        os.environ.clear()
        os.environ.update(environment)
        sys.argv, sys.path = list(argv), [one for one in sys.path if one != str(Path.cwd())]
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
        from ansible.cli.playbook import PlaybookCLI

        PlaybookCLI.cli_executor(sys.argv)
        code = 0
    except SystemExit as ended:
        code = ended.code or 0
    except BaseException:  # noqa: BLE001  nothing may go on here as the run's child
        traceback.print_exc()
    finally:
        _leave(code)


def _leave(code: Any) -> NoReturn:
    """As an interpreter ends, without taking apart what the run's child has made."""
    try:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code if isinstance(code, int) else 1)
