"""A commit in the words of people: what comes with it, before it is deployed and while it is."""

from __future__ import annotations


def summary(found):
    words = [found["commit"][:7], found["subject"]]
    for key, one, many in (("submodules", "submodule", "submodules"), ("large", "file of Git LFS", "files of Git LFS"),
                           ("left_out", "file too many was not looked at, the deepest",
                            "files too many were not looked at, the deepest")):
        count = found.get(key)
        if count:
            words.append(f"{count} {one if count == 1 else many}")
    return " · ".join(words)


def in_plan(params, found, live, migrations):
    """What a person wants to know of it beforehand."""
    return {
        "commit": short(found["commit"], found),
        "from": short(live["commit"], live) if live.get("commit") else None,
        "commits": found.get("commits", []), "commits_more": found.get("commits_more", 0),
        "migrations": [{"name": migration_name(path), "takes_away": found.get("takes_away", {}).get(path, [])}
                       for path in migrations],
        "environment": params.get("names", {}),
    }


def short(commit, more=None):
    """A commit as people see it; what is not known of it is empty."""
    more = more or {}
    return commit and {"id": commit, "short": commit[:7], "author": more.get("author", ""),
                       "subject": more.get("subject", ""), "at": more.get("committed", "")}


def migration_name(path):
    """shop/migrations/0007_note.py is shop.0007_note"""
    folders, _, file = path.rpartition("/migrations/")
    return "{}.{}".format(folders.rpartition("/")[2], file[:-3]).lstrip(".")


def other_names(names):
    """Variables that differ, as a difference; what they hold may be a secret, so only their names are told."""
    other = names.get("changed", [])
    gone = [*(f"{name}=" for name in names.get("removed", [])), *(f"{name}=(as it is)" for name in other)]
    come = [*(f"{name}=" for name in names.get("added", [])), *(f"{name}=(as wanted)" for name in other)]
    return [{"before_header": "environment", "after_header": "environment",
             "before": "".join(f"{line}\n" for line in sorted(gone)),
             "after": "".join(f"{line}\n" for line in sorted(come))}] if gone or come else []
