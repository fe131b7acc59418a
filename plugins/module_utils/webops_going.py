"""A task that goes on while its lines are read: begun by one call of a module, looked at by those that follow."""

from __future__ import annotations

import os
import subprocess
import time
import uuid

from ansible.module_utils.webops_unit import (
    ROOT,
    SIGNS,
    Refused,
    show,
    stop_left,
    systemctl,
    wait_for_end,
    without_secrets,
    write_json,
)
from ansible.module_utils.webops_unit import state as state_of

STARTS = 60
#: Seconds that a look waits: for the end of it, or for something to show.
SOON, LATE = 1.0, 20.0


def begin(name, instance, job):
    """Start `job` (as for run_task); what `look` needs to know, as plain data. Refused: it does not start."""
    going = {"unit": f"wo-{name}.task@{instance}.service", "since": time.time() - 2, "token": uuid.uuid4().hex,
             "cursor": "", "begun": False}
    stop_left(going["unit"])
    before = show(going["unit"], "InvocationID").get("InvocationID")
    path = os.path.join(ROOT, name, "env", f"task-{instance}.json")
    write_json(path, {**job, "id": going["token"]}, 0o640)
    try:
        started = systemctl("start", "--no-block", going["unit"])
        until = time.monotonic() + STARTS
        while f"webops-begin {going['token']}" not in lines_after({**going}):
            facts = show(going["unit"], "ActiveState", "InvocationID")
            if facts.get("ActiveState") == "failed" and facts.get("InvocationID") != before:
                break  # it has failed already, as the one before may have: `look` has its words
            if started.returncode or time.monotonic() > until:
                raise Refused("The command did not begin.", "Look at its unit on the server.",
                              started.stderr.splitlines())
            time.sleep(0.03)
    finally:
        os.unlink(path)
    return going


def look(going):
    """What it wrote since the last look, and how it ended (None: it goes on)."""
    lines, began = [], time.monotonic()
    while True:
        ended = state_of(going["unit"]) in ("inactive", "failed")
        if ended:
            ended = wait_for_end(going["unit"], going["since"], going["token"])
        lines += own(going, lines_after(going))
        waited = time.monotonic() - began
        if ended or (lines and waited > SOON) or waited > LATE:
            return lines, ended or None
        time.sleep(0.1 if waited < SOON else 0.5)


def own(going, lines):
    """Those that the program wrote: after our launcher's first word."""
    first = f"webops-begin {going['token']}"
    if not going["begun"] and first in lines:
        lines, going["begun"] = lines[lines.index(first):], True
    return [line for line in lines if not line.startswith(SIGNS)] if going["begun"] else []


def lines_after(going):
    """What processes of the unit wrote since the last call; keeps in `going` where that was."""
    where = f"--after-cursor={going['cursor']}" if going["cursor"] else f"--since=@{going['since']:.3f}"
    read = subprocess.run(["journalctl", "-q", "--no-pager", "-o", "cat", "--show-cursor", where, "_TRANSPORT=stdout",
                           f"_SYSTEMD_UNIT={going['unit']}"], capture_output=True, check=False)
    lines = read.stdout.decode(errors="replace").splitlines()
    if lines and lines[-1].startswith("-- cursor: "):
        going["cursor"] = lines.pop().removeprefix("-- cursor: ")
    return without_secrets(going["unit"], lines)
