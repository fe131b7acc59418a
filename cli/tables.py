"""Lists in a terminal: aligned columns, cut to nothing, the same text in a pipe."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import click

from cli.progress import clean

#: What was seen, or a run's state -> shape and colour.
LOOKS = {
    "ok": ("●", "green"), "succeeded": ("●", "green"), "stopped": ("■", "yellow"), "canceled": ("■", "yellow"),
    "failed": ("▲", "red"), "missing": ("▲", "red"), "lost": ("▲", "red"), "unreachable": ("▲", "red"),
    "unknown": ("○", None),
    "queued": ("○", "cyan"), "running": ("○", "cyan"), "in sync": ("●", "green"), "drifted": ("■", "yellow"),
    "check failed": ("▲", "red"), "ready": ("●", "green"), "new": ("○", "cyan"), "applied": ("●", "green"),
    "live": ("●", "green"), "expired": ("■", "yellow"), "refused": ("▲", "red"),
}


def state(name: str) -> str:
    shape, colour = LOOKS.get(name, ("○", None))
    return click.style(f"{shape} {name}", fg=colour) if colour else f"{shape} {name}"


def table(head: Sequence[str], rows: Iterable[Sequence[Any]], nothing: str) -> None:
    """Print rows below their heads, or `nothing` where there are none."""
    cells = [[clean_cell(cell) for cell in row] for row in rows]
    if not cells:
        click.echo(nothing)
        return
    widths = [max(len(click.unstyle(row[place])) for row in [list(head), *cells]) for place in range(len(head))]
    click.secho("  ".join(name.ljust(width) for name, width in zip(head, widths, strict=True)).rstrip(), dim=True)
    for row in cells:
        padded = (cell + " " * (width - len(click.unstyle(cell))) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(padded).rstrip())


def clean_cell(cell: Any) -> str:
    """Text of a server loses its control characters; our own colours stay."""
    text = "" if cell is None else str(cell)
    return text if text.startswith("\x1b[") else clean(text).replace("\n", " ")


def facts(rows: Iterable[tuple[str, Any]]) -> None:
    """Name: value lines, aligned; what has no value is left out."""
    shown = [(name, clean_cell(value)) for name, value in rows if value not in (None, "", [], {})]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        click.echo(f"{name.ljust(width)}  {value}")


def ago(text: str | None) -> str:
    """2026-11-02T10:00:00Z as '3 min ago'."""
    if not text:
        return ""
    seconds = (datetime.now(UTC) - datetime.fromisoformat(text)).total_seconds()
    for size, word in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {word} ago"
    return "just now"


def as_json(data: Any) -> None:
    click.echo(json.dumps(data, indent=2, ensure_ascii=False))


def where(resource: dict[str, Any]) -> str:
    """What a resource lives on: web1, or web (3 servers)."""
    if resource.get("group"):
        return f"{resource['group']} ({len(resource['places'])} servers)"
    return str(resource["server"])
