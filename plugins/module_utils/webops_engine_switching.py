"""Let traffic go to another engine, or to the same one started anew, without cutting an answer.

Done by webops-deploy, in steps, because an engine loads for minutes and whoever waits wants to see how it goes:
`begin` starts it in the idle slot, `look` tells how far it is, `turn` lets traffic go there once it has answered a
completion, `back` takes it away again. Where memory holds one engine alone, the old one ends in `begin`, if that was
accepted.
"""

from __future__ import annotations

import time

from ansible.module_utils.webops_engine_slot import EngineSlots
from ansible.module_utils.webops_release import Served, fingerprint, turned
from ansible.module_utils.webops_room import refuse_narrow
from ansible.module_utils.webops_slot import SLOTS
from ansible.module_utils.webops_unit import Refused, state


class EngineSwitch:
    """What serves a model, about to change.

    `params`: name, action (serve, restart, start, stop), wish (what shall serve: model, revision, argv, environment,
    needs, gpus, gpu_memory, unit), follows, accept, keep, run.
    """

    def __init__(self, params, check=False):
        self.params = params
        self.check = check
        self.releases = Served(params["name"])
        self.slots = EngineSlots(self.releases, params["wish"].get("unit") or "")

    def begin(self):
        """{changed, waits}; where it waits for an engine also {slot, release, since, interrupted}."""
        action, serving = self.params["action"], self.slots.serving()
        if action == "stop":
            return self._stop()
        if action == "restart" and not serving:
            raise Refused(f"{self.params['name']} is stopped.", "Start it instead.")
        if action == "start" and serving:
            return self._stays(serving, "serves already")
        release = self._wanted()
        if action == "serve" and not self.params["follows"] and self._serves(release):
            return self._stays(serving, f"{release['subject']} serves already")
        return self._start(release, serving)

    def _wanted(self):
        """The release that shall serve: the live one, where it is what is wished for or nothing was."""
        live, wish = self.releases.live(), self.params["wish"]
        if self.params["action"] != "serve":
            if not live:
                raise Refused(f"{self.params['name']} has not served yet.", "Apply it first.")
            return live
        serves = {"argv": wish["argv"], "environment": wish["environment"]}
        gpus = wish.get("gpus") or []
        if live and live["serves"] == serves and (wish.get("any_gpus") or gpus == live.get("gpus")):
            return live
        digest = fingerprint(serves)
        revision = f" @ {wish['revision']}" if wish.get("revision") else ""
        return {"id": self.releases.new_id(digest), "serves": serves, "gpus": gpus,
                "subject": f"{wish['model']}{revision}", "needs": wish.get("needs") or 0,
                "gpu_memory": wish.get("gpu_memory") or 0}

    def _serves(self, release):
        slot = self.slots.serving()
        return self.slots.serves(release) and state(self.slots.service(slot)) not in ("inactive", "failed")

    def _stays(self, serving, words):
        """But what a lost run left in the other slot goes: it holds memory, and would start with the server."""
        left = [slot for slot in SLOTS if slot != serving and self.slots.is_meant_to_run(slot)]
        self._clear(left)
        return self._done(bool(left), words)

    def _stop(self):
        changed = any(map(self.slots.is_meant_to_run, SLOTS))
        if not self.check:
            self.slots.part()
        self._clear(SLOTS)
        return self._done(changed, "stopped" if changed else "was stopped already")

    def _clear(self, slots):
        for slot in slots if not self.check else ():
            self.slots.clear(slot)

    def _start(self, release, serving):
        new = self.slots.idle()
        # Left by a run that was lost: it would count as in use.
        self._clear(slot for slot in SLOTS if slot != serving)
        interrupted = bool(serving) and not self._fits(release)
        if self.check:
            return self._done(True, f"follows: {release['subject']} starts"
                              + (" after the old engine has ended" if interrupted else ""))
        if interrupted:
            self.slots.part()
            self.slots.clear(serving)
        since = time.time() - 0.5
        done = self.slots.start(new, self.slots.describe(release, new))
        if done.returncode:
            self.slots.clear(new)
            raise Refused("The engine does not start: " + (done.stderr.strip() or "systemd gave no reason"),
                          "Look at its unit on the server.")
        return {"changed": True, "waits": True, "slot": new, "release": release, "since": since,
                "interrupted": interrupted, "began": time.time()}

    def _fits(self, release):
        """Whether it has room beside what serves. Raises Refused where it has not, and nobody accepted that."""
        try:
            refuse_narrow(release, self.slots)
        except Refused:
            if not self.params["accept"]:
                raise
            return False
        return True

    def turn(self, slot, release, seconds):
        """Traffic goes to this slot; the other one finishes what it has begun."""
        old = self.slots.pointed()
        self.slots.turn_to(slot)
        self._write_down(release)
        if old and old != slot:
            self.slots.stop_idle(old)
        return {**self._done(True, f"{release['subject']} answers after {seconds:.0f} s"), "release": release["id"]}

    def back(self, slot):
        """The new engine goes; whether the live one serves still."""
        self.slots.clear(slot)
        return {"changed": True, "serves": bool(self.slots.serving()), "live": bool(self.releases.live())}

    def _write_down(self, release):
        live = self.releases.live() or {}
        record = {**release, "served": True}
        if live.get("id") != record["id"]:
            record = turned(record, live, self.params["run"])
        self.releases.save(record)
        self.releases.make_live(record)
        self.releases.forget(self.params["keep"])

    def _done(self, changed, words):
        return {"changed": changed, "waits": False, "webops_summary": words}
