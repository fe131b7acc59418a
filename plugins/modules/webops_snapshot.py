#!/usr/bin/python
"""Keep the database of an app as it is before migrations change it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: webops_snapshot
short_description: Keep an app's database, to go back to with a release
description:
  - Runs as webops-deploy. PostgreSQL's own programs run as the app's user, in the one-shot unit C(snapshot).
  - The snapshot has the name of the release that serves and lies in C(shared/snapshots), where only the app reads.
    It is kept as long as that release.
  - Where a deploy failed after migrations, the snapshot from before the first of them stays.
options:
  name: {description: The resource., type: str, required: true}
  step:
    description: "C(save) keeps the database; C(mark) counts writes anew, after migrations."
    type: str
    choices: [save, mark]
    required: true
  release:
    description: "The release that is left. Empty: the live one, and nothing is kept where nothing is live."
    type: str
    default: ""
  variable: {description: Variable of the database's address., type: str, default: DATABASE_URL}
  timeout: {description: Seconds., type: int, default: 1800}
  source: {description: The program; the action plugin fills it in., type: str, required: true}
author: WebOps
"""
RETURN = r"""
release:
  description: Id of the release whose data it is; empty where nothing was live.
  type: str
  returned: always
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.webops_release import Releases, began
from ansible.module_utils.webops_snapshots import snapshot
from ansible.module_utils.webops_unit import Refused


def main():
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "step": {"type": "str", "required": True, "choices": ["save", "mark"]},
            "release": {"type": "str", "default": ""},
            "variable": {"type": "str", "default": "DATABASE_URL"},
            "timeout": {"type": "int", "default": 1800},
            "source": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    params = module.params
    releases = Releases(params["name"])
    live = releases.live() or {}
    left = params["release"] or live.get("id", "")
    save = params["step"] == "save"
    if not left or module.check_mode:
        module.exit_json(changed=bool(left) and save, release=left)
    try:
        result = snapshot(releases, params, step=params["step"], release=left, began=began(live))
    except Refused as refused:
        module.fail_json(msg=str(refused), next=refused.next, journal=refused.journal)
    module.exit_json(changed=save, release=left, webops_summary=in_words(result, left) if save else "")


def in_words(result, left):
    if "kept" in result:
        return f"the one of {result['kept']} stays, from before an earlier try to leave release {left}"
    return f"{size(result['bytes'])}, with release {left}"


def size(number):
    return f"{number / 1e6:.1f} MB" if number >= 1e5 else f"{max(1, round(number / 1e3))} kB"


if __name__ == "__main__":
    main()
