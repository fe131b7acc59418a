#!/usr/bin/python
"""Keep the models of a hub that serve and served last, and no others."""

from __future__ import annotations

DOCUMENTATION = r"""
module: webops_model_prune
short_description: Take away models of a hub that serve no more
description:
  - Runs as webops-deploy; what removes is a program run as the model's own user. The model that shall serve and the one
    that served before it stay, so that a swap back needs no download. Directories that a person named are not touched.
options:
  name: {description: The resource., type: str, required: true}
  directory: {description: "As M(webops_model_preflight) gave it.", type: str, required: true}
  source: {description: The program that removes; the action plugin fills it in., type: str, required: true}
author: WebOps
"""
RETURN = r"""
freed:
  description: Bytes that are (or in check mode would be) free again.
  type: int
  returned: always
"""

import json
import os
import pwd
import subprocess

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.webops_release import Served
from ansible.module_utils.webops_unit import ROOT

PYTHON = ["/usr/bin/python3", "-IS", "-"]


def main():
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "directory": {"type": "str", "required": True},
            "source": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    params = module.params
    question = {"models": os.path.join(ROOT, params["name"], "shared", "models"), "look": module.check_mode,
                "keep": kept(Served(params["name"]), params["directory"])}
    user = f"wo-{params['name']}"
    if not any(account.pw_name == user for account in pwd.getpwall()):
        module.exit_json(changed=False, freed=0)
    ended = subprocess.run(["sudo", "-n", "-u", user, *PYTHON, json.dumps(question)], input=params["source"],
                           capture_output=True, text=True, check=False, cwd="/")
    report = next((line for line in ended.stdout.splitlines() if line.startswith("webops-result ")), None)
    found = json.loads(report.split(" ", 1)[1]) if report else {}
    if "freed" not in found:
        module.fail_json(msg="Earlier models could not be removed.", next="Look at the rights in {}.".format(
            question["models"]), journal=(ended.stdout + ended.stderr).splitlines())
    module.exit_json(changed=found["freed"] > 0, freed=found["freed"],
                     webops_summary=f"{found['freed'] / (1 << 30):.1f} GiB are free again" if found["freed"] else "")


def kept(served, directory):
    """The model that shall serve, and the last one that was another."""
    others = [place for place in map(served.model_of, reversed(served.all()))
              if "/snapshots/" in place and place != directory]
    return [directory, *others[:1]]


if __name__ == "__main__":
    main()
