#!/usr/bin/python
"""Unix accounts of ours: made, kept as they shall be, and never taken over from somebody else."""

from __future__ import annotations

DOCUMENTATION = r"""
module: webops_account
short_description: Make Unix accounts that carry our mark, or remove them
description:
  - An account belongs to WebOps when its comment (GECOS) is C(webops <mark>). Another one of that name is refused.
  - All accounts and groups of a call are compared in one step.
options:
  groups:
    description: System groups that must exist.
    type: list
    elements: str
    default: []
  accounts:
    description:
      - "A list of C({name, mark, groups, home, create_home, shell, keys, from, state})."
      - "C(groups) are the supplementary groups, exactly. The primary group has the account's name."
      - "C(keys) are the lines of its C(authorized_keys), exactly; left out or empty, the file stays as it is."
      - "C(from) are the addresses and networks from which they may sign in; empty, those that are in the file."
      - Refused where whoever is signed in now could not come back.
    type: list
    elements: dict
    required: true
author: WebOps
"""
EXAMPLES = r"""
- name: Make the Unix user of the app
  webops_account:
    accounts:
      - {name: wo-shop, mark: shop, groups: [webops-apps], home: /srv/webops/shop}
"""
RETURN = r"""
accounts:
  description: Names of the accounts that were (or would be) changed.
  type: list
  returned: always
"""

import grp
import ipaddress
import os
import pwd
import re
import subprocess

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.webops_lock import Locked, held
from ansible.module_utils.webops_place import Refused

KEYS = {"name", "mark", "groups", "home", "create_home", "shell", "keys", "from", "state"}
# Runs as the account itself: whatever it planted in its home, it can only harm itself.
WRITE_KEYS = 'umask 077 && mkdir -p .ssh && cat > .ssh/.keys.webops && mv -fT .ssh/.keys.webops .ssh/authorized_keys'


def main():
    module = AnsibleModule(
        argument_spec={
            "groups": {"type": "list", "elements": "str", "default": []},
            "accounts": {"type": "list", "elements": "dict", "required": True},
        },
        supports_check_mode=True,
    )
    try:
        with held("accounts", 60):
            changed = settle(module)
    except (Refused, Locked) as refused:
        module.fail_json(msg=str(refused), next=getattr(refused, "next", ""), journal=getattr(refused, "journal", []))
    module.exit_json(changed=bool(changed), accounts=changed)


def settle(module):
    changed = []
    for group in module.params["groups"]:
        if not group_exists(group):
            changed.append(group)
            do(module, ["groupadd", "--system", "--", group])
    for wish in module.params["accounts"]:
        refuse_unknown(wish)
        refuse_locking_out(wish)
        steps = absent(wish) if wish.get("state") == "absent" else present(wish)
        if steps:
            changed.append(wish["name"])
        for step in steps:
            do(module, *step)
    return changed


def refuse_unknown(wish):
    if set(wish) - KEYS or not wish.get("name") or not wish.get("mark"):
        raise Refused(f"An account was not described as this module knows it: {sorted(wish)}.")
    found = lookup(wish["name"])
    if found and found.pw_gecos.split(",")[0] != mark(wish):
        raise Refused(
            f"The Unix user {wish['name']} exists on this server and was not made by WebOps for this resource.",
            "Choose another name, or remove that user.",
        )


def mark(wish):
    return "webops " + wish["mark"]


def lookup(name):
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def group_exists(name):
    try:
        grp.getgrnam(name)
    except KeyError:
        return False
    return True


def present(wish):
    """Steps (argv, and what they read) that make the account as it shall be."""
    found = lookup(wish["name"])
    home = wish.get("home") or f"/home/{wish['name']}"
    shell = wish.get("shell") or "/usr/sbin/nologin"
    groups = sorted(wish.get("groups") or [])
    if not found:
        return [(create(wish, home, shell, groups),), *write_keys(wish, home)]
    steps = []
    if (found.pw_dir, found.pw_shell) != (home, shell):
        steps.append((["usermod", "--home", home, "--shell", shell, "--", wish["name"]],))
    if memberships(wish["name"]) != groups:
        steps.append((["usermod", "--groups", ",".join(groups), "--", wish["name"]],))
    if wish.get("keys") and current_keys(home) != wanted_keys(wish, home):
        steps.extend(write_keys(wish, home))
    return steps


def create(wish, home, shell, groups):
    own_group = ["--gid", wish["name"]] if group_exists(wish["name"]) else ["--user-group"]
    home_too = ["--create-home"] if wish.get("create_home") else ["--no-create-home"]
    return [
        "useradd", "--system", "--comment", mark(wish), "--home-dir", home, "--shell", shell,
        "--groups", ",".join(groups), *own_group, *home_too, "--", wish["name"],
    ]


def memberships(name):
    return sorted(group.gr_name for group in grp.getgrall() if name in group.gr_mem)


def wanted_keys(wish, home):
    sources = ",".join(wish.get("from") or []) or sources_there(home)
    limit = f'from="{sources}",' if sources else ""
    return "# webops: written when the server is applied\n" + "".join(f"{limit}{key}\n" for key in wish["keys"])


def sources_there(home):
    found = re.search(r'^from="([^"\n]+)",restrict', current_keys(home) or "", re.MULTILINE)
    return found[1] if found else ""


def refuse_locking_out(wish):
    sources = wish.get("from") or []
    address = signed_in_from() if sources and wish.get("keys") else None
    if address and not any(address in ipaddress.ip_network(one, strict=False) for one in sources):
        raise Refused(f"WebOps signs in to this server from {address}, which {', '.join(sources)} would not allow. "
                      "Nothing was changed.", f"Name {address} among those that are allowed, too.")


def signed_in_from():
    """The address that this connection comes from; None where it is none of SSH's."""
    process = str(os.getpid())
    while process not in ("0", "1"):
        try:
            with open(f"/proc/{process}/environ", "rb") as file:
                variables = file.read().split(b"\0")
            with open(f"/proc/{process}/stat", encoding="ascii", errors="replace") as file:
                process = file.read().rpartition(")")[2].split()[1]
        except OSError:
            return None
        for one in variables:
            if one.startswith(b"SSH_CONNECTION="):
                return address_of(one.partition(b"=")[2].split()[0].decode())
    return None


def address_of(text):
    """As sshd compares it: an IPv4 address that came by an IPv6 socket is one of IPv4, and a zone is none of its."""
    found = ipaddress.ip_address(text.partition("%")[0])
    return getattr(found, "ipv4_mapped", None) or found


def current_keys(home):
    try:
        handle = os.open(f"{home}/.ssh/authorized_keys", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    with os.fdopen(handle, "rb") as file:
        return file.read(1 << 20).decode(errors="replace")


def write_keys(wish, home):
    if not wish.get("keys"):
        return []
    return [(["/bin/sh", "-c", WRITE_KEYS], wanted_keys(wish, home), wish["name"], home)]


def absent(wish):
    if lookup(wish["name"]):
        return [(["userdel", "--", wish["name"]],)]
    return [(["groupdel", "--", wish["name"]],)] if group_exists(wish["name"]) else []


def do(module, argv, text=None, user=None, directory="/"):
    if module.check_mode:
        return
    identity = {}
    if user:
        found = pwd.getpwnam(user)
        identity = {"user": found.pw_uid, "group": found.pw_gid, "extra_groups": []}
    ended = subprocess.run(
        argv, input=text or "", capture_output=True, text=True, check=False, cwd=directory, **identity
    )
    if ended.returncode:
        raise Refused(
            f"{argv[0]} could not do its part for {user or argv[-1]}.",
            "Read its last lines: they say what on this server is in the way.",
            (ended.stdout + ended.stderr).strip().splitlines()[-10:],
        )


if __name__ == "__main__":
    main()
