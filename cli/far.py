"""What runs on a server, through a panel: a command in a terminal, and what a resource offers beside its actions."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Iterator
from typing import Any

from cli.exits import Exit, Stop
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


class FarDesk:
    """Keys, chat and measurements of a resource, through the panel's API."""

    def __init__(self, panel: Panel, name: str) -> None:
        self._panel = panel
        self._path = f"/resources/{part(name)}"

    def keys(self) -> dict[str, Any]:
        return dict(self._panel.get(f"{self._path}/api-keys"))

    def add_key(self, given: dict[str, Any]) -> dict[str, Any]:
        return dict(self._panel.post(f"{self._path}/api-keys", given))

    def revoke_key(self, key: str) -> None:
        self._panel.delete(f"{self._path}/api-keys/{part(key)}")

    def spread_keys(self) -> int:
        return int(self._panel.post(f"{self._path}/api-keys/copies")["copied"])

    def chat(self, asked: dict[str, Any]) -> Iterator[tuple[str, Any]]:
        return self._pieces("chat", asked)

    def measure(self, wanted: dict[str, Any]) -> Iterator[tuple[str, Any]]:
        return self._pieces("measurements", wanted)

    def _pieces(self, what: str, asked: dict[str, Any]) -> Iterator[tuple[str, Any]]:
        with contextlib.suppress(Gone):  # whoever reads misses the end, and says so
            for kind, value in self._panel.events(f"{self._path}/{what}", body=asked):
                if kind == "error":
                    raise Stop(str(value), Exit.FAILED)
                yield kind, value
