"""What each key has used and may still use, kept over a restart."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from answers import Refused
from watched import WEBOPS, Key

Clock = Callable[[], float]


#: Minutes that refill what a key owes at the most: nobody is locked out for longer.
_MOST_OWED = 10


class Bucket:
    """A minute's worth, refilled all the time: who was quiet may use it at once, and then as fast as it refills.

    It may be overdrawn, because what an answer costs is known at its end; what is owed is refilled first.
    """

    def __init__(self, level: float | None = None, at: float = 0.0) -> None:
        #: None: full.
        self.level, self.at = level, at

    def left(self, per_minute: int, now: float) -> float:
        # A clock that was set back refills nothing, and forgets nothing.
        passed = max(0.0, now - self.at)
        full = float(per_minute)
        level = full if self.level is None else max(self.level, -_MOST_OWED * full)
        self.level = min(full, level + passed * per_minute / 60)
        self.at = now
        return self.level

    def take(self, amount: float) -> None:
        if self.level is not None:
            self.level -= amount


@dataclass
class Use:
    """Figures of one key since it was made."""

    name: str
    requests: int = 0
    refused: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    last_used: float | None = None


class Account:
    """One key: its figures and what it may still use."""

    def __init__(self, use: Use, requests: Bucket | None = None, tokens: Bucket | None = None) -> None:
        self.use = use
        self.requests, self.tokens = requests or Bucket(), tokens or Bucket()
        self._limit = 0

    def admit(self, key: Key, most: int, now: float) -> int:
        """Count a request, and set tokens aside for it: what it may cost, at most what a minute has; how many.

        Refused (429): the key has used what it may for now.
        """
        self.use.name, self.use.last_used, self._limit = key.name, now, key.tokens_per_minute
        aside = min(max(1, most), self._limit)
        waits = [_wait(self.requests, key.requests_per_minute, 1, now, "requests"),
                 _wait(self.tokens, self._limit, aside, now, "tokens")]
        seconds, what, limit = max(waits)
        if seconds > 0:
            self.use.refused += 1
            raise Refused(429, "rate_limit_exceeded", f"The key '{key.name}' may use {limit} {what} per minute, and "
                          f"too few are left. Try again in {math.ceil(seconds)} seconds.", max(1, math.ceil(seconds)))
        self.use.requests += 1
        if key.requests_per_minute:
            self.requests.take(1)
        self.tokens.take(aside)
        return aside

    def charge(self, aside: int, tokens_in: int, tokens_out: int, now: float) -> None:
        """What an answer cost, for which so many tokens were set aside."""
        self.use.tokens_in += tokens_in
        self.use.tokens_out += tokens_out
        if self._limit:
            self.tokens.left(self._limit, now)
            self.tokens.take(tokens_in + tokens_out - aside)


def _wait(bucket: Bucket, per_minute: int, wanted: float, now: float, what: str) -> tuple[float, str, int]:
    """Seconds until so much is there again; 0 where there is no limit."""
    if not per_minute:
        return 0.0, what, 0
    return max(0.0, (wanted - bucket.left(per_minute, now)) * 60 / per_minute), what, per_minute


class Accounts:
    """All of them, by digest of the key: a new key of an old name begins anew."""

    def __init__(self, path: str, clock: Clock = time.time) -> None:
        self._path, self._clock = path, clock
        self._all: dict[str, Account] = {}
        self._saved = ""
        self._load()

    def of(self, key: Key) -> Account:
        if key.digest not in self._all:
            self._all[key.digest] = Account(Use(key.name))
        return self._all[key.digest]

    def now(self) -> float:
        return self._clock()

    def shown(self, known: list[Key]) -> dict[str, dict[str, Any]]:
        """Figures by name, of the keys that there are."""
        return {key.name: asdict(self.of(key).use) | {"requests_per_minute": key.requests_per_minute,
                                                      "tokens_per_minute": key.tokens_per_minute} for key in known}

    def save(self, known: list[Key] | None) -> None:
        """Write down what changed; keys that are gone are forgotten. None: nobody knows which there are."""
        if known is not None:
            there = {WEBOPS.digest, *(key.digest for key in known)}
            self._all = {digest: one for digest, one in self._all.items() if digest in there}
        text = json.dumps({digest: {"use": asdict(one.use), "requests": [one.requests.level, one.requests.at],
                                    "tokens": [one.tokens.level, one.tokens.at]} for digest, one in self._all.items()})
        if text == self._saved:
            return
        try:
            with open(f"{self._path}.new", "w", encoding="utf-8") as file:
                file.write(text)
            os.replace(f"{self._path}.new", self._path)
            self._saved = text
        except OSError as wrong:  # a full disk must not stop who is served
            print(f"{self._path} cannot be written: {wrong.strerror}", file=sys.stderr, flush=True)

    def _load(self) -> None:
        # Figures that cannot be read begin anew: they guard nothing.
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
            with open(self._path, encoding="utf-8") as file:
                found = json.load(file)
            self._all = {digest: Account(Use(**one["use"]), Bucket(*one["requests"]), Bucket(*one["tokens"]))
                         for digest, one in found.items()}
