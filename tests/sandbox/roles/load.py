"""A steady stream of requests over HTTPS, each on a connection of its own, with the failures counted."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
from collections import Counter
from types import TracebackType


class Load:
    """`with Load(address, domain, "/") as load:` sends `rate` requests a second until the block ends.

    Afterwards `load.answers` counts statuses and names of errors; `load.failed` those that are not 200.
    """

    def __init__(self, address: str, domain: str, path: str = "/", rate: int = 50, workers: int = 16) -> None:
        self.address, self.domain, self.path, self.rate = address, domain, path, rate
        self.answers: Counter[str] = Counter()
        self.slowest = 0.0
        self._context = ssl._create_unverified_context()
        self._stop = threading.Event()
        self._turn = threading.Lock()
        self._next = time.monotonic()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(workers)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        time.sleep(1)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        time.sleep(1)
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    @property
    def total(self) -> int:
        return sum(self.answers.values())

    @property
    def failed(self) -> dict[str, int]:
        return {answer: count for answer, count in self.answers.items() if answer != "200"}

    def _work(self) -> None:
        while not self._stop.is_set():
            with self._turn:
                moment = self._next = max(self._next + 1 / self.rate, time.monotonic() - 0.5)
            time.sleep(max(0.0, moment - time.monotonic()))
            began = time.monotonic()
            answer = self.ask()
            with self._turn:
                self.answers[answer] += 1
                self.slowest = max(self.slowest, time.monotonic() - began)

    def ask(self) -> str:
        """Status of one request, or what went wrong."""
        try:
            with socket.create_connection((self.address, 443), timeout=20) as plain, \
                    self._context.wrap_socket(plain, server_hostname=self.domain) as secure:
                secure.sendall(f"GET {self.path} HTTP/1.1\r\nHost: {self.domain}\r\nConnection: close\r\n\r\n".encode())
                answer = http.client.HTTPResponse(secure)
                answer.begin()
                answer.read()
                return str(answer.status)
        except (OSError, http.client.HTTPException) as error:
            return f"{type(error).__name__}: {error}"
