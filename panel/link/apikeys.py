"""API keys of clients: how one is made, what may be said of it on its way, and what a server says of those it has.

The text of a key is shown once, by whoever made it; only its SHA-256 goes further.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from datetime import UTC, datetime
from typing import Any

from panel.link.client import LinkError
from panel.link.plain import plain

_PREFIX = "sk-wo-"
#: How much of a key is kept readable, so that people recognize theirs.
_SHOWN = 10
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9 ._@-]{0,62}[A-Za-z0-9])?")
_MOST = 1000
MOST_PER_MINUTE = 10**9


def make(name: Any, requests_per_minute: Any, tokens_per_minute: Any, by: str) -> tuple[str, dict[str, Any]]:
    """A new key: its text, and what a server keeps of it. LinkError (invalid_…): it cannot be like that."""
    text = _PREFIX + secrets.token_urlsafe(32)
    return text, _key({
        "name": name, "sha256": hashlib.sha256(text.encode()).hexdigest(), "prefix": text[:_SHOWN],
        "requests_per_minute": requests_per_minute, "tokens_per_minute": tokens_per_minute,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"), "created_by": by})


def change(given: Any) -> dict[str, Any]:
    """{} (none), {"add": key} or {"revoke": name}, looked at. LinkError (invalid_…)."""
    if not given:
        return {}
    if isinstance(given, dict) and list(given) == ["add"] and isinstance(given["add"], dict):
        return {"add": _key(given["add"])}
    if isinstance(given, dict) and list(given) == ["revoke"]:
        return {"revoke": name(given["revoke"])}
    raise LinkError("A change adds a key or revokes one.", "invalid_change")


def name(given: Any) -> str:
    """LinkError (invalid_key_name): no key is called so."""
    if not isinstance(given, str) or not _NAME.fullmatch(given) or given == "webops":
        raise LinkError("A key's name has up to 64 letters and digits, between them spaces, dots, - _ and @, such as "
                        "'website' or 'jane@work'. 'webops' is the panel itself.", "invalid_key_name")
    return given


def limit(given: Any, what: str) -> int | None:
    """None: no limit. LinkError (invalid_limit)."""
    if given is None or given == 0:
        return None
    if isinstance(given, bool) or not isinstance(given, int) or not 0 < given <= MOST_PER_MINUTE:
        raise LinkError(f"The limit of {what} per minute is a whole number from 1 to {MOST_PER_MINUTE}; leave it out "
                        "for no limit.", "invalid_limit")
    return given


def _key(given: dict[str, Any]) -> dict[str, Any]:
    digest, prefix = given.get("sha256"), given.get("prefix")
    if not isinstance(digest, str) or not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise LinkError("A key is known by its SHA-256.", "invalid_key")
    if not isinstance(prefix, str) or not re.fullmatch(r"sk-wo-[A-Za-z0-9_-]{0,4}", prefix):
        raise LinkError(f"A key begins with {_PREFIX}.", "invalid_key")
    return {"name": name(given.get("name")), "sha256": digest, "prefix": prefix,
            "requests_per_minute": limit(given.get("requests_per_minute"), "requests"),
            "tokens_per_minute": limit(given.get("tokens_per_minute"), "tokens"),
            **_origin(given)}


def _origin(told: dict[str, Any]) -> dict[str, str]:
    return {key: plain(told.get(key) or "", 64) for key in ("created_at", "created_by")}


def shown(told: Any) -> list[dict[str, Any]]:
    """What a server says of its keys, looked at. `sha256` is for other servers, not for people."""
    found = [one for one in told[:_MOST] if isinstance(one, dict)] if isinstance(told, list) else []
    return [{"name": plain(one.get("name") or "", 64), "sha256": plain(one.get("sha256") or "", 64),
             "prefix": plain(one.get("prefix") or "", 20),
             "requests_per_minute": _number(one.get("requests_per_minute")),
             "tokens_per_minute": _number(one.get("tokens_per_minute")), **_origin(one)} for one in found]


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= MOST_PER_MINUTE else None
