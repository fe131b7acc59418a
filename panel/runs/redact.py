"""Makes text fit to be stored and shown: no secret, no control character, no flood."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from panel.link.remote.mask import MASK as MASK
from panel.link.remote.mask import Search

#: A field longer than this (in bytes) keeps its beginning and its end.
FIELD_LIMIT = 64 * 1024
_SGR = r"\x1b\[[0-9;]*m"
_CONTROL = re.compile(
    rf"({_SGR})"                                   # colours stay
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?"         # titles and links of a terminal
    r"|\x1b[PX^_][^\x1b]*(?:\x1b\\)?"              # device strings
    r"|\x1b\[[0-?]*[ -/]*[@-~]?|\x9b[0-?]*[ -/]*[@-~]?|\x1b[ -~]?"
    r"|[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def texts(value: Any) -> Iterator[str]:
    """The secret texts in a secret value: of a {name, value} item only the value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        parts = [value["value"]] if set(value) == {"name", "value"} else value.values()
        for one in parts:
            yield from texts(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from texts(one)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield str(value)


class Redactor:
    """Masks secrets, and takes out what a terminal would obey."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._mask = Search(secrets).mask

    def text(self, text: str) -> str:
        """`text` without secrets and without control characters other than newline, tab and colours."""
        masked = self._mask(text)
        clean = _CONTROL.sub(lambda found: found.group(1) or "", masked.replace("\r\n", "\n").replace("\r", "\n"))
        return clean if clean == masked else self._mask(clean)

    def value(self, value: Any) -> Any:
        """The same, for every text in a value, keys included."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(str(key)): self.value(one) for key, one in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(one) for one in value]
        return value


class Cutter:
    """Cuts what is too long out of the texts of one event, and counts the bytes that were left out."""

    def __init__(self) -> None:
        self.left_out = 0
        self._room = 4 * FIELD_LIMIT

    def value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, dict):
            return {key: self.value(one) for key, one in value.items()}
        if isinstance(value, list):
            return [self.value(one) for one in value]
        return value

    def _text(self, text: str) -> str:
        limit = min(FIELD_LIMIT, max(self._room, 1024))
        raw = text.encode()
        self._room -= min(len(raw), limit)
        if len(raw) <= limit:
            return text
        head, tail = raw[:limit // 2].decode(errors="ignore"), raw[-limit // 2:].decode(errors="ignore")
        left_out = len(raw) - len(head.encode()) - len(tail.encode())
        self.left_out += left_out
        return f"{head}\n[… {left_out:,} bytes left out …]\n{tail}"
