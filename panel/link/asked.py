"""Which part of a log is asked for: read here once, for the link, the API, the panel and the command line."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from panel.link import wire
from panel.link.client import LinkError

_BACK = re.compile(r"-?(\d{1,6})\s*(s|m|min|h|d|w)(?: ago)?")
_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_LONGEST = 200


def wanted(lines: Any, since: Any, follow: Any, grep: Any, until: Any = "", process: Any = "") -> dict[str, Any]:
    """The request as the server gets it. LinkError: a value that cannot be."""
    if isinstance(lines, bool) or not isinstance(lines, int) or not 0 <= lines <= wire.MOST_LINES:
        raise LinkError(f"Ask for 0 to {wire.MOST_LINES} lines.", "invalid_lines")
    if not isinstance(grep, str) or len(grep) > _LONGEST:
        raise LinkError(f"A search text may have up to {_LONGEST} characters.", "invalid_grep")
    if not isinstance(process, str) or len(process) > _LONGEST:
        raise LinkError("Name a process as the log shows it, such as web or worker.", "invalid_process")
    if follow is True and until:
        raise LinkError("What is followed has no end: leave out either the end or the following.", "invalid_until")
    return {"lines": lines, "since": moment(since, "invalid_since"), "until": moment(until, "invalid_until"),
            "follow": follow is True, "grep": grep, "process": process.strip()}


def moment(given: Any, code: str = "invalid_since") -> str:
    """A point in time as journalctl understands it in any time zone. LinkError: it is none."""
    text = str(given or "").strip()
    if not text:
        return ""
    back = _BACK.fullmatch(text)
    if back:
        # Relative stays relative: the server's clock may differ from ours.
        return f"-{int(back[1]) * _SECONDS[back[2]]}s"
    try:
        at = datetime.fromisoformat(text)
        return f"@{int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp())}"
    except (ValueError, OverflowError):
        raise LinkError("Write a time such as '2026-11-02 14:00' (UTC), or how far back: 30m, 2h, 1d.",
                        code) from None
