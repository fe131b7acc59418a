"""A command on a server through a panel: a stream of what it shows, a request for each piece that is typed."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Iterator
from typing import Any

from cli.exits import Stop
from cli.panel import Gone, Panel, part


class FarLine:
    """Opened by being made. Stop: it cannot be, and why."""

    def __init__(self, panel: Panel, name: str, wanted: dict[str, Any]) -> None:
        self._panel = panel
        # What is typed goes its own way: one connection cannot read and ask at the same time.
        self._typing = panel.another()
        self._path = f"/terminals/{panel.post(f'/resources/{part(name)}/terminals', wanted)['terminal']}"
        self._number = 0

    def shown(self) -> Iterator[list[Any]]:
        with contextlib.suppress(Gone):
            for line in self._panel.lines(f"{self._path}/output"):
                if line:
                    yield json.loads(line)

    def type(self, data: bytes) -> None:
        self._send(data=base64.b64encode(data).decode())

    def end_of_input(self) -> None:
        self._send()

    def resize(self, columns: int, rows: int) -> None:
        self._send(columns=columns, rows=rows)

    def close(self) -> None:
        with contextlib.suppress(Stop):
            self._typing.delete(self._path)

    def _send(self, **pressed: Any) -> None:
        self._number += 1
        with contextlib.suppress(Stop):  # it has just ended; the other stream says how
            self._typing.post(f"{self._path}/input", {"number": self._number, **pressed})
