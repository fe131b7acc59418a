"""Files that others write while the gate runs: keys and settings. A change holds from the next request on."""

from __future__ import annotations

import hmac
import json
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")

_MOST_BYTES = 1024 * 1024
_MOST_KEYS = 1000
_DIGEST = re.compile(r"[0-9a-f]{64}")


class Watched(Generic[T]):
    """What a file holds. One that cannot be used changes nothing: what was good before holds, and `problem` says why.

    Looked at for every request: one question to the kernel, and the file is read only when it is another one.
    """

    def __init__(self, path: str, read: Callable[[Any], T]) -> None:
        self.path, self._read = path, read
        self.problem = ""
        self._seen: tuple[int, ...] | None = None
        self._value: T | None = None

    @property
    def value(self) -> T | None:
        """None: it never could be used."""
        try:
            status = os.stat(self.path)
            seen = (status.st_mtime_ns, status.st_ino, status.st_size)
        except OSError as wrong:
            self._say(f"{self.path} cannot be read: {wrong.strerror}")
            self._seen = None
            return self._value
        if seen != self._seen:
            self._seen = seen
            self._look(status.st_size)
        return self._value

    def _look(self, size: int) -> None:
        try:
            if size > _MOST_BYTES:
                raise ValueError(f"it is larger than {_MOST_BYTES} bytes")
            with open(self.path, "rb") as file:
                self._value = self._read(json.loads(file.read()))
            self._say("")
        except OSError as wrong:
            self._seen = None  # it may be good, and is looked at again
            self._say(f"{self.path} cannot be read: {wrong.strerror}")
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as wrong:
            self._say(f"{self.path} cannot be used: {wrong}")

    def _say(self, problem: str) -> None:
        if problem and problem != self.problem:
            held = "what it held before still holds" if self._value is not None else "what it says is not known"
            print(f"{problem}; {held}.", file=sys.stderr, flush=True)
        self.problem = problem


@dataclass(frozen=True)
class Key:
    """What a client may; 0: as much as it likes."""

    name: str
    digest: str
    requests_per_minute: int = 0
    tokens_per_minute: int = 0


@dataclass(frozen=True)
class Settings:
    max_body: int = 4 * 1024 * 1024
    request_timeout: int = 600
    origins: tuple[str, ...] = ()


#: Who comes through the desk: webops-deploy, for the panel and the command line.
WEBOPS = Key("webops", "webops")


def keys(found: Any) -> list[Key]:
    """The keys of a file. ValueError, KeyError, TypeError: it is no list of keys."""
    if len(found["keys"]) > _MOST_KEYS:
        raise ValueError(f"it holds more than {_MOST_KEYS} keys")
    return [_key(one) for one in found["keys"]]


def _key(found: Any) -> Key:
    name, digest = found["name"], found["sha256"]
    if not isinstance(name, str) or not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise ValueError("a key in it has no name or no digest")
    return Key(name, digest, _count(found.get("requests_per_minute")), _count(found.get("tokens_per_minute")))


def _count(value: Any) -> int:
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError("a limit in it is no number")
    return value


def settings(found: Any) -> Settings:
    """The settings of a file; what is missing has its usual value."""
    origins = tuple(str(one) for one in found.get("origins") or ())
    return Settings(_count(found.get("max_body")) or Settings.max_body,
                    _count(found.get("request_timeout")) or Settings.request_timeout, origins)


def match(known: list[Key], digest: str) -> Key | None:
    """The key with this digest. All are compared, each in the same time: how long it takes tells nothing."""
    found = None
    for one in known:
        if hmac.compare_digest(one.digest, digest):
            found = one
    return found
