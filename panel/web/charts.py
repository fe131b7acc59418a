"""Small charts, drawn here: lines over time as SVG, with the figures that they show in words beside them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from panel.runs.figures import Point

WIDTH, HEIGHT = 240, 56
_MOST_KEYS = 5
#: How a line looks; the first is the one that counts most.
TONES = ("first", "second", "third", "fourth", "fifth")


class Line(NamedTuple):
    """`path`: what an SVG path draws; "" where nothing is known. `now` and `tone` for people."""

    label: str
    tone: str
    path: str
    now: str


@dataclass(frozen=True)
class Chart:
    title: str
    lines: list[Line]
    #: The upper end of the scale, in words; "": nothing is known.
    most: str
    since: datetime
    until: datetime

    @property
    def words(self) -> str:
        """What somebody hears who does not see it."""
        told = ", ".join(f"{one.label or 'now'} {one.now}" for one in self.lines)
        return f"{self.title}: {told}; the scale ends at {self.most}" if self.most else f"{self.title}: not known"


Show = Callable[[float], str]
Read = Callable[[Point], float | None]


def of(points: Sequence[Point], span: timedelta, until: datetime) -> list[Chart]:
    """All charts of the time before `until`, which is now; one of which nothing is known says so."""
    plot = Plot(points, span, until)
    return [
        plot.chart("Tokens per second", _rate, [("written", lambda one: one.tokens_per_second),
                                                ("read", lambda one: one.prompt_tokens_per_second)]),
        plot.chart("Time to first token", _seconds, [("half within", lambda one: one.first_token_p50),
                                                     ("95 % within", lambda one: one.first_token_p95)]),
        plot.chart("Open requests", _count, [("being answered", lambda one: one.running),
                                             ("waiting", lambda one: one.waiting)]),
        plot.chart("KV cache in use", _share, [("", lambda one: one.kv_cache)], top=1.0),
        plot.chart("GPU", _share, [("memory", lambda one: one.gpu_memory),
                                   ("busy", _busy)], top=1.0),
        plot.chart("Requests per minute by key", _rate, [(key, _of_key(key)) for key in _busiest(points)])]


def _busy(one: Point) -> float | None:
    return None if one.gpu_busy is None else one.gpu_busy / 100


def _of_key(key: str) -> Read:
    return lambda one: (one.keys or {}).get(key)


def _busiest(points: Sequence[Point]) -> list[str]:
    """The keys that asked most."""
    total: dict[str, float] = {}
    for one in points:
        for key, value in (one.keys or {}).items():
            total[key] = total.get(key, 0.0) + value
    return sorted(total, key=lambda key: (-total[key], key))[:_MOST_KEYS]


class Plot:
    """Points of some time, drawn into one frame."""

    def __init__(self, points: Sequence[Point], span: timedelta, until: datetime) -> None:
        self._points = points
        self._until = until
        self._span = span

    def chart(self, title: str, show: Show, wanted: Sequence[tuple[str, Read]], top: float = 0.0) -> Chart:
        known = [value for _, read in wanted for one in self._points if (value := read(one)) is not None]
        most = max([top, *known]) or 1.0
        lines = [Line(label, TONES[number], self._path(read, most), self._now(read, show))
                 for number, (label, read) in enumerate(wanted)]
        return Chart(title, lines, show(most) if known else "", self._until - self._span, self._until)

    def _now(self, read: Read, show: Show) -> str:
        value = read(self._points[-1]) if self._points else None
        if value is None and self._points and self._points[-1].running is not None and show is _seconds:
            return "no request"  # the engine told its figures, and nothing was asked since the look before
        return "unknown" if value is None else show(value)

    def _path(self, read: Read, most: float) -> str:
        """A line per stretch without a gap."""
        drawn, pen = [], "M"
        for one in self._points:
            value = read(one)
            if value is None:
                pen = "M"
                continue
            left = WIDTH * (1 - (self._until - one.at) / self._span)
            drawn.append(f"{pen}{max(0.0, left):.1f} {HEIGHT * (1 - value / most):.1f}")
            pen = "L"
        return "".join(drawn)


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 9.95 else f"{value:.1f}".removesuffix(".0")


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _share(value: float) -> str:
    return f"{value * 100:.0f} %"


def _seconds(value: float) -> str:
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"
