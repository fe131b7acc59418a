#!/usr/bin/python
"""Start, stop or start anew one unit of a resource."""

from __future__ import annotations

DOCUMENTATION = r"""
module: webops_service
short_description: Start, stop or start anew one unit of a resource
description:
  - Runs as webops-deploy, which may call exactly the lines of C(/etc/sudoers.d/wo-<name>).
  - The unit is C(wo-<name>@<instance>.service). It runs (also after a reboot) as long as C(live/<instance>) is there.
options:
  name: {description: The resource., type: str, required: true}
  instance: {description: Instance of the unit., type: str, default: main}
  state: {description: What it shall be., type: str, choices: [started, stopped, restarted], required: true}
author: WebOps
"""
RETURN = r"""
unit:
  description: Name of the unit.
  type: str
  returned: always
"""

import os
import time

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.webops_unit import ROOT, Refused, journal, state, systemctl, write_json

WORDS = {"started": "running", "stopped": "stopped", "restarted": "started anew"}


def main():
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "instance": {"type": "str", "default": "main"},
            "state": {"type": "str", "required": True, "choices": ["started", "stopped", "restarted"]},
        },
        supports_check_mode=True,
    )
    service = Service(module.params["name"], module.params["instance"])
    wanted = module.params["state"]
    changed = service.differs(wanted)
    try:
        if changed and not module.check_mode:
            service.become(wanted)
    except Refused as refused:
        module.fail_json(msg=str(refused), next=refused.next, journal=refused.journal)
    module.exit_json(changed=changed, unit=service.unit, webops_summary=WORDS[wanted])


class Service:
    """One unit, and the file that says whether it is meant to run."""

    def __init__(self, name, instance):
        self.name = name
        self.unit = f"wo-{name}@{instance}.service"
        self.wish = os.path.join(ROOT, name, "live", instance)

    def differs(self, wanted):
        if wanted == "restarted":
            return True
        meant, runs = os.path.exists(self.wish), state(self.unit) in ("active", "reloading")
        return (meant, runs) != ((True, True) if wanted == "started" else (False, False))

    def become(self, wanted):
        if wanted == "stopped":
            self._stop()
        else:
            self._run("restart" if wanted == "restarted" else "start")

    def _run(self, verb):
        write_json(self.wish, {"unit": self.unit}, 0o644)
        since = time.time() - 1
        done = systemctl(verb, self.unit)
        if done.returncode or state(self.unit) != "active":
            raise Refused(f"{self.name} does not start.", "Its last lines say why.",
                          journal(self.unit, since) or done.stderr.splitlines())

    def _stop(self):
        if os.path.lexists(self.wish):
            os.unlink(self.wish)
        done = systemctl("stop", self.unit)
        if done.returncode:
            raise Refused(f"{self.name} does not stop.", "systemd's words say why.", done.stderr.splitlines())


if __name__ == "__main__":
    main()
