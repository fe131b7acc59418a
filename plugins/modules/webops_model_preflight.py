#!/usr/bin/python
"""Look at a server and at a model, before anything is fetched or changed."""

from __future__ import annotations

DOCUMENTATION = r"""
module: webops_model_preflight
short_description: Look whether a server can serve a model
description:
  - Changes nothing, in check mode and without it. What is seen is judged by the action plugin of the same name, which
    documents the arguments of a task.
  - What looks is one program, run as the model's own user; as nobody before there is one. It sees what the engine
    will see, and root neither reads what others wrote nor what a hub answers.
  - Runs as root (administrator) or as webops-deploy.
options:
  name: {description: The resource., type: str, required: true}
  question:
    description: "What is looked at: model, revision, hub, engine, engines, models, sockets."
    type: dict
    required: true
  token: {description: Of the hub. It reaches the program through a pipe alone., type: str, default: ""}
  live:
    description: Whether the commit that serves is looked at; the action plugin fills it in.
    type: bool
    default: false
  source: {description: The program that looks; the action plugin fills it in., type: str, required: true}
author: WebOps
"""
RETURN = r"""
facts:
  description: What was seen; C(plugins/programs/model_look.py) says how.
  type: dict
  returned: always
"""

import json
import os
import pwd
import subprocess

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.webops_engines import directory
from ansible.module_utils.webops_release import Served

PYTHON = ["/usr/bin/python3", "-IS", "-"]
WAIT = 180


def main():
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "question": {"type": "dict", "required": True},
            "token": {"type": "str", "default": "", "no_log": True},
            "live": {"type": "bool", "default": False},
            "source": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    user = "wo-" + module.params["name"]
    question = {**module.params["question"], "token": module.params["token"], "user": user}
    question["engines"] = {engine: directory(engine, version) for engine, version in question["engines"].items()}
    served = Served(module.params["name"])
    live = live_commit(served, question["model"])
    if live and module.params["live"]:
        question["revision"] = live
    program = f"import json\nQUESTION = json.loads({json.dumps(question)!r})\n{module.params['source']}"
    try:
        ended = ask(user, program)
    except subprocess.TimeoutExpired:
        module.fail_json(msg=f"Looking at the server and the model took more than {WAIT} seconds.",
                         next="Look whether this server reaches the hub, and whether nvidia-smi answers on it.")
    report = next((line for line in ended.stdout.splitlines() if line.startswith("webops-result ")), None)
    if report is None:
        lines = (ended.stdout + ended.stderr).splitlines()
        module.fail_json(msg="The server could not be looked at: {}".format((lines or ["no answer"])[-1]),
                         next="The last lines say why.", journal=lines)
    facts = json.loads(report.split(" ", 1)[1])
    facts["model"].update(live=live, serves=served.model_of(served.live()))
    module.exit_json(changed=False, facts=facts)


def live_commit(served, model):
    """The commit of this model that serves, "" where it is another model or nothing."""
    snapshots = f"/shared/models/models--{model.replace('/', '--')}/snapshots/"
    return served.model_of(served.live()).partition(snapshots)[2]


def ask(user, program):
    """The program's end, run as the model's user where there is one."""
    started = {"input": program, "capture_output": True, "text": True, "check": False, "cwd": "/", "timeout": WAIT}
    if os.geteuid() == 0:
        account = pwd.getpwnam(user if exists(user) else "nobody")
        groups = os.getgrouplist(account.pw_name, account.pw_gid)
        return subprocess.run(PYTHON, user=account.pw_uid, group=account.pw_gid, extra_groups=groups, **started)
    is_deploy = pwd.getpwuid(os.geteuid()).pw_name == "webops-deploy"
    become = ["sudo", "-n", "-u", user] if is_deploy and exists(user) else []
    return subprocess.run([*become, *PYTHON], **started)


def exists(user):
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True


if __name__ == "__main__":
    main()
