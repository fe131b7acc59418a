#!/usr/bin/python
"""Install many files, directories and links in one step."""

from __future__ import annotations

DOCUMENTATION = r"""
module: webops_files
short_description: Install many files, directories and links in one step
description:
  - One call compares everything, validates what is new, then renames it into place in the order given.
  - Where a file's C(validate), a C(test) or an C(after) command says no, all is as before.
  - Refuses to replace a file that does not carry our mark, and to write as root below a directory of somebody else.
  - In check mode accounts may still be missing.
options:
  files:
    description:
      - "A list of C({path, content|state|link, owner, group, mode, secret, once, mark, validate})."
      - "C(state) is C(file) with C(content), C(directory), C(link) with C(link), or C(absent) with all below."
      - "C(secret) keeps the content out of the diff. C(once) leaves what is there as it is."
      - "C(mark=false) may replace a file without our mark (the word webops in its first lines)."
      - "C(validate) is a list of arguments, C(%s) the staged copy, C(%d) the directory with all staged copies."
    type: list
    elements: dict
    required: true
  test:
    description: Commands (lists of arguments) that must succeed with everything in place; otherwise all is undone.
    type: list
    elements: list
    default: []
  after:
    description: Commands to run when something changed; all is undone when one fails, so that the next run tries again.
    type: list
    elements: list
    default: []
  record:
    description:
      - What this server tells about the resource (C(kind), C(name), …), for /etc/webops/resources/<name>.json.
      - Refused where a resource of another kind has the name already. With C(state=absent) it is removed.
    type: dict
  claim:
    description: C(kind) and C(name); refused where a resource of another kind has the name already. Writes nothing.
    type: dict
  daemon_reload:
    description: Let systemd read its units again when a file of its own changed.
    type: bool
    default: false
author: WebOps
"""
EXAMPLES = r"""
- name: Install the right to restart
  webops_files:
    files:
      - path: /etc/sudoers.d/wo-shop
        content: "{{ lookup('template', 'sudoers.j2') }}"
        mode: "0440"
        validate: [visudo, -cf, "%s"]
"""
RETURN = r"""
paths:
  description: Paths that were (or in check mode would be) changed.
  type: list
  returned: always
beside:
  description: >-
    Resources on this server whose name begins as that of C(claim) or C(record); of each, which one it is a part of.
  type: dict
  returned: always
"""

import os
import subprocess

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.webops_place import (
    Entry,
    Refused,
    Seen,
    ask,
    bring_back,
    put,
    refuse_unsafe_parent,
    validate,
)
from ansible.module_utils.webops_record import beside, entry_of, refuse_taken
from ansible.module_utils.webops_unbroken import unbroken

KEYS = {"path", "content", "state", "link", "owner", "group", "mode", "secret", "once", "mark", "validate"}
UNITS = "/etc/systemd/system"
STATES = {None, "file", "directory", "link", "absent"}


def main():
    module = AnsibleModule(
        argument_spec={
            "files": {"type": "list", "elements": "dict", "required": True},
            "test": {"type": "list", "elements": "list", "default": []},
            "after": {"type": "list", "elements": "list", "default": []},
            "record": {"type": "dict"},
            "claim": {"type": "dict"},
            "daemon_reload": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    try:
        if module.params["claim"]:
            refuse_taken(module.params["claim"])
        entries = [read(wish) for wish in module.params["files"]] + record(module.params["record"])
        changes = find_changes(entries)
        late = module.params["daemon_reload"] and is_late(entries)
        if (changes or late) and not module.check_mode:
            with unbroken():
                apply(changes, commands(module.params, changes, late))
        elif changes:
            rehearse(changes)
    except Refused as refused:
        module.fail_json(msg=str(refused), next=refused.next, journal=refused.journal)
    except OSError as error:
        module.fail_json(msg="{}: {}".format(error.filename or "A file could not be written", error.strerror),
                         next="Look at that path on the server, then apply again.")
    about = module.params["claim"] or module.params["record"]
    module.exit_json(
        changed=bool(changes) or late,
        beside=beside(about["name"]) if about else {},
        paths=[entry.path for entry, _seen in changes],
        diff=[difference(entry, seen) for entry, seen in changes] if module._diff else [],
        **({"webops_summary": "systemd had not read the units of a run that was killed"} if late else {}),
    )


def read(wish):
    unknown = set(wish) - KEYS
    if unknown or not wish.get("path") or wish.get("state") not in STATES:
        raise Refused(f"A file was not described as this module knows it: {sorted(wish)}",
                      "Its keys are {}.".format(", ".join(sorted(KEYS))))
    return Entry(wish)


def record(facts):
    return [entry_of(facts)] if facts else []


def find_changes(entries):
    changes = []
    for entry in entries:
        seen = Seen(entry.path)
        if seen.differs(entry):
            refuse_strangers(entry, seen)
            refuse_unsafe_parent(entry.path)
            changes.append((entry, seen))
    return changes


def refuse_strangers(entry, seen):
    """What WebOps did not write is never taken over, and a directory never gives way to a file."""
    if seen.kind == "absent":
        return
    if entry.state != "absent" and seen.kind not in (entry.state, "link" if entry.state == "file" else ""):
        raise Refused(f"{entry.path} is there already, as a {seen.kind} that WebOps did not make.",
                      "Move it away, then apply again.")
    if entry.state in ("file", "absent") and entry.mark and not seen.is_ours():
        raise Refused(f"{entry.path} was not written by WebOps, so it is left alone.",
                      "Move it away or choose another name, then apply again.")


def is_late(entries):
    """Whether systemd runs units as they were before: a run was killed after it wrote them."""
    names = [os.path.basename(entry.path).replace("@.", "@*.") for entry in entries
             if os.path.dirname(entry.path) == UNITS and entry.state == "file"]
    if not names:
        return False
    try:
        asked = subprocess.run(["systemctl", "show", "-p", "NeedDaemonReload", "--", *names],
                               capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return False
    return "NeedDaemonReload=yes" in asked.stdout


def commands(params, changes, late):
    """What must succeed once the files are in place: tests first, then what makes the change felt."""
    reload = []
    if late or (params["daemon_reload"] and any("/systemd/" in entry.path for entry, _seen in changes)):
        reload = [["systemctl", "daemon-reload"]]
    return params["test"] + reload + params["after"]


def rehearse(changes):
    """In check mode ask the validators too, where they are installed already."""
    try:
        validate([entry for entry, _seen in changes])
    except Refused as refused:
        if refused.journal:
            raise


def apply(changes, argvs):
    done = []
    validate([entry for entry, _seen in changes])
    try:
        for entry, seen in changes:
            put(entry)
            done.append(seen)
        for argv in argvs:
            argv = [str(part) for part in argv]
            ask(argv, "'{}' said no; everything is as it was before.".format(" ".join(argv)))
    except BaseException:
        for seen in reversed(done):
            bring_back(seen)
        raise


def difference(entry, seen):
    before = describe_seen(entry, seen)
    after = describe_wish(entry)
    return {"before_header": entry.path, "after_header": entry.path, "before": before, "after": after}


def describe_seen(entry, seen):
    if seen.kind == "absent":
        return ""
    if seen.kind == "link":
        return f"-> {seen.target}\n"
    if seen.kind == "directory":
        return "directory %o\n" % (seen.stat.st_mode & 0o7777)
    return "(hidden)\n" if entry.secret else seen.content.decode(errors="replace")


def describe_wish(entry):
    if entry.state == "absent":
        return ""
    if entry.state == "link":
        return f"-> {entry.link}\n"
    if entry.state == "directory":
        return "directory %o\n" % (entry.mode if entry.mode is not None else 0o755)
    return "(hidden, new)\n" if entry.secret else entry.content.decode(errors="replace")


if __name__ == "__main__":
    main()
