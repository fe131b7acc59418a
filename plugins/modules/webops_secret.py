#!/usr/bin/python
"""Keep a secret in a file that root alone reads, and make it where nobody gave one."""

from __future__ import annotations

DOCUMENTATION = r"""
module: webops_secret
short_description: Keep or make a secret of a resource
description:
  - The secret lies in C(/etc/webops/secrets/<name>/<parameter>), root only.
  - A given value replaces what is there. Without one, what is there stays, and where nothing is, one is made, once.
options:
  name:
    description: Name of the resource.
    type: str
    required: true
  parameter:
    description: Name of the secret.
    type: str
    required: true
  value:
    description: The secret that a person gave.
    type: str
    no_log: true
    default: ""
  read:
    description: Return the secret as C(value). The task needs C(no_log).
    type: bool
    default: false
author: WebOps
"""
EXAMPLES = r"""
- name: Keep the password
  webops_secret:
    name: shop-db
    parameter: password
    value: "{{ postgres_db_password }}"
  no_log: true
"""
RETURN = r"""
value:
  description: The secret; in check mode, of one still to be made, only a word.
  type: str
  returned: with read
"""

import os
import re
import secrets

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.webops_place import Entry, Refused, Seen, put

ROOT = "/etc/webops/secrets"


def main():
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "parameter": {"type": "str", "required": True, "no_log": False},
            "value": {"type": "str", "no_log": True, "default": ""},
            "read": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    given, path = module.params["value"], place(module)
    old = current(path)
    new = given or old or secrets.token_urlsafe(32)
    if new != old and not module.check_mode:
        try:
            keep(path, new)
        except (Refused, OSError) as error:
            module.fail_json(msg=f"The secret could not be kept on this server: {error}",
                             next="Apply the server first, then this again.")
    if module.check_mode and not given and not old:
        new = "follows"
    # AnsibleModule would blot out a value that it got as no_log; the caller asked for it and keeps it quiet itself.
    module.no_log_values.discard(given)
    module.exit_json(changed=(given or old) != old or not old, **({"value": new} if module.params["read"] else {}))


def place(module):
    parts = module.params["name"], module.params["parameter"]
    for part in parts:
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", part):
            module.fail_json(msg=f"{part!r} is no name of a secret.")
    return os.path.join(ROOT, *parts)


def current(path):
    seen = Seen(path)
    return seen.content.decode() if seen.kind == "file" else ""


def keep(path, text):
    for directory in (ROOT, os.path.dirname(path)):
        put(Entry({"path": directory, "state": "directory", "mode": "0700", "owner": "root", "group": "root"}))
    put(Entry({"path": path, "content": text, "mode": "0600", "owner": "root", "group": "root"}))


if __name__ == "__main__":
    main()
