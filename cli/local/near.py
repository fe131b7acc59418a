"""A command on a server straight over ssh, for --local."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

from cli.local.conversation import Conversation
from panel.link import terminals


class NearLine:
    """As `cli.far.FarLine`."""

    def __init__(self, conversation: Conversation, name: str, wanted: dict[str, Any]) -> None:
        self._conversation = conversation
        self._name = name
        self._wanted = terminals.wanted({**wanted, "argv": wanted["command"]})

    def shown(self) -> Iterator[list[Any]]:
        return self._conversation.ask("terminal", name=self._name, **self._wanted)

    def type(self, data: bytes) -> None:
        self._conversation.say("type", data=base64.b64encode(data).decode())

    def end_of_input(self) -> None:
        self._conversation.say("type")

    def resize(self, columns: int, rows: int) -> None:
        self._conversation.say("resize", columns=columns, rows=rows)

    def close(self) -> None:
        self._conversation.close()
