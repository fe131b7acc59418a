"""Questions to a model and measurements of it, on their way to a server: what may be asked, what may come back."""

from __future__ import annotations

import math
import re
from typing import Any, cast

from redis.asyncio import Redis

from panel.link import wire
from panel.link.client import LinkError
from panel.link.plain import plain
from panel.store.seal import unseal

_ROLES = ("system", "user", "assistant")
MOST_MESSAGES, MOST_CHARACTERS, MOST_TOKENS = 200, 500_000, 1_000_000
MOST_CLIENTS, MOST_LEVELS, MOST_SECONDS = 512, 12, 120
LEVELS = (1, 2, 4, 8, 16, 32)
#: What a terminal or a page must not get from a model: everything that is not text, lines and tabs.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_FIGURES = ("first_token", "seconds", "tokens_in", "tokens_out", "tokens_per_second", "clients", "requests", "failed",
            "first_token_p50", "first_token_p95", "between_p50", "between_p95")


async def taken(redis: Redis, stream: str) -> Any:
    """The question, which waits sealed in Redis. LinkError: it waits no more."""
    found = await redis.getdel(wire.asked_key(stream))
    if not found:
        raise LinkError("This question is not here any more. Ask again.", "invalid_question")
    return unseal(wire.asked_key(stream), str(found).encode())


def question(given: Any) -> dict[str, Any]:
    """messages, and where wanted temperature, top_p, max_tokens. LinkError (invalid_…): nobody can be asked so."""
    messages = given.get("messages") if isinstance(given, dict) else None
    if not isinstance(messages, list) or not 0 < len(messages) <= MOST_MESSAGES:
        raise LinkError(f"A chat has 1 to {MOST_MESSAGES} messages.", "invalid_messages")
    asked: dict[str, Any] = {"messages": [_message(one) for one in messages]}
    if sum(len(one["content"]) for one in asked["messages"]) > MOST_CHARACTERS:
        raise LinkError(f"A chat may have {MOST_CHARACTERS} characters here. Begin a new one.", "invalid_messages")
    for key, low, high in (("temperature", 0.0, 2.0), ("top_p", 0.01, 1.0)):
        if given.get(key) is not None:
            asked[key] = _between(given[key], key, low, high)
    if given.get("max_tokens") is not None:
        asked["max_tokens"] = whole(given["max_tokens"], "max_tokens", 1, MOST_TOKENS)
    return asked


def _message(given: Any) -> dict[str, str]:
    if not isinstance(given, dict) or given.get("role") not in _ROLES or not isinstance(given.get("content"), str):
        raise LinkError(f"A message has a role ({', '.join(_ROLES)}) and a content, which is text.", "invalid_messages")
    return {"role": given["role"], "content": given["content"]}


def _between(value: Any, name: str, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise LinkError(f"{name} is a number from {low:g} to {high:g}.", f"invalid_{name}")
    return float(value)


def whole(value: Any, name: str, low: int, high: int) -> int:
    """A whole number within bounds. LinkError (invalid_NAME)."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise LinkError(f"{name} is a whole number from {low} to {high}.", f"invalid_{name}")
    return value


def measurement(given: dict[str, Any]) -> dict[str, Any]:
    """levels (clients at a time), seconds for each, tokens_in, tokens_out. LinkError (invalid_…)."""
    levels = given.get("levels") or list(LEVELS)
    if not isinstance(levels, list) or len(levels) > MOST_LEVELS:
        raise LinkError(f"Measure at up to {MOST_LEVELS} levels.", "invalid_levels")
    return {"levels": [whole(one, "levels", 1, MOST_CLIENTS) for one in levels],
            "seconds": whole(given.get("seconds", 10), "seconds", 1, MOST_SECONDS),
            "tokens_in": whole(given.get("tokens_in", 64), "tokens_in", 1, 100_000),
            "tokens_out": whole(given.get("tokens_out", 64), "tokens_out", 1, 100_000)}


def piece(told: Any) -> list[Any]:
    """One piece of an answer as its reader gets it; it comes from a model, so it is looked at."""
    kind, value = told if isinstance(told, list) and len(told) == 2 else ("", "")
    if kind in ("done", "row") and isinstance(value, dict):
        return [kind, figures(cast(dict[str, Any], value))]
    if kind == "note":
        return ["note", plain(value, 500)]
    text = value if isinstance(value, str) else ""
    return ["thought" if kind == "thought" else "text", _CONTROL.sub("", text)[:wire.LINE_CHARACTERS]]


def figures(told: dict[str, Any]) -> dict[str, Any]:
    """What is not known is None."""
    found: dict[str, Any] = {key: _number(told[key]) for key in _FIGURES if key in told}
    found.update({key: plain(told[key], 300) for key in ("reason", "why") if told.get(key)})
    return found


def in_words(told: dict[str, Any]) -> str:
    """first token 120 ms · 35.2 tokens/s · 20 tokens read, 64 written · stopped at the longest answer"""
    rate = told.get("tokens_per_second")
    parts = [f"first token {seconds(told['first_token'])}" if told.get("first_token") is not None else "",
             f"{rate:,.1f} tokens/s" if rate is not None else "",
             f"{_count(told.get('tokens_in'))} tokens read, {_count(told.get('tokens_out'))} written",
             "stopped at the longest answer" if told.get("reason") == "length" else ""]
    return " · ".join(part for part in parts if part)


def seconds(value: float | None) -> str:
    return "" if value is None else f"{value * 1000:.0f} ms" if value < 10 else f"{value:.1f} s"


def _count(value: Any) -> str:
    return "?" if value is None else f"{value:,.0f}"


def _number(value: Any) -> float | int | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number and math.isfinite(value) and 0 <= value < 1e12 else None
