#!/usr/bin/python
"""Give an app what stays the same over its releases: its secret key and the address of its database."""

from __future__ import annotations

DOCUMENTATION = r"""
module: webops_bindings
short_description: Write the variables that are always the current ones, whatever release runs
description:
  - Runs as root, since the secrets lie where only root reads. They are read there and appear nowhere else. A secret
    key is made once and kept.
  - The file is written as webops-deploy, so that root never writes where somebody else may plant a link.
options:
  name: {description: The resource., type: str, required: true}
  database:
    description: "The app's database: C({name, database, owner, port}), C(name) that of its resource. Empty for none."
    type: dict
    default: {}
  database_variable: {description: Variable for its address. Empty for none., type: str, default: DATABASE_URL}
  database_parts:
    description: "Variables for single parts of it: name, and one of host, port, name, user, password."
    type: dict
    default: {}
  addresses:
    description: "Further variables that hold no secret, name and value, such as the address of the app's cache."
    type: dict
    default: {}
  secret_key_variable: {description: Variable for the secret key. Empty for none., type: str, default: SECRET_KEY}
author: WebOps
"""
RETURN = r"""
variables:
  description: Names of the variables.
  type: list
  returned: always
moved:
  description: Whether the database is another one; its password may change without that.
  type: bool
  returned: always
"""

import grp
import json
import os
import pwd
import re
import subprocess
import sys
from urllib.parse import quote

from ansible.module_utils import webops_kept
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.webops_unit import ROOT

DEPLOY = "webops-deploy"
WRITER = """
import os, sys
path = sys.argv[1]
temporary = f"{path}.{os.getpid()}"
handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
with os.fdopen(handle, "w") as file:
    file.write(sys.stdin.read())
    os.fchmod(file.fileno(), 0o640)
os.rename(temporary, path)
"""


def main():
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "database": {"type": "dict", "default": {}},
            "database_variable": {"type": "str", "default": "DATABASE_URL"},
            "database_parts": {"type": "dict", "default": {}},
            "addresses": {"type": "dict", "default": {}},
            "secret_key_variable": {"type": "str", "default": "SECRET_KEY", "no_log": False},
        },
        supports_check_mode=True,
    )
    params = module.params
    path = os.path.join(ROOT, params["name"], "env", "bindings.json")
    wanted = bindings(params, module.check_mode)
    there = read(path)
    changed = there != wanted
    moved = where(params, there or {}) != where(params, wanted)
    if changed and not module.check_mode:
        write(module, params["name"], path, wanted)
    module.exit_json(changed=changed, variables=sorted(wanted), moved=moved)


def where(params, variables):
    """What says which database it is, without the password."""
    names = [name for name, part in params["database_parts"].items() if part != "password"]
    return [re.sub(r":[^:@/]*@", "@", variables.get(name, "")) for name in [params["database_variable"], *names]]


def bindings(params, check):
    wanted = {name: str(value) for name, value in params["addresses"].items() if name}
    if params["secret_key_variable"]:
        wanted[params["secret_key_variable"]] = webops_kept.read_or_make(params["name"], "secret_key", check)
    if params["database"]:
        parts = database(**params["database"])
        if params["database_variable"]:
            wanted[params["database_variable"]] = url(**parts)
        wanted.update({variable: str(parts[part]) for variable, part in params["database_parts"].items()})
    return wanted


def database(name, database, owner, port):
    password = webops_kept.read(name, "password")
    return {"host": "127.0.0.1", "port": port, "name": database, "user": owner, "password": password}


def url(host, port, name, user, password):
    return f"postgresql://{quote(user)}:{quote(password, safe='')}@{host}:{port}/{quote(name)}"


def read(path):
    """root reads here by name only what webops-deploy wrote; a link is not followed."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    with os.fdopen(handle) as file:
        try:
            return json.load(file)
        except ValueError:
            return None


def write(module, name, path, wanted):
    user, group = pwd.getpwnam(DEPLOY), grp.getgrnam("wo-" + name)
    done = subprocess.run(
        [sys.executable, "-I", "-c", WRITER, path], input=json.dumps(wanted, indent=1, sort_keys=True),
        user=user.pw_uid, group=group.gr_gid, extra_groups=[], text=True, capture_output=True, check=False, cwd="/",
    )
    if done.returncode:
        module.fail_json(msg=f"The variables of {name} could not be written.",
                         next="Look at the free space of the server.", journal=done.stderr.splitlines()[-5:])


if __name__ == "__main__":
    main()
