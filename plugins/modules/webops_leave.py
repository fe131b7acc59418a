#!/usr/bin/python
"""Take WebOps itself off a server: first see that nothing of it is in use, then files, then the accounts."""

from __future__ import annotations

DOCUMENTATION = r"""
module: webops_leave
short_description: Take WebOps itself off a server
description:
  - C(look) refuses where resources of ours are left, and changes nothing.
  - C(files) stops units and takes files away; C(accounts) takes the accounts, then the files that let them in.
  - The account of the play goes last, while its connection is open, so nothing may be asked of the server afterwards.
  - Where data of a removed resource lies on, its directory, its Unix user and the group of the apps stay.
options:
  step: {description: What to do., type: str, required: true, choices: [look, files, accounts]}
  paths: {description: What goes with all that is below it., type: list, elements: str, default: []}
  empty: {description: Directories that go where nothing lies in them any more., type: list, elements: str, default: []}
  units: {description: Units to stop before their files go., type: list, elements: str, default: []}
  accounts:
    description: "C({name, mark}), in the order in which they go. Another's account of such a name stays."
    type: list
    elements: dict
    default: []
  group: {description: The group of all apps., type: str, default: ""}
author: WebOps
"""
EXAMPLES = r"""
- name: See that nothing of WebOps is in use
  webops_leave: {step: look}
"""
RETURN = r"""
removed:
  description: Paths, accounts and groups that were (or in check mode would be) removed.
  type: list
  returned: always
"""

import contextlib
import glob
import grp
import json
import os
import pwd
import re
import subprocess

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.webops_lock import Locked, held
from ansible.module_utils.webops_place import Entry, Refused, Seen, put, refuse_unsafe_parent

RECORDS = "/etc/webops/resources"
APPS = "/srv/webops"
# What a resource leaves where its removal was cut short: the certificate of the server itself is none.
TRACES = {"/etc/nginx/sites-enabled/wo-*.conf": r"wo-(.+)\.conf", "/etc/sudoers.d/wo-*": r"wo-(.+)",
          "/etc/systemd/system/wo-*": r"wo-([^@.]+)[@.].*", "/etc/webops/certs/*": r"(?!default\Z)(.+)"}


def main():
    module = AnsibleModule(
        argument_spec={
            "step": {"type": "str", "required": True, "choices": ["look", "files", "accounts"]},
            "paths": {"type": "list", "elements": "str", "default": []},
            "empty": {"type": "list", "elements": "str", "default": []},
            "units": {"type": "list", "elements": "str", "default": []},
            "accounts": {"type": "list", "elements": "dict", "default": []},
            "group": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    step = {"look": look, "files": take_files, "accounts": take_accounts}[module.params["step"]]
    try:
        removed, summary = step(module.params, module.check_mode)
    except (Refused, Locked) as refused:
        module.fail_json(msg=str(refused), next=getattr(refused, "next", "Run this again."),
                         journal=getattr(refused, "journal", []))
    except OSError as error:
        module.fail_json(msg="{}: {}".format(error.filename or "A file could not be removed", error.strerror),
                         next="Look at that path on the server, then remove the server again.")
    module.exit_json(changed=bool(removed), removed=removed, webops_summary=summary)


def look(_params, _check):
    """Refuse in words where something is left; otherwise say what data lies on."""
    found = resources()
    if found:
        listed = ", ".join(f"{name} ({kind})" if kind else name for name, kind in sorted(found.items()))
        raise Refused(f"This server still has {listed}. Nothing was changed.",
                      "Remove what is on it first, then the server.")
    data = kept_data()
    return [], f"data stays: {', '.join(data)}" if data else "nothing is left on it"


def resources():
    """Name -> kind of all that is recorded here, and of what left other traces. The server itself is none of them."""
    found = {os.path.basename(path)[:-len(".json")]: kind_of(path) for path in glob.glob(f"{RECORDS}/*.json")}
    for form, pattern in TRACES.items():
        for path in glob.glob(form):
            match = re.fullmatch(pattern, os.path.basename(path))
            if match and (seen := Seen(path)).kind != "absent" and seen.is_ours():
                found.setdefault(match[1], "")
    return {name: kind for name, kind in found.items() if kind != "server"}


def kind_of(path):
    try:
        with open(path, encoding="utf-8") as file:
            return str(json.load(file).get("kind") or "")
    except (OSError, ValueError, AttributeError):
        return ""


def kept_data():
    try:
        return sorted(os.listdir(APPS))
    except OSError:
        return []


def take_files(params, check):
    removed = take_paths(params, check, params["units"])
    for directory in [APPS, *params["empty"]]:
        if os.path.isdir(directory) and not os.listdir(directory):
            removed.append(directory)
            if not check:
                os.rmdir(directory)
    return removed, f"{len(removed)} paths removed" if removed else ""


def take_paths(params, check, units=()):
    """Strangers' files are refused before the first one of ours goes."""
    paths = [path for path in params["paths"] if os.path.lexists(path)]
    for path in paths:
        refuse_unsafe_parent(path)
        if not Seen(path).is_ours():
            raise Refused(f"{path} was not written by WebOps, so it is left alone.",
                          "Move it away, then run this again.")
    if paths and not check:
        for unit in units:
            subprocess.run(["systemctl", "stop", "--", unit], check=False, capture_output=True)
            # When a timer ran last lies in a file of systemd's own.
            subprocess.run(["systemctl", "clean", "--what=state", "--", unit], check=False, capture_output=True)
        for path in paths:
            put(Entry({"path": path, "state": "absent"}))
        if any("/systemd/" in path for path in paths):
            subprocess.run(["systemctl", "daemon-reload"], check=False, capture_output=True)
            subprocess.run(["systemctl", "reset-failed", "--", *units], check=False, capture_output=True)
    return paths


def take_accounts(params, check):
    """Their rights go last: whoever is cut short can come back and finish."""
    removed = []
    with held("accounts", 60):
        for account in params["accounts"]:
            if is_ours(account):
                removed.append(account["name"])
                if not check:
                    take_account(account["name"])
        removed += take_group(params["group"], check)
    removed += take_paths(params, check)
    if removed and not check:
        # Where a socket starts sshd, there may be nothing to reload.
        subprocess.run(["systemctl", "try-reload-or-restart", "ssh.service"], check=False, capture_output=True)
        for lock in glob.glob("/run/lock/webops-*"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(lock)
    return removed, ", ".join(one for one in removed if not one.startswith("/"))


def is_ours(account):
    try:
        return pwd.getpwnam(account["name"]).pw_gecos.split(",")[0] == "webops " + account["mark"]
    except KeyError:
        return False


def take_account(name):
    # By force: the play itself may be signed in as this account, and goes on to its end.
    done = subprocess.run(["userdel", "--force", "--remove", "--", name], capture_output=True, text=True, check=False)
    with contextlib.suppress(KeyError):
        pwd.getpwnam(name)
        raise Refused(f"The Unix user {name} could not be removed.",
                      "Its last lines say what is in the way. Then remove the server again.",
                      (done.stdout + done.stderr).strip().splitlines()[-10:])


def take_group(name, check):
    """The group goes where nobody is in it any more; users with data stay in it."""
    try:
        members = grp.getgrnam(name).gr_mem if name else ["nobody"]
    except KeyError:
        return []
    if members:
        return []
    if not check:
        subprocess.run(["groupdel", "--", name], check=False, capture_output=True)
    return [name]


if __name__ == "__main__":
    main()
