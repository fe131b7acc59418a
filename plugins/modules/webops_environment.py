#!/usr/bin/python
"""Hold the variables of the wanted release ready, and say whether they differ from those of the live one."""

from __future__ import annotations

DOCUMENTATION = r"""
module: webops_environment
short_description: Compare the wanted variables with those of the live release
description:
  - Runs as webops-deploy, in a task with C(no_log), so that the steps after it need not know any secret.
  - Where they differ they are kept as C(env/wanted.json), until M(webops_fetch) gives them to a release.
options:
  name: {description: The resource., type: str, required: true}
  variables: {description: Variables that the role itself gives., type: dict, default: {}}
  environment: {description: "A list of name and value; wins over the role's.", type: list, elements: dict, default: []}
  secrets: {description: The same for secret ones., type: list, elements: dict, default: []}
author: WebOps
"""
RETURN = r"""
names:
  description: "Names of variables that differ from those of the live release: added, removed, changed."
  type: dict
  returned: always
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.webops_release import Releases


def main():
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "variables": {"type": "dict", "default": {}},
            "environment": {"type": "list", "elements": "dict", "default": []},
            "secrets": {"type": "list", "elements": "dict", "default": [], "no_log": True},
        },
        supports_check_mode=True,
    )
    releases = Releases(module.params["name"])
    wanted = variables(module.params)
    live = releases.live()
    held = releases.environment(live["id"]) if live else None
    changed = held != wanted
    # Before Apply there is no place for them; the next step says so in words, this one says nothing in public.
    if changed and releases.prepared() and not module.check_mode:
        releases.write_environment("wanted", wanted)
    module.exit_json(changed=changed, names=names(held or {}, wanted))


def names(held, wanted):
    """Which variables differ from those of the live release: names are no secret."""
    return {
        "added": sorted(wanted.keys() - held.keys()), "removed": sorted(held.keys() - wanted.keys()),
        "changed": sorted(name for name in wanted.keys() & held.keys() if wanted[name] != held[name]),
    }


def variables(params):
    """Name and value, as the app gets them; what a person says wins over what the role gives."""
    given = {item["name"]: str(item["value"]) for item in params["environment"] + params["secrets"]}
    return {**{name: str(value) for name, value in params["variables"].items() if name}, **given}


if __name__ == "__main__":
    main()
