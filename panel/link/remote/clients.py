"""API keys of a resource: a file that its record names, rewritten as a whole, one change after the other."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any

_MOST = 1000
_MOST_BYTES = 1024 * 1024


class Refused(Exception):
    """The change is not possible; `code` for programs."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def keys(record: dict[str, Any] | None, change: dict[str, Any]) -> dict[str, Any]:
    """{"keys": [...]} as they are after `change`: {} none, {"add": key}, {"revoke": name}. Or {"error", "code"}."""
    path = (record or {}).get("keys")
    if not isinstance(path, str) or not path.startswith("/"):
        return {"error": "Nothing that has keys is on this server yet. Apply it first.", "code": "no_keys"}
    try:
        # A lock of its own: the file itself is another one after each change.
        with open(f"{path}.lock", "a", opener=_private) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            found = _read(path)
            if change:
                found = _changed(found, change)
                _write(path, found)
            return {"keys": found}
    except Refused as wrong:
        return {"error": str(wrong), "code": wrong.code}
    except OSError as wrong:
        return {"error": f"{path}: {(wrong.strerror or str(wrong)).lower()}.", "code": "not_written"}


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


def _read(path: str) -> list[dict[str, Any]]:
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW)) as file:
            found = json.loads(file.read(_MOST_BYTES))["keys"]
        if not isinstance(found, list) or not all(isinstance(one, dict) and isinstance(one.get("name"), str)
                                                  for one in found):
            raise ValueError
        return found
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError):
        # Written anew, all keys that are in it would be gone.
        raise Refused("keys_damaged", f"{path} is damaged, so nothing was changed. Those who use it are let in as "
                      "before. Put it right on the server, or remove it there to begin without keys.") from None


def _changed(found: list[dict[str, Any]], change: dict[str, Any]) -> list[dict[str, Any]]:
    if "revoke" in change:
        left = [one for one in found if one["name"] != change["revoke"]]
        if len(left) == len(found):
            raise Refused("unknown_key", f"There is no key '{change['revoke']}' here.")
        return left
    new = change["add"]
    if any(one["name"] == new["name"] for one in found):
        raise Refused("key_taken", f"There is a key '{new['name']}' already. Revoke it first, or choose another name.")
    if len(found) >= _MOST:
        raise Refused("too_many_keys", f"There are {_MOST} keys already. Revoke those that nobody uses.")
    return [*found, new]


def _write(path: str, found: list[dict[str, Any]]) -> None:
    """In one moment: whoever reads sees the old file or the new one. The directory gives it its group."""
    new = f"{path}.new"
    with open(new, "w", encoding="utf-8", opener=_private) as file:
        os.fchmod(file.fileno(), 0o640)
        json.dump({"keys": found}, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    Path(new).replace(path)
