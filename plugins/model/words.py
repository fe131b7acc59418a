"""Figures as people read them."""

from __future__ import annotations

GIB = 1 << 30


def size(count: float) -> str:
    """Bytes in GiB, as vLLM and nvidia-smi count; small ones in MiB."""
    return f"{count / GIB:,.1f} GiB" if count >= 0.95 * GIB else f"{count / (1 << 20):,.0f} MiB"


def tokens(count: int) -> str:
    return f"{count:,}"


def either(choices: list[str]) -> str:
    """a, b or c"""
    return ", ".join(choices[:-1]) + (" or " if choices[1:] else "") + choices[-1]
