"""Text from servers as harmless text: nothing that steers a terminal or hides in a page."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

#: CSI … letter, OSC … BEL/ST, other two-byte escapes; also in their one-byte C1 forms.
_ESCAPES = re.compile(r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
                      r"|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f]).*?(?:\x07|\x1b\\|\x9c|\Z)"
                      r"|\x1b[ -/]*[0-~]", re.DOTALL)
_TAB = "    "


def plain(text: object, limit: int) -> str:
    """`text` without escapes and control characters, bidirectional overrides made visible, cut at `limit`."""
    # A structure where text belongs says nothing to a person (and may be nested deeper than str() can go).
    found = str(text) if isinstance(text, str | int | float) else ""
    cut = len(found) - limit
    found = _ESCAPES.sub("", found[:limit])
    if not found.isascii() or not found.isprintable():
        found = "".join(_shown(char) for char in found)
    return f"{found} … ({cut} characters more)" if cut > 0 else found


def _shown(char: str) -> str:
    if char == "\t":
        return _TAB
    category = unicodedata.category(char)
    if category == "Cf":
        return f"\\u{ord(char):04x}" if ord(char) < 0x10000 else ""
    return " " if char in "\r\n" else "" if category in ("Cc", "Cs") else char


def tidy(value: Any, depth: int = 4) -> Any:
    """A structure from a server, of bounded size, with plain texts in it."""
    if isinstance(value, dict) and depth:
        return {plain(key, 64): tidy(one, depth - 1) for key, one in list(value.items())[:50]}
    if isinstance(value, list) and depth:
        return [tidy(one, depth - 1) for one in value[:50]]
    if value is None or isinstance(value, bool) or (isinstance(value, int | float) and abs(value) < 1e18):
        return value
    return "…" if isinstance(value, dict | list) else plain(value, 500)
