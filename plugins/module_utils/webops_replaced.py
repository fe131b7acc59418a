"""Files of nginx that somebody wrote by hand: moved aside for a vhost that takes their place, and brought back.

A file is kept beside where it was, under a name that nginx does not include: its patterns leave out what begins with
a dot.
"""

from __future__ import annotations

import contextlib
import os
import re

from ansible.module_utils.webops_place import Entry, Refused, Seen, like

PREFIX = ".webops-replaced."


def kept_as(path, name):
    return os.path.join(os.path.dirname(path), f"{PREFIX}{name}.{os.path.basename(path)}")


def is_kept(path):
    return os.path.basename(path).startswith(PREFIX)


def moved_aside(paths, name, folders, domains):
    """(Entry, Seen) for each change. Refused: a file is ours, serves others as well, or was moved aside before."""
    changes = []
    for path in paths:
        seen = Seen(path)
        if seen.kind == "absent":
            continue
        if os.path.dirname(path) not in folders or os.path.basename(path).startswith("."):
            raise Refused(f"{path} is no file of nginx's that a virtual host could take the place of.",
                          f"Name a file of {' or '.join(folders)}.")
        refuse_what_is_not_theirs(path, seen, domains)
        kept = Seen(kept_as(path, name))
        if kept.kind != "absent":
            raise Refused(f"{path} is there again, although its place was taken; what was there before is {kept.path}.",
                          "Delete the one of the two that is not wanted, then apply again.")
        changes += [(like(seen, kept.path), kept), (Entry({"path": path, "state": "absent"}), seen)]
    return changes


def refuse_what_is_not_theirs(path, seen, domains):
    text = text_of(seen)
    if seen.kind not in ("file", "link"):
        raise Refused(f"{path} is no file.", "Name the file that serves the domain.")
    if text.startswith("# webops"):
        raise Refused(f"{path} belongs to WebOps already.", "Change or remove the resource that it is of.")
    others = sorted(served(text) - set(domains))
    if others or nameless(text):
        what = f"serves {', '.join(others[:5])} as well" if others else "has a server without a name as well"
        raise Refused(f"{path} {what}, so its place cannot be taken.",
                      "Move that into a file of its own, or name these domains here too. Then plan again.")


def brought_back(name, folders):
    """(Entry, Seen) for each change that undoes `moved_aside`. Refused: something else is in the place."""
    changes = []
    mark = f"{PREFIX}{name}."
    for folder in folders:
        for base in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
            if not base.startswith(mark):
                continue
            kept, before = Seen(os.path.join(folder, base)), Seen(os.path.join(folder, base[len(mark):]))
            if before.kind != "absent":
                raise Refused(f"{before.path} is there again, so {kept.path} cannot be brought back to its place.",
                              "Delete the one of the two that is not wanted, then remove again.")
            changes += [(like(kept, before.path), before), (Entry({"path": kept.path, "state": "absent"}), kept)]
    return changes


def text_of(seen):
    """What nginx reads there: a file, or the file that a link leads to."""
    if seen.kind == "file":
        return seen.content.decode(errors="replace")
    if seen.kind == "link":
        with contextlib.suppress(OSError), open(seen.path, encoding="utf-8", errors="replace") as file:
            return file.read()
    return ""


def served(text):
    """Names after every server_name, comments left out."""
    found = re.findall(r"\bserver_name\s+([^;]*);", plain(text))
    return {name.strip("\"'") for names in found for name in names.split()}


def nameless(text):
    """Whether a server of the text says no name."""
    return len(re.findall(r"(?<![\w-])server\s*\{", plain(text))) > len(re.findall(r"\bserver_name\s", plain(text)))


def plain(text):
    """Without its comments."""
    return re.sub(r"(?m)(?:^|\s)#.*$", "", text)
