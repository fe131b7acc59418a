"""The records of ownership: what WebOps brought to this server, one JSON file per resource, root's own."""

from __future__ import annotations

import json
import os
import re
import stat
from pathlib import Path
from typing import Any

_NAME = re.compile(r"[a-z](?:-?[a-z0-9])+\Z")
_UNIT = re.compile(r"[A-Za-z0-9][A-Za-z0-9:_.@\\-]{0,200}\.(?:service|socket|timer|target|mount|path|slice|scope)\Z")
_MOST_RECORDS = 500
_MOST_BYTES = 64 * 1024


def records(directory: str) -> dict[str, dict[str, Any]]:
    """All records by resource name. One that cannot be used is {"broken": why}."""
    try:
        names = sorted(entry.name[:-5] for entry in os.scandir(directory) if entry.name.endswith(".json"))
    except FileNotFoundError:
        return {}
    return {name: record(directory, name) or {} for name in names[:_MOST_RECORDS] if _NAME.match(name)}


def record(directory: str, name: str) -> dict[str, Any] | None:
    """The record of one resource, None where there is none."""
    if not _NAME.match(name):
        return None
    try:
        # O_NONBLOCK: whatever lies there in place of a file must not hold us up.
        file = os.open(Path(directory) / f"{name}.json", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as wrong:
        return {"broken": wrong.strerror}
    with os.fdopen(file, "rb") as opened:
        return _read(opened, os.fstat(file))


def _read(opened: Any, status: os.stat_result) -> dict[str, Any]:
    # Only root may say what is probed and whose journal is read; an app must not.
    if status.st_uid != 0 or status.st_mode & 0o022 or not stat.S_ISREG(status.st_mode):
        return {"broken": "it does not belong to root alone"}
    try:
        found = json.loads(opened.read(_MOST_BYTES))
    except ValueError:
        return {"broken": "it is not readable as JSON"}
    return found if isinstance(found, dict) else {"broken": "it is not an object"}


def units(wanted: Any) -> list[str]:
    """The names in `wanted` that can be units: never an option, never a pattern."""
    if not isinstance(wanted, list):
        return []
    return [one for one in wanted if isinstance(one, str) and _UNIT.match(one)][:50]
