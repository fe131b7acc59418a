#!/usr/bin/python
"""Fetch a model's files from a hub, at the commit that was looked at."""

from __future__ import annotations

DOCUMENTATION = r"""
module: webops_model_download
short_description: Fetch a model's files as the model's own user
description:
  - Runs as webops-deploy. The files come into the one-shot unit C(download) of the model, whose user owns them, with
    the engine's own client. A download that broke off goes on where it was.
  - The action plugin of the same name calls this module step by step and shows how far it is.
  - The token reaches the unit through a pipe alone; it is in no file, no argument and no line.
options:
  name: {description: The resource., type: str, required: true}
  model: {description: Its id on the hub., type: str, required: true}
  commit: {description: "As M(webops_model_preflight) saw it.", type: str, required: true}
  files: {description: Names of the files that the engine reads., type: list, elements: str, required: true}
  bytes: {description: Of those files in all., type: int, default: 0}
  hub: {description: Address., type: str, required: true}
  token: {description: For models that want one., type: str, default: ""}
  engine: {description: Directory of the engine., type: str, required: true}
  timeout: {description: Seconds., type: int, default: 86400}
  step: {description: The action plugin's., type: str, choices: [begin, look, end], default: begin}
  begun: {description: "What C(begin) said; the action plugin's.", type: dict, default: {}}
  shown: {description: "Lines that were shown already; the action plugin's.", type: int, default: 0}
  source: {description: The program that fetches; the action plugin fills it in., type: str, default: ""}
author: WebOps
"""
RETURN = r"""
directory:
  description: Where the files are.
  type: str
  returned: when they are there
"""

import json
import os
import time
import uuid

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.webops_unit import ROOT, Ended, Refused, hand_over, own_lines, state, systemctl, write_json

#: Seconds that one look waits for something to say.
WAIT = 20
STARTS = 60
AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"


def main():
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "model": {"type": "str", "required": True},
            "commit": {"type": "str", "required": True},
            "files": {"type": "list", "elements": "str", "required": True},
            "bytes": {"type": "int", "default": 0},
            "hub": {"type": "str", "required": True},
            "token": {"type": "str", "default": "", "no_log": True},
            "engine": {"type": "str", "required": True},
            "timeout": {"type": "int", "default": 86400},
            "step": {"type": "str", "choices": ["begin", "look", "end"], "default": "begin"},
            "begun": {"type": "dict", "default": {}},
            "shown": {"type": "int", "default": 0},
            "source": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    params = module.params
    if module.check_mode:
        module.exit_json(changed=True, waits=False, msg=f"follows: {params['bytes'] / (1 << 30):.1f} GiB are fetched")
    try:
        module.exit_json(**{"begin": begin, "look": look, "end": end}[params["step"]](params))
    except Refused as refused:
        module.fail_json(msg=str(refused), next=refused.next, journal=refused.journal)


def unit(params):
    return f"wo-{params['name']}.task@download.service"


def job_file(params):
    return os.path.join(ROOT, params["name"], "env", "task-download.json")


def begin(params):
    """The unit runs, and has read its token."""
    if state(unit(params)) not in ("inactive", "failed"):
        # Left by a run that was lost; what it fetched stays.
        systemctl("stop", unit(params))
    token, since = uuid.uuid4().hex, time.time() - 2
    pipe = os.path.join(ROOT, params["name"], "env", "task-download.pipe") if params["token"] else None
    with hand_over(pipe, {"HF_TOKEN": params["token"]}):
        write_json(job_file(params), {**job(params), "id": token, "env_files": [pipe] if pipe else []}, 0o640)
        started = systemctl("start", "--no-block", unit(params))
        if started.returncode:
            os.unlink(job_file(params))
            raise Refused("The download does not start: " + started.stderr.strip(), "Look at its unit on the server.")
        wait_for_begin(params, since, token)
    return {"changed": True, "waits": True, "since": since, "token": token}


def job(params):
    home = os.path.join(ROOT, params["name"])
    question = {key: params[key] for key in ("model", "commit", "files", "bytes", "hub")}
    question["models"] = os.path.join(home, "shared", "models")
    return {"argv": [os.path.join(params["engine"], "bin", "python"), "-I", "-", json.dumps(question)],
            "cwd": os.path.join(home, "shared"), "stdin": params["source"], "timeout": params["timeout"],
            # Some versions of the client trust a list of their own, and not whom the server trusts.
            "env": {"HF_HOME": os.path.join(home, "shared", "cache", "hub"), "SSL_CERT_FILE": AUTHORITIES}}


def wait_for_begin(params, since, token):
    until = time.monotonic() + STARTS
    while f"webops-begin {token}" not in own_lines(unit(params), since):
        if time.monotonic() > until or state(unit(params)) == "failed":
            raise Refused("The download did not begin.", "Look at its unit on the server.",
                          own_lines(unit(params), since))
        time.sleep(0.05)


def look(params):
    """What it said since the last look: as soon as there is something, at the latest after some seconds."""
    begun, until = params["begun"], time.monotonic() + WAIT
    while True:
        ended = Ended(own_lines(unit(params), begun["since"]), begun["token"])
        over = ended.code is not None or state(unit(params)) in ("inactive", "failed")
        if over or len(ended.lines) > params["shown"] or time.monotonic() > until:
            return {"changed": False, "over": over, "lines": ended.lines[params["shown"]:], "shown": len(ended.lines)}
        time.sleep(0.3)


def end(params):
    """What came of it."""
    begun = params["begun"]
    ended = Ended(own_lines(unit(params), begun["since"]), begun["token"])
    if os.path.exists(job_file(params)):
        os.unlink(job_file(params))
    if ended.timeout:
        raise Refused(f"The download was not done after {params['timeout']} seconds.",
                      "Run it again: it goes on where it was.", ended.lines)
    if "failed" in ended.result:
        raise Refused(ended.result["failed"], ended.result.get("next", ""), ended.lines)
    if "directory" not in ended.result:
        raise Refused("The download ended before it was done.",
                      "Run it again: it goes on where it was. The last lines say why it ended.", ended.lines)
    return {"changed": True, "directory": ended.result["directory"],
            "webops_summary": f"{params['bytes'] / (1 << 30):.1f} GiB"}


if __name__ == "__main__":
    main()
