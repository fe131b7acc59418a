#!/usr/bin/python
"""Keep a secret that a person gave in a file that root alone reads."""

from __future__ import annotations

DOCUMENTATION = r"""
module: webops_secret
short_description: Keep a secret of a resource
description:
  - The secret lies in C(/etc/webops/secrets/<name>/<parameter>), root only. Secrets that nobody gives are made there
    by the modules that need them.
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
    required: true
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
from ansible.module_utils import webops_kept
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.webops_place import Refused


def main():
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "parameter": {"type": "str", "required": True, "no_log": False},
            "value": {"type": "str", "required": True, "no_log": True},
        },
        supports_check_mode=True,
    )
    name, parameter, value = (module.params[key] for key in ("name", "parameter", "value"))
    try:
        changed = webops_kept.read(name, parameter) != value
        if changed and not module.check_mode:
            webops_kept.keep(name, parameter, value)
    except (Refused, OSError) as error:
        module.fail_json(msg=f"The secret could not be kept on this server: {error}",
                         next="Apply the server first, then this again.")
    module.exit_json(changed=changed)


if __name__ == "__main__":
    main()
