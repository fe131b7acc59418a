"""What a server says of the releases it keeps, as it may be stored and shown: bounded, plain, of the right types."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from panel.link.plain import plain

_MOST_RELEASES = 20
_MOST = 100
_ID = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9a-f]{7,40}")
_TEXTS = {"build": 64, "commit": 64, "subject": 200, "author": 100, "committed": 40, "ref": 200, "before": 64,
          "went_live": 40, "actor": 64}


def releases(told: Any) -> list[dict[str, Any]]:
    """Newest first. Each: id, served, live, and where known commit, subject, author, committed, ref, before,
    went_live, seconds, run, actor; `back` {at, run, actor, from}: it came back; `newest` {commits, environment}: this
    one is what the live one is behind."""
    found = [_release(one) for one in _list(told)[:_MOST_RELEASES] if _is_id(_mapping(one).get("id"))]
    return sorted(found, key=lambda one: str(one["id"]), reverse=True)


def compared(told: Mapping[str, Any]) -> dict[str, Any]:
    """Two releases `a` and `b`: commits that came and are gone, names of variables, migrations."""
    migrations = _mapping(told.get("migrations"))
    return {
        "a": _head(told.get("a")), "b": _head(told.get("b")),
        "commits": [_commit(one) for one in _list(told.get("commits"))[:50]],
        "commits_more": _number(told.get("commits_more")) or 0,
        "commits_gone": [_commit(one) for one in _list(told.get("commits_gone"))[:50]],
        "commits_gone_more": _number(told.get("commits_gone_more")) or 0,
        "commits_unknown": plain(told.get("commits_unknown") or "", 500),
        "environment": _names(told.get("environment"), "added", "removed", "changed"),
        "migrations": _names(migrations, "added", "removed"),
    }


def _release(told: Any) -> dict[str, Any]:
    one = _mapping(told)
    found: dict[str, Any] = {"id": one["id"], "served": one.get("served") is True, "live": one.get("live") is True}
    found.update({key: plain(one[key], most) for key, most in _TEXTS.items() if one.get(key)})
    found.update({key: number for key in ("seconds", "run") if (number := _number(one.get(key))) is not None})
    back, newest = one.get("back"), one.get("newest")
    if isinstance(back, dict):
        found["back"] = {"at": plain(back.get("at") or "", 40), "run": _number(back.get("run")),
                         "actor": plain(back.get("actor") or "", 64), "from": plain(back.get("from") or "", 64)}
    if isinstance(newest, dict):
        found["newest"] = {"commits": _number(newest.get("commits")),
                           "environment": _names(newest.get("environment"), "added", "removed", "changed")}
    return found


def _head(told: Any) -> dict[str, str]:
    one = _mapping(told)
    return {key: plain(one.get(key) or "", 200) for key in ("id", "commit", "subject", "author", "committed")}


def _commit(told: Any) -> dict[str, str]:
    one = _mapping(told)
    return {key: plain(one.get(key) or "", 300) for key in ("id", "short", "author", "subject", "at")}


def _names(told: Any, *keys: str) -> dict[str, list[str]]:
    return {key: [plain(one, 200) for one in _list(_mapping(told).get(key))[:_MOST]] for key in keys}


def _is_id(value: Any) -> bool:
    return isinstance(value, str) and bool(_ID.fullmatch(value))


def _number(value: Any) -> Any:
    is_one = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e12
    return value if is_one else None


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
