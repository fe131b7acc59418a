#!/usr/bin/python
"""What a server has for a language model: GPUs or not, and the directory of the model where one is named."""

from __future__ import annotations

DOCUMENTATION = r"""
module: webops_model_look
short_description: Choose the engine and look at the model's directory
description:
  - Changes nothing. Refuses a directory that the model's user could not read, or that holds no model.
options:
  name: {description: The resource., type: str, required: true}
  model: {description: Id on the hub or directory., type: str, required: true}
  revision: {description: Revision on the hub., type: str, default: ""}
  engine: {description: What was asked for., type: str, choices: [auto, gpu, cpu], default: auto}
  gpus: {description: Numbers of GPUs., type: list, elements: int, default: []}
  tensor_parallel: {description: How many GPUs., type: int, default: 1}
  kv_cache: {description: Bytes of the KV cache., type: int, default: 0}
author: WebOps
"""
RETURN = r"""
engine: {description: cpu or gpu., type: str, returned: always}
gpus: {description: Numbers of the GPUs that it uses., type: list, returned: always}
directory: {description: Where the model's files are or will be., type: str, returned: always}
needs: {description: "Bytes, C(total)", type: dict, returned: always}
"""

import glob
import os
import pwd
import shutil
import subprocess

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.webops_unit import ROOT, Refused

# What vLLM's three processes take beside weights and cache.
ENGINE_BYTES = 1_700_000_000
HIDDEN = ("/home/", "/root/", "/tmp/", "/var/tmp/", "/run/user/", "/etc/webops/", "/var/lib/webops/")  # noqa: S108  named to be refused


def main():
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "model": {"type": "str", "required": True},
            "revision": {"type": "str", "default": ""},
            "engine": {"type": "str", "choices": ["auto", "gpu", "cpu"], "default": "auto"},
            "gpus": {"type": "list", "elements": "int", "default": []},
            "tensor_parallel": {"type": "int", "default": 1},
            "kv_cache": {"type": "int", "default": 0},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(changed=False, **look(module.params))
    except Refused as refused:
        module.fail_json(msg=str(refused), next=refused.next)


def look(params):
    there = list_gpus() if params["engine"] != "cpu" else []
    if params["engine"] == "gpu" and not there:
        raise Refused("This server has no GPU that nvidia-smi can see.",
                      "Install NVIDIA's driver, or choose the engine cpu.")
    engine = "gpu" if there else "cpu"
    directory = place(params)
    weights = sum(os.path.getsize(path) for path in glob.glob(os.path.join(glob.escape(directory), "*.safetensors")))
    return {"engine": engine, "gpus": (params["gpus"] or there[:params["tensor_parallel"]]) if there else [],
            "directory": directory, "needs": {"total": weights + params["kv_cache"] + ENGINE_BYTES}}


def list_gpus():
    program = shutil.which("nvidia-smi")
    if not program:
        return []
    asked = subprocess.run([program, "--query-gpu=index", "--format=csv,noheader"], capture_output=True, text=True,
                           check=False, timeout=60)
    return [int(line) for line in asked.stdout.split() if line.isdigit()] if asked.returncode == 0 else []


def place(params):
    model, user = params["model"], f"wo-{params['name']}"
    if not model.startswith("/"):
        folder = os.path.join(ROOT, params["name"], "shared", "models", model.replace("/", "--"))
        return os.path.join(folder, params["revision"] or "main")
    directory = os.path.normpath(model)
    if (directory + "/").startswith(HIDDEN):
        raise Refused(f"{directory} cannot be seen by the engine, which has no access to /home, /root and /tmp.",
                      "Move the model below /srv, such as /srv/models, and apply again.")
    for path, wanted in ((directory, "x"), (os.path.join(directory, "config.json"), "r")):
        if not allowed(path, wanted, user):
            there = "cannot be read by the model's user" if allowed(path, "e", "root") else "is not there"
            raise Refused(f"{path} {there}.", "Name the directory of a model with its config.json, readable for all: "
                          f"chmod -R a+rX {directory}")
    return directory


def allowed(path, wanted, user):
    """Whether the user may; before there is one, whether nobody may."""
    argv = ["test", f"-{wanted}", path]
    if os.geteuid() == 0:
        if user != "root":
            user = user if exists(user) else "nobody"
        account = pwd.getpwnam(user)
        groups = os.getgrouplist(user, account.pw_gid)
        done = subprocess.run(argv, user=account.pw_uid, group=account.pw_gid, extra_groups=groups, check=False)
    else:
        become = ["sudo", "-n", "-u", user] if user != "root" and exists(user) else []
        done = subprocess.run([*become, *argv], check=False, capture_output=True)
    return done.returncode == 0


def exists(user):
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True


if __name__ == "__main__":
    main()
