"""Whether the engine really answers. Its own /health says yes while every completion fails, so it is not asked."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time

from answers import Refused
from engine import Engine, Question

#: Seconds for which an answer proves that it answers.
_FRESH = 5.0
#: Seconds that whoever asks waits, and after which an engine that was asked counts as hung.
_PATIENCE, _HUNG = 4.0, 60.0


class Health:
    """One question at a time, however many ask."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._asking: asyncio.Task[None] | None = None
        self._asked = 0.0
        self._trouble = ""

    async def look(self) -> None:
        """Refused (503): it does not answer, and why."""
        self._engine.slot()  # what was stopped a moment ago has answered a moment ago
        if self._is_fresh():
            return
        if self._asking is None or self._asking.done():
            self._asked = time.monotonic()
            self._asking = asyncio.create_task(self._ask())
        await asyncio.wait({self._asking}, timeout=_PATIENCE)
        if self._is_fresh():
            return
        if not self._asking.done() and time.monotonic() - self._asked < _HUNG:
            return  # others are before us in its queue
        raise Refused(503, "engine_unavailable", self._trouble or f"{self._engine.name} has not answered a question of "
                      f"one token for {_HUNG:.0f} seconds.", 5)

    def _is_fresh(self) -> bool:
        return time.monotonic() - self._engine.answered < _FRESH

    async def _ask(self) -> None:
        self._trouble = ""
        try:
            await self.probe(self._engine.slot())
            self._engine.answered = time.monotonic()
        except Refused as wrong:
            self._trouble = wrong.message

    async def probe(self, slot: str, seconds: float = 120) -> None:
        """Let it write one token (or embed one). Refused: it cannot."""
        models = json.loads(await self._engine.text("/v1/models", slot))
        model = models["data"][0]["id"]
        for path, body in (("/v1/completions", {"model": model, "prompt": "a", "max_tokens": 1}),
                           ("/v1/embeddings", {"model": model, "input": "a"})):
            answer = await self._engine.ask(Question("POST", path, json.dumps(body).encode()), slot, seconds)
            async with answer:
                text = await answer.text()
                if answer.status == 200:
                    return
                if answer.status not in (400, 404, 405):
                    break  # a model that only embeds has no completions, and says so
        raise Refused(503, "engine_unavailable", f"{self._engine.name} answers {answer.status} to a question of one "
                      f"token: {_first_words(text)}", 5)


def _first_words(text: str) -> str:
    with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError):
        return str(json.loads(text)["error"]["message"])[:300]
    return text[:300]
