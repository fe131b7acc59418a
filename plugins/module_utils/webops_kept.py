"""Secrets that a server keeps for a resource: one file each, which root alone reads."""

from __future__ import annotations

import os
import re
import secrets

from ansible.module_utils.webops_place import Entry, Refused, Seen, put

ROOT = "/etc/webops/secrets"


def directory_of(name):
    return os.path.dirname(_path(name, "any"))


def read(name, parameter):
    """The secret, or an empty text while there is none."""
    seen = Seen(_path(name, parameter))
    return seen.content.decode().rstrip("\n") if seen.kind == "file" else ""


def keep(name, parameter, text):
    path = _path(name, parameter)
    for directory in (ROOT, os.path.dirname(path)):
        put(Entry({"path": directory, "state": "directory", "mode": "0700", "owner": "root", "group": "root"}))
    put(Entry({"path": path, "content": text, "mode": "0600", "owner": "root", "group": "root"}))


def read_or_make(name, parameter, check):
    """The secret; made now, and kept, where there is none. A rehearsal keeps nothing."""
    found = read(name, parameter)
    if found:
        return found
    made = secrets.token_urlsafe(48)
    if not check:
        keep(name, parameter, made)
    return made


def _path(name, parameter):
    for part in (name, parameter):
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", part):
            raise Refused(f"{part!r} is no name of a secret.")
    return os.path.join(ROOT, name, parameter)
