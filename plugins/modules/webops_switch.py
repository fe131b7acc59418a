#!/usr/bin/python
"""Let traffic go to another release, without losing a request; and stop, start, restart what serves."""

from __future__ import annotations

DOCUMENTATION = r"""
module: webops_switch
short_description: Let traffic go to a release that has proved to be healthy
description:
  - Runs as webops-deploy.
  - C(release) starts the release in the idle slot, probes it there, renames the pointer, and lets the old slot drain.
    When anything fails the old release goes on serving.
  - C(restart) does the same with the live release. C(stop) and C(start) end and begin serving it.
  - With C(slots=false) (files only) just the pointers are renamed.
options:
  name: {description: The resource., type: str, required: true}
  action: {description: What to do., type: str, choices: [release, restart, stop, start], required: true}
  slots: {description: Whether processes serve it., type: bool, default: true}
  release: {description: "The release, as C(webops_build) gave it. Empty: the live one.", type: dict}
  argv:
    description: "The program of a slot; C({python}), C({wsgi}) and C({build}) stand for what the build found."
    type: list
    elements: str
    default: []
  environment: {description: Variables beside those of the release., type: dict, default: {}}
  health: {description: "C({host, path, status, timeout, tries})", type: dict, default: {}}
  keep: {description: Releases to keep., type: int, default: 5}
  follows:
    description: Whether, in check mode, something it depends on is still to change.
    type: bool
    default: false
author: WebOps
"""
RETURN = r"""
release:
  description: Id of the release that serves now.
  type: str
  returned: always
probe:
  description: Address and answer of the health check.
  type: dict
  returned: when a slot was started
"""

import contextlib
import os
import time

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.webops_prune import prune
from ansible.module_utils.webops_release import Releases
from ansible.module_utils.webops_slot import Probe, Slots
from ansible.module_utils.webops_unit import Refused, journal, point


def main():
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "action": {"type": "str", "required": True, "choices": ["release", "restart", "stop", "start"]},
            "slots": {"type": "bool", "default": True},
            "release": {"type": "dict"},
            "argv": {"type": "list", "elements": "str", "default": []},
            "environment": {"type": "dict", "default": {}},
            "health": {"type": "dict", "default": {}},
            "keep": {"type": "int", "default": 5},
            "follows": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(**Switch(module.params, module.check_mode).run())
    except Refused as refused:
        module.fail_json(msg=str(refused), next=refused.next, journal=refused.journal, **refused.facts)


class Switch:
    """One call of the module."""

    def __init__(self, params, check):
        self.params = params
        self.check = check
        self.releases = Releases(params["name"])
        self.slots = Slots(self.releases) if params["slots"] else None
        self.release = params["release"] or self.releases.live()

    def run(self):
        action = self.params["action"]
        if not self.release or not self.release.get("project"):
            if self.check and action == "release":
                return {"changed": True, "release": "", "msg": "follows: the release is built first"}
            raise Refused(f"{self.params['name']} has no release yet.", "Deploy it first.")
        actions = {"release": self.apply_release, "restart": self.restart, "stop": self.stop, "start": self.start}
        return actions[action]()

    def apply_release(self):
        return self._done(False, "serves already") if self._is_live() else self._change("live")

    def stop(self):
        serving = self._serving()
        if serving and not self.check:
            if self.slots:
                self.slots.clear(serving)
            else:
                os.unlink(self._pointer("current"))
        return self._done(bool(serving), "stopped" if serving else "was stopped already")

    def start(self):
        if self._serving():
            return self._done(False, "serves already")
        return self._change("started")

    def restart(self):
        if not self._serving():
            raise Refused(f"{self.params['name']} is stopped.", "Start it instead.")
        return self._change("restarted")

    def _serving(self):
        if self.slots:
            return self.slots.serving()
        return os.path.lexists(self._pointer("current"))

    def _is_live(self):
        live = self.releases.live() or {}
        if live.get("id") != self.release["id"] or not self._serving() or (self.check and self.params["follows"]):
            return False
        return not self.slots or self.slots.serves(*self._wish())

    def _change(self, words):
        if self.check:
            return self._done(True, words)
        probe = self._serve_from_slot() if self.slots else None
        if not self.slots:
            self._turn_files()
        self._write_down()
        return self._done(True, words, **({"probe": probe} if probe else {}))

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
        if old:
            self.slots.stop_idle(old)
        return answer

    def _prove(self, slot, since):
        started = self.slots.start(slot, self.slots.describe(*self._wish()))
        probe = Probe(self.slots, slot, self.params["health"], since)
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
        if live and live["id"] != record["id"]:
            record["before"] = live["id"]
        self.releases.save(record)
        self.releases.make_live(record)
        prune(self.releases, self.params["keep"])

    def _done(self, changed, words, **more):
        return {"changed": changed, "release": self.release["id"],
                "webops_summary": f"{self.release['id']} · {words}", **more}


if __name__ == "__main__":
    main()
