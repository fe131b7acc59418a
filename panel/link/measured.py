"""What a desk says of its figures, as it may be stored and shown: bounded, plain, of the right types."""

from __future__ import annotations

import math
from typing import Any

from panel.link.plain import plain

_NUMBERS = ("running", "waiting", "kv_cache", "prompt_tokens", "generation_tokens", "answered")
_HISTOGRAMS = ("first_token", "next_token")
_USE = ("requests", "refused", "tokens_in", "tokens_out", "last_used")
_CARD = ("index", "memory_used", "memory_total", "busy")
_MOST_KEYS, _MOST_BUCKETS, _MOST_CARDS = 1000, 60, 32


def figures(told: Any) -> dict[str, Any] | None:
    """engine, keys, gpus; what is not known is None, and None where nothing is."""
    if not isinstance(told, dict):
        return None
    engine, keys, gpus = told.get("engine"), told.get("keys"), told.get("gpus")
    found = {
        "engine": _engine(engine) if isinstance(engine, dict) else None,
        "keys": {plain(name, 64): {key: _number(use.get(key)) for key in _USE}
                 for name, use in list(keys.items())[:_MOST_KEYS] if isinstance(use, dict)}
        if isinstance(keys, dict) else None,
        "gpus": [_card(one) for one in gpus[:_MOST_CARDS] if isinstance(one, dict)] if isinstance(gpus, list) else None,
        "problem": plain(told.get("problem") or "", 300)}
    return found if any(found[key] is not None for key in ("engine", "keys", "gpus")) else None


def _engine(told: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {key: number for key in _NUMBERS if (number := _number(told.get(key))) is not None}
    return found | {key: _buckets(told[key]) for key in _HISTOGRAMS if isinstance(told.get(key), list)}


def _buckets(told: list[Any]) -> list[list[float | None]]:
    """[upper bound (None: none), how many up to it], from the smallest on."""
    pairs = [one for one in told[:_MOST_BUCKETS] if isinstance(one, list) and len(one) == 2]
    return [[_number(bound), _number(count) or 0.0] for bound, count in pairs]


def _card(told: dict[str, Any]) -> dict[str, Any]:
    return {"name": plain(told.get("name") or "", 100), **{key: _number(told.get(key)) for key in _CARD}}


def _number(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number and math.isfinite(value) and 0 <= value < 1e18 else None
