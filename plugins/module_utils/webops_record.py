"""What a server tells about a resource: /etc/webops/resources/<name>.json. A name belongs to the kind that took it."""

from __future__ import annotations

import glob
import json
import os

from ansible.module_utils.webops_place import Entry, Refused, Seen, put

RECORDS = "/etc/webops/resources"


def entry_of(facts):
    """The entry for a record: `facts` with kind and name, or with state=absent. Refused where the name is taken."""
    path = f"{RECORDS}/{facts['name']}.json"
    refuse_other_kind(path, facts)
    if facts.get("state") == "absent":
        return Entry({"path": path, "state": "absent"})
    return Entry({"path": path, "content": json.dumps(facts, indent=1, sort_keys=True) + "\n", "mode": "0644",
                  "owner": "root", "group": "root"})


def refuse_taken(facts):
    """Before anything is written for a resource: its name may belong to another kind on this server."""
    refuse_other_kind(f"{RECORDS}/{facts['name']}.json", facts)


def refuse_other_kind(path, facts):
    try:
        with open(path, encoding="utf-8") as file:
            kind = json.load(file).get("kind")
    except (OSError, ValueError):
        return
    if kind != facts["kind"]:
        raise Refused(f"The name {facts['name']} is taken on this server by a resource of kind {kind}.",
                      "Choose another name.")


def beside(name, records=RECORDS):
    """Resources on this server whose name begins as this one's: name -> the one that it is a part of, or ""."""
    found = {}
    for path in glob.glob(f"{glob.escape(os.path.join(records, name))}-*.json"):
        try:
            with open(path, encoding="utf-8") as file:
                found[os.path.basename(path)[:-len(".json")]] = json.load(file).get("part_of") or ""
        except (OSError, ValueError, AttributeError):
            continue
    return found


class Record:
    """The record that a module was asked to keep; none where `facts` is empty."""

    def __init__(self, facts):
        self.entry = entry_of(facts) if facts else None
        self.seen = Seen(self.entry.path) if self.entry else None

    def differs(self):
        return bool(self.entry) and self.seen.differs(self.entry)

    def keep(self, check):
        """Write (or remove) it where it differs; whether it does."""
        if self.differs() and not check:
            put(self.entry)
        return self.differs()
