"""Releases of a resource as webops-deploy wrote them down: a list, and what differs between two. Names, never values.

    live/releases/<id>.json   the release        live/release   a link to the one that serves
    env/<id>.json             its variables      shared/repo.git   its commits, read as the app's user
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

_ROOT = Path("/srv/webops")
_ID = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9a-f]{7,40}\Z")
_NAME = re.compile(r"[a-z](?:-?[a-z0-9])+\Z")
_COMMIT = re.compile(r"[0-9a-f]{40,64}\Z")
_MOST_RELEASES = 20
_MOST_BYTES = 256 * 1024
_MOST_COMMITS = 50
_MOST_NAMES = 100
#: Seconds that git may take.
_PATIENCE = 6
#: Between what git says of a commit; no commit's text holds it.
_APART = "\x1f"
_SHOWN = ("id", "build", "commit", "subject", "author", "committed", "ref", "before", "went_live", "seconds", "run",
          "actor", "back")
#: (resource, from, to) -> commits between them; they never change, and a look comes every few seconds.
_counted: dict[tuple[str, str, str], int | None] = {}


def releases(name: str) -> list[dict[str, Any]]:
    """Those that are on the server, newest first; [] where a resource has none."""
    found = _records(name)
    live = _live(name)
    ahead = _ahead(name, found, live)
    variables = _json(_env(name, live)) if ahead else {}
    shown = []
    for record in found[:_MOST_RELEASES]:
        one = {key: record[key] for key in _SHOWN if record.get(key) is not None}
        one.update(served=bool(record.get("served")), live=record["id"] == live)
        if ahead and record["id"] == ahead["id"]:
            one["newest"] = {"commits": _count(name, _commit_of(found, live), str(record.get("commit"))),
                             "environment": _names(variables, _json(_env(name, record["id"])))}
        shown.append(one)
    return shown


def _ahead(name: str, found: list[dict[str, Any]], live: str) -> dict[str, Any] | None:
    """The release that somebody went back from: the newest that served, where the live one is older."""
    newest = next((one for one in found if one.get("served")), None)
    return newest if newest and live and str(newest["id"]) > live else None


def compare(name: str, a: str, b: str) -> dict[str, Any]:
    """What `b` has that `a` has not, and the other way round. {"error": why} where they cannot be compared."""
    records = [_record(name, one) for one in (a, b)]
    for wanted, record in zip((a, b), records):  # noqa: B905  Python 3.9 has no strict
        if record is None:
            there = ", ".join(str(one["id"]) for one in _records(name)[:_MOST_RELEASES])
            return {"error": f"{name} has no release '{wanted[:60]}' any more."
                             + (f" There are: {there}." if there else "")}
    old, new = records[0] or {}, records[1] or {}
    old_commit, new_commit = str(old.get("commit")), str(new.get("commit"))
    try:
        came, gone = _log(name, old_commit, new_commit), _log(name, new_commit, old_commit)
        why = ""
    except (OSError, subprocess.SubprocessError, ValueError) as wrong:
        came, gone, why = [], [], f"git could not tell the commits between them: {_reason(wrong)}"
    before, after = _migrations(old), _migrations(new)
    return {
        "a": _head(old), "b": _head(new), "commits_unknown": why,
        "commits": came[:_MOST_COMMITS], "commits_more": _more(name, came, old_commit, new_commit),
        "commits_gone": gone[:_MOST_COMMITS], "commits_gone_more": _more(name, gone, new_commit, old_commit),
        "environment": _names(_json(_env(name, a)), _json(_env(name, b))),
        "migrations": {"added": [one for one in after if one not in before][:_MOST_NAMES],
                       "removed": [one for one in before if one not in after][:_MOST_NAMES]},
    }


def _head(record: dict[str, Any]) -> dict[str, Any]:
    return {key: record.get(key) for key in ("id", "commit", "subject", "author", "committed")}


def _records(name: str) -> list[dict[str, Any]]:
    if not _NAME.match(name):
        return []
    try:
        ids = sorted((one.name[:-5] for one in os.scandir(_ROOT / name / "live" / "releases")
                      if one.name.endswith(".json")), reverse=True)
    except OSError:
        return []
    return [one for one in (_record(name, identity) for identity in ids[:3 * _MOST_RELEASES]) if one]


def _record(name: str, identity: str) -> dict[str, Any] | None:
    if not _NAME.match(name) or not _ID.match(identity):
        return None
    found = _json(_ROOT / name / "live" / "releases" / f"{identity}.json")
    return found if found.get("id") == identity else None


def _env(name: str, identity: str) -> Path:
    return _ROOT / name / "env" / f"{identity}.json"


def _live(name: str) -> str:
    try:
        return os.path.basename(os.readlink(_ROOT / name / "live" / "release"))[:-5]  # noqa: PTH115, PTH119  a text
    except OSError:
        return ""


def _commit_of(found: list[dict[str, Any]], identity: str) -> str:
    return next((str(one.get("commit")) for one in found if one["id"] == identity), "")


def _names(before: dict[str, Any], after: dict[str, Any]) -> dict[str, list[str]]:
    """Values are compared here, and only names go away from here."""
    def cut(names: Any) -> list[str]:
        return sorted(str(one)[:200] for one in names)[:_MOST_NAMES]

    return {"added": cut(after.keys() - before.keys()), "removed": cut(before.keys() - after.keys()),
            "changed": cut(key for key in before.keys() & after.keys() if before[key] != after[key])}


def _migrations(record: dict[str, Any]) -> list[str]:
    """shop/migrations/0007_note.py is shop.0007_note"""
    found = []
    for path in record.get("migration_files") or ():
        folders, _, file = str(path).rpartition("/migrations/")
        found.append(f"{folders.rpartition('/')[2]}.{file[:-3]}".lstrip(".")[:200])
    return sorted(found)


def _log(name: str, since: str, until: str) -> list[dict[str, str]]:
    """Commits of `until` that `since` has not, newest first; one more than is shown where there are more."""
    if since == until:
        return []
    # However long somebody wrote, git cuts it.
    form = _APART.join(("%H", "%<(200,trunc)%an", "%cI", "%<(300,trunc)%s"))
    told = _git(name, since, until, "log", f"-{_MOST_COMMITS + 1}", f"--format={form}")
    found = [line.split(_APART, 3) for line in told.splitlines() if line.count(_APART) >= 3]
    return [{"id": one[0][:64], "short": one[0][:7], "author": one[1].strip(), "at": one[2][:40],
             "subject": one[3].strip()} for one in found]


def _more(name: str, found: list[dict[str, str]], since: str, until: str) -> int:
    return (_count(name, since, until) or 0) - _MOST_COMMITS if len(found) > _MOST_COMMITS else 0


def _count(name: str, since: str, until: str) -> int | None:
    """How many; None where git cannot say."""
    key = (name, since, until)
    if key not in _counted:
        if len(_counted) > 1000:
            _counted.clear()
        try:
            _counted[key] = int(_git(name, since, until, "rev-list", "--count") or 0) if since != until else 0
        except (OSError, subprocess.SubprocessError, ValueError):
            _counted[key] = None
    return _counted[key]


def _git(name: str, since: str, until: str, *words: str) -> str:
    """What git says of a range. It runs as the app's user, who may have written its configuration."""
    if not (_COMMIT.match(since) and _COMMIT.match(until)):
        raise ValueError("a release names no commit")
    mirror = _ROOT / name / "shared" / "repo.git"
    done = subprocess.run(
        ["sudo", "-n", "-u", f"wo-{name}", "--", "git", "--no-pager", f"--git-dir={mirror}", *words,
         f"{since}..{until}", "--"],
        stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=_PATIENCE, cwd="/",
        env={"PATH": os.defpath, "LC_ALL": "C.UTF-8"})
    return done.stdout[:_MOST_BYTES].decode(errors="replace")


def _reason(wrong: Exception) -> str:
    said = getattr(wrong, "stderr", None)
    lines = said.decode(errors="replace").strip().splitlines() if isinstance(said, bytes) else []
    return lines[-1][:300] if lines else "it did not answer in time" if isinstance(
        wrong, subprocess.TimeoutExpired) else str(wrong)[:300]


def _json(path: Path) -> dict[str, Any]:
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            found = json.loads(file.read(_MOST_BYTES))
        return found if isinstance(found, dict) else {}
    except (OSError, ValueError):
        return {}
