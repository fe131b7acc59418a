#!/usr/bin/python
"""Ask this server's own program for a certificate."""

from __future__ import annotations

DOCUMENTATION = r"""
module: webops_certificate
short_description: Make, obtain, renew or remove a certificate
description:
  - Hands the wish to C(/usr/local/lib/webops/certificates), the program that also renews by timer.
  - C(placeholder) notes the settings, and makes a certificate to begin with where there is none.
  - C(make) is C(placeholder) and then C(obtain), for a certificate that nobody else has to give.
options:
  name:
    description: Name of the certificate, below C(/etc/webops/certs).
    type: str
    required: true
  step:
    description: What to do.
    type: str
    choices: [deposit, placeholder, preflight, obtain, make, remove]
    required: true
  settings:
    description: What is wanted (source, domains, directory, email, terms, ca_bundle, preflight).
    type: dict
  certificate:
    description: For C(deposit), a certificate of one's own and its chain, PEM.
    type: str
    default: ""
  key:
    description: For C(deposit), the key of one's own certificate, PEM.
    type: str
    no_log: true
    default: ""
  force:
    description: Get a new one although the current one is good.
    type: bool
    default: false
  record:
    description: What this server tells about the resource, as in M(webops_files). Kept also where a later step fails.
    type: dict
author: WebOps
"""
EXAMPLES = r"""
- name: Get the certificate
  webops_certificate:
    name: shop
    step: make
    settings: {source: self_signed, domains: [shop.example.org], directory: ""}
    record: {kind: ssl_cert, name: shop, url: "", probes: []}
"""
RETURN = r"""
webops_summary:
  description: How long the certificate is valid.
  type: str
  returned: when there is one
"""

import json
import os
import subprocess

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.webops_place import Refused
from ansible.module_utils.webops_record import Record
from ansible.module_utils.webops_unbroken import unbroken

PROGRAM = "/usr/local/lib/webops/certificates"
STEPS = ["deposit", "placeholder", "preflight", "obtain", "make", "remove"]


def main():
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "step": {"type": "str", "required": True, "choices": STEPS},
            "settings": {"type": "dict"},
            "certificate": {"type": "str", "default": ""},
            "key": {"type": "str", "no_log": True, "default": ""},
            "force": {"type": "bool", "default": False},
            "record": {"type": "dict"},
        },
        supports_check_mode=True,
    )
    if not os.path.isdir(PROGRAM):
        without_program(module)
    try:
        answer = settle(module)
    except Refused as refused:
        module.fail_json(msg=str(refused), next=refused.next, journal=refused.journal)
    if answer.pop("failed", False):
        module.fail_json(**answer)
    summary = answer.get("summary")
    module.exit_json(changed=answer["changed"], **({"webops_summary": summary} if summary else {}))


def settle(module):
    """The answer of the last step. What is to be removed has its record until it is gone."""
    record, step = Record(module.params["record"]), module.params["step"]
    changed = step != "remove" and record.keep(module.check_mode)
    for one in ("placeholder", "obtain") if step == "make" else (step,):
        answer = ask(wish(module, one))
        if answer.get("failed"):
            return answer
        changed |= answer["changed"]
    changed |= step == "remove" and record.keep(module.check_mode)
    return {**answer, "changed": changed}


def without_program(module):
    if module.check_mode:
        module.exit_json(changed=True, msg="follows: the server is made ready first")
    module.fail_json(msg="This server was not made ready for certificates.",
                     next="Apply the server first, then this again.")


def wish(module, step):
    return {
        "name": module.params["name"],
        "step": step,
        "settings": module.params["settings"],
        "own": {"certificate": module.params["certificate"], "key": module.params["key"]},
        "force": module.params["force"],
        "check": module.check_mode,
    }


def ask(wish):
    with unbroken():
        ended = subprocess.run(
            ["/usr/bin/python3", "-B", PROGRAM], input=json.dumps(wish), capture_output=True, text=True, check=False
        )
    try:
        return json.loads(ended.stdout)
    except ValueError:
        return {
            "failed": True,
            "msg": "The program for certificates on this server stopped in the middle of its work.",
            "next": "Apply the server, which brings the current program, then this again.",
            "journal": ended.stderr.strip().splitlines()[-10:],
        }


if __name__ == "__main__":
    main()
