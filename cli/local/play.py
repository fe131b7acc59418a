"""Runs a playbook of this checkout, with values that nobody else can read and that are gone afterwards."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cli import values_file
from cli.exits import Exit, Stop
from cli.local.inventory import environment
from panel.settings import ROOT


def play(playbook: Path, host: str, inventory: Path, *, action: str, values: Mapping[str, Any], check: bool = False,
         timeout: int | None = None, to_stderr: bool = False, more: Mapping[str, Any] | None = None) -> Exit:
    """Run `action` on one inventory host; what Ansible says goes to the terminal. FAILED where it failed.

    `more`: a further inventory, for a host that is not written down (a part).
    """
    # On tmpfs where there is one: values may hold secrets, and those belong on no disk.
    room = Path("/dev/shm")  # noqa: S108  a private directory is made in it
    private = Path(tempfile.mkdtemp(prefix="webops-local-", dir=room if room.is_dir() else None))
    try:
        file = private / "values.yml"
        values_file.write(file, values_file.text({**values, "webops_action": action}, f"{action} {host}"), private=True)
        sources = ["-i", str(inventory)]
        if more:
            (private / "more.json").write_text(json.dumps(more))
            sources += ["-i", str(private / "more.json")]
        argv = [_program(), *sources, str(playbook), "--limit", host, "-e", f"@{file}", "--diff"]
        return _run([*argv, "--check"] if check else argv, timeout, to_stderr)
    finally:
        shutil.rmtree(private, ignore_errors=True)


def _program() -> str:
    beside = Path(sys.executable).with_name("ansible-playbook")
    found = str(beside) if beside.exists() else shutil.which("ansible-playbook")
    if not found:
        raise Stop("ansible-playbook is not installed.", Exit.FAILED, next_step="make setup")
    return found


def _run(argv: list[str], timeout: int | None, to_stderr: bool) -> Exit:
    process = subprocess.Popen(argv, cwd=ROOT, env=environment(), stdout=sys.stderr if to_stderr else None)
    try:
        code = process.wait(timeout)
    except subprocess.TimeoutExpired:
        _end(process)
        raise Stop(f"It took longer than {timeout} s and was ended.", Exit.FAILED,
                   next_step="see above how far it came; --timeout gives it more time") from None
    except KeyboardInterrupt:
        _end(process)
        return Exit.CANCELED
    return Exit.OK if code == 0 else Exit.FAILED


def _end(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM to ansible-playbook ends its own children as well; SIGKILL would leave them."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
