"""Let traffic go to a release that has proved to be healthy, without losing a request.

Done by webops-deploy. The release starts in the idle slot, is probed there, the pointer is renamed, the old slot
drains. When anything fails the old release goes on serving.
"""

from __future__ import annotations

import contextlib
import os
import time

from ansible.module_utils.webops_lock import Locked, held
from ansible.module_utils.webops_process import Processes
from ansible.module_utils.webops_prune import prune
from ansible.module_utils.webops_release import Releases, turned
from ansible.module_utils.webops_slot import SLOTS, Probe, Slots
from ansible.module_utils.webops_unbroken import unbroken
from ansible.module_utils.webops_unit import ROOT, Refused, journal, point

# For a release that says nothing itself, from before it could.
HEALTH = {"path": "/", "status": [200, 204, 301, 302], "timeout": 10, "tries": 20}
# Arguments of a module that switches.
ARGUMENTS = {
    "name": {"type": "str", "required": True},
    "slots": {"type": "bool", "default": True},
    "argv": {"type": "list", "elements": "str", "default": []},
    "environment": {"type": "dict", "default": {}},
    "health": {"type": "dict", "default": {}},
    "keep": {"type": "int", "default": 5},
    "run": {"type": "dict", "default": {}},
}


@contextlib.contextmanager
def alone(name, check):
    """What serves a resource is changed by one at a time: a run that was ended may still be at it. Yields `ended`."""
    live = os.path.join(ROOT, name, "live")
    if check or not os.path.isdir(live):
        yield lambda: False
        return
    try:
        with held(name, directory=live), unbroken() as ended:
            yield ended
    except Locked as locked:
        raise Refused(str(locked), "Look at what it waits for, then run this again.") from None


class Switch:
    """What serves a resource, about to change. `release` is the live one unless another is given.

    `ended` tells whether the run was ended: a release that has not answered by then is taken back.
    """

    def __init__(self, params, check, release=None, ended=lambda: False):
        self.params = params
        self.check = check
        self.ended = ended
        self.releases = Releases(params["name"])
        self.slots = Slots(self.releases) if params["slots"] else None
        self.processes = Processes(self.releases) if params["slots"] else None
        self.release = release or self.releases.live()
        if not self.release or not self.release.get("project"):
            raise Refused(f"{params['name']} has no release yet.", "Deploy it first.")

    def serve(self, words="live", follows=False):
        """`follows`: whether something that it depends on has just changed, or in check mode is still to change.

        Then it begins anew even where all of it looks as it did: somebody may have started it with what was there.
        """
        if not self._is_live(follows):
            return self._change(words)
        others = self.processes.differs(self.release, self.params["environment"]) if self.processes else []
        if not others:
            return self._done(False, "serves already")
        if not self.check:
            self._write_down()
            self._start_others()
        return self._done(True, "serves already · " + ", ".join(others))

    def stop(self):
        """Both slots: a run that was killed may have left a release where no traffic goes."""
        runs = self._runs()
        if runs and not self.check:
            if self.slots:
                for slot in SLOTS:
                    self.slots.clear(slot)
                self.processes.end()
            else:
                os.unlink(self._pointer("current"))
        return self._done(runs, "stopped" if runs else "was stopped already")

    def _runs(self):
        if self.slots:
            return any(map(self.slots.occupied, SLOTS)) or bool(self.processes.there())
        return self.serving()

    def start(self):
        if self.serving() and not (self.slots and self.slots.closed()):
            return self._done(False, "serves already")
        return self._change("started")

    def restart(self):
        if not self.serving():
            raise Refused(f"{self.params['name']} is stopped.", "Start it instead.")
        return self._change("restarted")

    def serving(self):
        """Whether traffic goes to something that is meant to run."""
        if self.slots:
            return bool(self.slots.serving())
        return os.path.lexists(self._pointer("current"))

    def _is_live(self, follows):
        live = self.releases.live() or {}
        if live.get("id") != self.release["id"] or not self.serving() or follows:
            return False
        return not self.slots or self.slots.serves(*self._wish())

    def _change(self, words):
        if self.check:
            return self._done(True, words)
        if self.processes:
            self.processes.refuse_uninstalled(self.release)
        probe = self._serve_from_slot() if self.slots else None
        if not self.slots:
            self._turn_files()
            self._write_down()
        started = self._start_others(anew=True)
        words += f" · {', '.join(started)} started" if started else ""
        return self._done(True, words, **({"probe": probe} if probe else {}))

    def _start_others(self, anew=False):
        """Traffic goes to the release already; what it runs beside follows."""
        return self.processes.follow(self.release, self.params["environment"], anew) if self.processes else []

    def _health(self):
        """What a person says, else what the release says."""
        return {**HEALTH, **((self.release.get("contract") or {}).get("health") or {}), **self.params["health"]}

    def _wish(self):
        return self.release, self.params["argv"], self.params["environment"]

    def _serve_from_slot(self):
        old, new = self.slots.pointed(), self.slots.idle()
        self.slots.clear(new)
        since = time.time() - 0.5
        try:
            answer = self._prove(new, since)
        except BaseException:
            self.slots.clear(new)
            raise
        self._turn_files()
        self.slots.turn_to(new)
        # Before anything waits: clean-up goes by what is written down.
        self._write_down()
        if old:
            self.slots.stop_idle(old)
        return answer

    def _prove(self, slot, since):
        started = self.slots.start(slot, self.slots.describe(*self._wish()))
        probe = Probe(self.slots, slot, self._health(), since, self.ended)
        if started.returncode:
            probe._refuse_dead()
            raise Refused("The new release does not start: " + (started.stderr.strip() or "systemd gave no reason"),
                          "The release before goes on serving.", journal(self.slots.service(slot), since))
        return {"url": probe.url(), "answer": probe.wait()}

    def _pointer(self, name):
        return os.path.join(self.releases.live_directory, name)

    def _turn_files(self):
        """Old pages keep their assets: nginx looks into the build before as well."""
        wanted = os.path.join("..", "public", self.release["build"])
        current = None
        with contextlib.suppress(OSError):
            current = os.readlink(self._pointer("current"))
        if current and current != wanted:
            point(self._pointer("previous"), current)
        if current != wanted:
            point(self._pointer("current"), wanted)

    def _write_down(self):
        live = self.releases.live() or {}
        record = {**self.release, "served": True}
        if live.get("id") != record["id"]:
            record = turned(record, live, self.params["run"])
        self.releases.save(record)
        self.releases.make_live(record)
        prune(self.releases, self.params["keep"])

    def _done(self, changed, words, **more):
        return {"changed": changed, "release": self.release["id"],
                "webops_summary": f"{self.release['id']} · {words}", **more}
