#!/usr/bin/python
"""Install Debian packages, and ask apt only when one is missing."""

from __future__ import annotations

DOCUMENTATION = r"""
module: webops_packages
short_description: Install Debian packages, and ask apt only when one is missing
description:
  - Looks into dpkg's own list first, so that a server that has everything answers in milliseconds.
  - apt runs under a lock of ours and waits for dpkg's, so that two runs and unattended upgrades do not collide.
options:
  names:
    description: Packages that must be there. A choice is written with C(|), the first one that can be had is taken.
    type: list
    elements: str
    required: true
  timeout:
    description: Seconds to wait for another run or for unattended upgrades.
    type: int
    default: 600
author: WebOps
"""
EXAMPLES = r"""
- name: Install nginx
  webops_packages:
    names: [nginx, git]
"""
RETURN = r"""
missing:
  description: Packages that were (or in check mode would be) installed.
  type: list
  returned: always
"""

import os
import re
import subprocess
import time

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.webops_lock import Locked, held

NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+")
LISTS = "/var/lib/apt/lists"
FRESH_SECONDS = 6 * 3600
ENVIRONMENT = {
    "DEBIAN_FRONTEND": "noninteractive",
    "NEEDRESTART_MODE": "l",
    "LC_ALL": "C.UTF-8",
}


def main():
    module = AnsibleModule(
        argument_spec={
            "names": {"type": "list", "elements": "str", "required": True},
            "timeout": {"type": "int", "default": 600},
        },
        supports_check_mode=True,
    )
    wanted = [choices(module, name) for name in module.params["names"]]
    missing = lacking(wanted)
    if missing and not module.check_mode:
        try:
            with held("apt", module.params["timeout"]):
                # The run that we waited for may have brought them.
                install(module, lacking(wanted))
        except Locked as locked:
            module.fail_json(msg=str(locked), next="Wait for that run to end, then run this again.")
    first = [names[0] for names in missing]
    module.exit_json(changed=bool(missing), missing=first, **summary(first, module.check_mode))


def choices(module, text):
    names = text.split("|")
    for name in names:
        if not NAME.fullmatch(name):
            module.fail_json(
                msg=f"{name!r} is not the name of a Debian package.",
                next="Use small letters, digits and + . - as in 'libpq-dev'.",
            )
    return names


def lacking(wanted):
    """Of every choice without an installed package: the choice."""
    every = sorted({name for names in wanted for name in names})
    present = installed(every)
    return [names for names in wanted if not present.intersection(names)]


def installed(names):
    if not names:
        return set()
    found = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Package}\t${db:Status-Status}\n", "--", *names],
        capture_output=True, text=True, check=False,
    )
    lines = (line.partition("\t") for line in found.stdout.splitlines())
    return {name for name, _tab, status in lines if status == "installed"}


def install(module, missing):
    if not missing:
        return
    if not fresh():
        refresh(module)
    names = [obtainable(names) for names in missing]
    if None in names:
        # A list that looked fresh may be older than the package.
        refresh(module)
        names = [obtainable(names) or names[0] for names in missing]
    ended = apt(module, "install", "--no-install-recommends", "--", *names)
    if ended.returncode:
        # Packages move on mirrors: lists that are hours old can name files that are gone.
        refresh(module)
        ended = apt(module, "install", "--no-install-recommends", "--", *names)
    if ended.returncode:
        fail(module, "apt could not install {}.".format(", ".join(names)), ended)


def fresh():
    try:
        newest = max(entry.stat().st_mtime for entry in os.scandir(LISTS) if "_Packages" in entry.name)
    except (OSError, ValueError):
        return False
    return time.time() - newest < FRESH_SECONDS


def refresh(module):
    ended = apt(module, "update")
    if ended.returncode:
        fail(module, "apt could not fetch the lists of packages.", ended)


def obtainable(names):
    """The first of the names that apt can install, or None."""
    if len(names) == 1:
        return names[0]
    for name in names:
        ended = subprocess.run(["apt-cache", "policy", "--", name], capture_output=True, text=True, check=False)
        if re.search(r"^  Candidate: (?!\(none\))", ended.stdout, re.MULTILINE):
            return name
    return None


def apt(module, *arguments):
    wait = f"DPkg::Lock::Timeout={module.params['timeout']}"
    return subprocess.run(
        ["apt-get", "-q", "-y", "-o", wait, "-o", "Dpkg::Options::=--force-confold", *arguments],
        capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, env={**os.environ, **ENVIRONMENT},
    )


def fail(module, sentence, ended):
    lines = (ended.stdout + ended.stderr).strip().splitlines()[-20:]
    module.fail_json(
        msg=sentence,
        next="Read the last lines of apt, and whether this server reaches its package mirror: apt-get update",
        journal=lines,
    )


def summary(names, check):
    if not names:
        return {}
    shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
    return {"webops_summary": ("to install: " if check else "") + shown}


if __name__ == "__main__":
    main()
