"""Whether the engine really answers. Its own /health says yes while every completion fails, so it is not asked."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time

from answers import Refused
from engine import Engine
from question import Question

#: Seconds for which an answer proves that it answers.
_FRESH = 5.0
#: Seconds that whoever asks waits, and after which an engine that was asked counts as hung.
_PATIENCE, _HUNG = 4.0, 60.0
#: Seconds for its models to be named, and for a token.
_NAMED, _ANSWERED = 30.0, 120.0
#: What an address says that the model has not: one that only embeds has no completions.
_NOT_SERVED = (400, 404, 405)


class _Slot:
    """What is known of one engine."""

    def __init__(self) -> None:
        self.asking: asyncio.Task[None] | None = None
        #: When it was first asked what it has not answered.
        self.asked = float("-inf")
        self.trouble = ""


class Health:
    """One question at a time, however many ask."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._slots: dict[str, _Slot] = {}

    async def look(self) -> None:
        """Refused (503): it does not answer, and why."""
        slot = self._engine.slot()
        one = self._slots.setdefault(slot, _Slot())
        if self._is_fresh(slot):
            return
        if one.asking is None or one.asking.done():
            if self._engine.answered[slot] >= one.asked:
                one.asked = time.monotonic()
            one.asking = asyncio.create_task(self._ask(slot, one))
        await asyncio.wait({one.asking}, timeout=_PATIENCE)
        if self._is_fresh(slot):
            return
        silent = time.monotonic() - max(one.asked, self._engine.answered[slot])
        if not one.asking.done() and silent < _HUNG:
            return  # others are before us in its queue
        raise Refused(503, "engine_unavailable", one.trouble or f"{self._engine.name} has not answered a question of "
                      f"one token for {silent:.0f} seconds.", 5)

    def _is_fresh(self, slot: str) -> bool:
        return time.monotonic() - self._engine.answered[slot] < _FRESH

    async def _ask(self, slot: str, one: _Slot) -> None:
        one.trouble = ""
        try:
            await self._probe(slot)
            self._engine.answered[slot] = time.monotonic()
        except Refused as wrong:
            one.trouble = wrong.message

    async def _probe(self, slot: str) -> None:
        """Let it write one token (or embed one). Refused: it cannot."""
        model = _first_model(await self._engine.text("/v1/models", slot, _NAMED))
        status, text = await self._answer(slot, "/v1/completions", {"model": model, "prompt": "a", "max_tokens": 1})
        if status in _NOT_SERVED:
            embedded = await self._answer(slot, "/v1/embeddings", {"model": model, "input": "a"})
            status, text = (status, text) if embedded[0] in _NOT_SERVED else embedded
        if status != 200:
            raise Refused(503, "engine_unavailable", f"{self._engine.name} answers {status} to a question of one "
                          f"token: {_first_words(text)}", 5)

    async def _answer(self, slot: str, path: str, asked: dict[str, object]) -> tuple[int, str]:
        return await self._engine.whole(Question("POST", path, json.dumps(asked).encode()), slot, _ANSWERED)


def _first_model(text: str) -> str:
    with contextlib.suppress(ValueError, TypeError, LookupError, RecursionError):
        return str(json.loads(text)["data"][0]["id"])
    raise Refused(503, "engine_unavailable", "The engine names no model.", 5)


def _first_words(text: str) -> str:
    with contextlib.suppress(ValueError, TypeError, LookupError, RecursionError):
        return str(json.loads(text)["error"]["message"])[:300]
    return text[:300]
