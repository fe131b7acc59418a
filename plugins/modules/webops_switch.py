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
  run: {description: "The run that does it, C({id, actor}); the action plugin fills it in.", type: dict, default: {}}
  follows:
    description: Whether something it depends on has just changed, or in check mode is still to change.
    type: bool
    default: false
  migrated:
    description: Migrations that were applied for this release; when it fails, the last one is named.
    type: list
    elements: str
    default: []
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

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.webops_switching import ARGUMENTS, Switch, alone
from ansible.module_utils.webops_unit import Refused


def main():
    module = AnsibleModule(
        argument_spec={
            **ARGUMENTS,
            "action": {"type": "str", "required": True, "choices": ["release", "restart", "stop", "start"]},
            "release": {"type": "dict"},
            "follows": {"type": "bool", "default": False},
            "migrated": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    try:
        with alone(module.params["name"], module.check_mode) as ended:
            result = switch(module.params, module.check_mode, ended)
    except Refused as refused:
        module.fail_json(msg=str(refused), next=refused.next + stands(module.params["migrated"]),
                         journal=refused.journal, **refused.facts)
    module.exit_json(**result)


def switch(params, check, ended):
    release, action = params["release"], params["action"]
    if check and action == "release" and not (release or {}).get("project"):
        return {"changed": True, "release": "", "msg": "follows: the release is built first"}
    one = Switch(params, check, release, ended)
    if action == "release":
        return one.serve(follows=params["follows"])
    return {"restart": one.restart, "stop": one.stop, "start": one.start}[action]()


def stands(migrated):
    """Going on with the release before is no way back for the database."""
    return f" Migrations of the new one were applied: the database stands at {migrated[-1]}." if migrated else ""


if __name__ == "__main__":
    main()
