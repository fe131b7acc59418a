"""Sentences about a server as a whole."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from panel.link.ssh import Reason

_GIGABYTE = 1024 ** 3


def reached(figures: dict[str, Any]) -> str:
    """How the server is, from its figures; what is missing or not a number is left out."""
    parts = [part for part in (_load(figures), _share("memory", "memory_total", "memory_available", figures),
                               _share("disk", "disk_total", "disk_free", figures)) if part]
    text = "Reached" + (": " + ", ".join(parts) if parts else "") + "."
    return text + (" It wants a reboot, because of updates." if figures.get("reboot") is True else "")


def _load(figures: dict[str, Any]) -> str:
    load, cpus = figures.get("load"), figures.get("cpus")
    if not isinstance(load, list) or not load or not isinstance(load[0], int | float) or not isinstance(cpus, int):
        return ""
    return f"load {load[0]:.1f} on {cpus} CPU{'s' if cpus != 1 else ''}"


def _share(what: str, total: str, free: str, figures: dict[str, Any]) -> str:
    whole, left = figures.get(total), figures.get(free)
    if not isinstance(whole, int) or not isinstance(left, int) or whole <= 0:
        return ""
    return f"{what} {100 * (whole - left) / whole:.0f} % of {whole / _GIGABYTE:.1f} GB"


def unreachable(reason: Reason, since: datetime) -> str:
    """Of the server: since when, why, and what to do."""
    return f"Cannot be reached since {moment(since)}: {reason.cause}. {reason.advice}"


def unseen(server: str, reason: Reason, since: datetime) -> str:
    """Of a resource on it."""
    return f"Unknown since {moment(since)}, because {server} cannot be reached: {reason.cause}."


def moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"
