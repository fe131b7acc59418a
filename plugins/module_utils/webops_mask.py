"""Secrets in texts that leave a server or are stored: found in the forms in which they turn up, and masked.

What people typed, the panel knows. What the roles made on a server (the secret key of an app, the password of its
database) stands there alone, in the app's bindings; so it is masked there, by modules and by the link's program.
Standard library, Python 3.9 and newer: the panel and the link use this file as panel.link.remote.mask.
"""

from __future__ import annotations

import functools
import json
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus, unquote, urlsplit

MASK = "********"
#: Shorter ones are not searched for: masking every "yes" would hide the text and not the secret.
_SHORTEST = 4
_SHORTEST_LINE = 8
_ROOT = "/srv/webops"
#: Parts of a database's address by the ends of their names (webops_bindings): none of them is a secret.
_OPEN_PARTS = ("HOST", "PORT", "NAME", "DATABASE", "DB", "USER")


class Search:
    """Finds some secrets in texts: as they are, escaped once and twice, line by line."""

    def __init__(self, secrets: Iterable[str]) -> None:
        forms = {form for secret in secrets for form in _forms(secret)}
        longest_first = sorted(forms, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first))) if forms else None

    def mask(self, text: str) -> str:
        return self._pattern.sub(MASK, text) if self._pattern else text


def bound(name: str, root: str = _ROOT) -> Search:
    """For the secrets in the bindings of an app, as they are in this moment; of a resource without any, for none."""
    path = Path(root, name, "env", "bindings.json")
    try:
        found = path.lstat()
    except OSError:
        return _NONE
    return _bound(path, found.st_ino, found.st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _bound(path: Path, _number: int, _changed: int) -> Search:
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), encoding="utf-8") as file:
            return Search(_secrets(json.load(file)))
    except (OSError, ValueError):
        return _NONE


def _secrets(bindings: Any) -> Iterator[str]:
    for name, value in bindings.items() if isinstance(bindings, dict) else ():
        if "://" in str(value):
            password = urlsplit(str(value)).password or ""
            yield from (password, unquote(password))
        elif not name.endswith(_OPEN_PARTS):
            yield str(value)


def _forms(secret: str) -> Iterator[str]:
    if len(secret.strip()) < _SHORTEST:
        return
    parts = [secret, secret.strip()]
    parts += [line.strip() for line in secret.splitlines() if len(line.strip()) >= _SHORTEST_LINE]
    for part in parts:
        yield part
        yield quote(part, safe="")
        yield quote_plus(part)
        yield repr(part)[1:-1]
        yield part.replace("'", "'\"'\"'")
        for ascii_only in (True, False):
            once = json.dumps(part, ensure_ascii=ascii_only)[1:-1]
            yield once
            yield json.dumps(once, ensure_ascii=ascii_only)[1:-1]


_NONE = Search(())
