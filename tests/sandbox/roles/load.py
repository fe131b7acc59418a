"""Visitors over HTTPS or HTTP, 50 requests a second in all, by hey (https://github.com/rakyll/hey)."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from collections import Counter
from types import TracebackType

#: Each sort of visitor: how often one of the five asks in a second, and what makes hey one. Kept connections ask once
#: more where the server closed an idle one, as browsers do; new connections never ask twice.
SORTS = {"new connections": ["-q", "4", "-disable-keepalive"], "kept connections": ["-q", "3"],
         "HTTP/2": ["-q", "3", "-h2"]}
VISITORS = 5
_LINE = re.compile(r"^\s+\[(.+?)\]\s+(.*)$", re.M)


class Load:
    """`with Load(address, domain) as load:` sends requests until the block ends.

    Afterwards `load.answers` counts, by sort, the statuses and the words of errors; `load.failed` those that are not
    200.
    """

    def __init__(self, address: str, domain: str, scheme: str = "https") -> None:
        self.answers: Counter[tuple[str, str]] = Counter()
        self.slowest = 0.0
        self._address = f"{scheme}://{address}/"
        self._domain = domain
        self._running: dict[str, subprocess.Popen[str]] = {}

    def __enter__(self) -> Load:
        for sort, options in SORTS.items():
            self._running[sort] = subprocess.Popen(
                ["hey", "-z", "1h", "-c", str(VISITORS), "-disable-redirects", "-host", self._domain,
                 *options, self._address], stdout=subprocess.PIPE, text=True)
        time.sleep(1)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        time.sleep(1)
        for process in self._running.values():
            process.send_signal(signal.SIGINT)
        for sort, process in self._running.items():
            self._read(sort, process.communicate(timeout=60)[0])
        self._running = {}

    @property
    def total(self) -> int:
        return sum(self.answers.values())

    @property
    def failed(self) -> dict[tuple[str, str], int]:
        return {answer: count for answer, count in self.answers.items() if answer[1] != "200"}

    def _read(self, sort: str, told: str) -> None:
        """hey's summary: `[200] 512 responses`, and `[3] Get "https://…": EOF` for errors."""
        statuses, _, errors = told.partition("Status code distribution:")[2].partition("Error distribution:")
        for status, words in _LINE.findall(statuses):
            self.answers[sort, status] += int(words.split()[0])
        for count, words in _LINE.findall(errors):
            self.answers[sort, words] += int(count)
        assert any(known == sort for known, _ in self.answers), told
        slowest = re.search(r"Slowest:\s+([\d.]+) secs", told)
        self.slowest = max(self.slowest, float(slowest[1]) if slowest else 0.0)
