"""The slots of a language model: engines that listen themselves, take minutes to start, and fill the memory.

Their units count as started when they have answered a completion (`engine ready`), and as stopped when they have
answered all that they were asked (`engine drain`).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import time

from ansible.module_utils.webops_slot import SLOTS, Slots
from ansible.module_utils.webops_unit import Refused, journal, show

# Lines of the unit that systemd obeys by itself; the engine goes on as it is.
_FELT_BY_SYSTEMD = re.compile(
    r"(?m)^(?:#|Description=|ExecStartPost=|ExecStop=|Restart|Timeout|MemoryMax=|TasksMax=).*\n")
# (EngineCore pid=1234) INFO 11-23 02:40:01 [core.py:12] Loading took …
_LEAD = re.compile(r"^(?:\([^)]*\) )?(?:(?:INFO|WARNING|ERROR|DEBUG) [\d-]+ [\d:.]+ \[[^]]*\] ?)?")
_ERROR = re.compile(r"(?:^|\s)((?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception): .+)")
# Said by the processes above the one that knows why.
_SECOND_HAND = ("RuntimeError: Engine core initialization failed", "Exception: WorkerProc initialization failed")
_SHOWN = 12


class EngineSlots(Slots):
    """The slots of one model."""

    # It takes minutes: whoever starts one looks how it goes.
    start_words = ("start", "--no-block")

    def __init__(self, releases, unit=""):
        """`unit` is the text of the unit as it shall be, where a rehearsal has not written it."""
        super().__init__(releases)
        self.unit = unit

    def units(self, slot):
        return [f"wo-{self.name}@{slot}.service"]

    def socket(self, slot):
        return f"/run/webops-{self.name}-{slot}/engine.sock"

    def surroundings(self):
        """Changes where the unit does in what an engine notices only when it is started anew."""
        text = self.unit
        if not text:
            with contextlib.suppress(OSError), open(self.unit_file(), encoding="utf-8") as file:
                text = file.read()
        return hashlib.sha256(_FELT_BY_SYSTEMD.sub("", text).encode()).hexdigest()[:16]

    def describe(self, release, slot):  # pylint: disable=arguments-differ
        """What the engine of a slot shall run."""
        serves, gpus = release["serves"], ",".join(map(str, release.get("gpus") or []))
        return {
            "release": release["id"],
            "argv": [part.replace("{socket}", self.socket(slot)) for part in serves["argv"]],
            "cwd": self.releases.base,
            "env": {**serves["environment"], **({"CUDA_VISIBLE_DEVICES": gpus} if gpus else {})},
            "needs": release.get("needs") or 0,
            "surroundings": self.surroundings(),
        }

    def serves(self, release):  # pylint: disable=arguments-differ
        slot = self.serving()
        return bool(slot) and self.described(slot) == self.describe(release, slot)

    def needed(self):
        """Bytes that the engines count on which are meant to run."""
        return sum((self.described(slot) or {}).get("needs") or 0 for slot in SLOTS)

    def part(self):
        """No traffic goes to any slot: clients are told to come back."""
        if os.path.lexists(self.pointer):
            os.unlink(self.pointer)

    def look(self, slot, since, shown, patience=8):
        """How a start goes: {state, lines, shown}; looks until it ends or there is something to tell.

        Raises Refused where the engine has ended.
        """
        until = time.monotonic() + patience
        while True:
            facts = show(self.service(slot), "ActiveState", "SubState", "NRestarts", "Result", "Job")
            lines = journal(self.service(slot), since, 2000)
            if facts.get("ActiveState") == "active":
                return {"state": "ready", "lines": told(lines[shown:]), "shown": len(lines)}
            refuse_ended(facts, lines)
            if len(lines) > shown or time.monotonic() > until:
                time.sleep(1)
                return {"state": "loading", "lines": told(lines[shown:]), "shown": len(lines)}
            time.sleep(0.5)


def told(lines):
    """The lines as people read them."""
    plain = (_LEAD.sub("", line).strip()[:300] for line in lines)
    # Its name in large letters and the list of its paths say nothing.
    return [line for line in plain if line and not set(line) & set("█▀▄") and not line.startswith("Route: ")][-_SHOWN:]


def refuse_ended(facts, lines):
    """Refused where a start has come to its end: with the words of who knows why."""
    if facts.get("ActiveState") == "inactive" and facts.get("Job", "0") not in ("", "0"):
        return  # systemd has not come to it yet
    ended = facts.get("ActiveState") in ("failed", "inactive") or facts.get("SubState") == "auto-restart"
    if not ended and facts.get("NRestarts") == "0":
        return
    if facts.get("Result") == "timeout":
        raise Refused("The engine had not answered when the time for its start was over.",
                      "Give it more ('Start time-out'), or look in the last lines for what it waits for.", lines)
    if facts.get("Result") == "oom-kill":
        raise Refused("The engine ended while it started: it took more memory than it may.",
                      "Give it more ('Memory'), or a smaller KV cache, a shorter length, a smaller model.", lines)
    raise Refused(f"The engine ended while it started: {cause(lines)}",
                  "Correct what the last lines name, then apply again.", lines)


def cause(lines):
    errors = [found[1] for line in lines if (found := _ERROR.search(line))]
    first_hand = [error for error in errors if not error.startswith(_SECOND_HAND)]
    said = [line for line in lines if line.startswith("The engine answered")]
    return (first_hand or said or errors or told(lines) or ["it said nothing."])[-1][:300]
