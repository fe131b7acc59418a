"""Figures as tables: medians, ranges, ratios, and the machine that they were measured on."""

from __future__ import annotations

import os
import platform
import re
import statistics
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sandbox.place import REPOSITORY

Measured = dict[str, dict[str, list[float]]]
PAGE = REPOSITORY / "docs/performance.md"
BEGIN, END = "<!-- measured -->", "<!-- end of measured -->"


@dataclass(frozen=True)
class Wanted:
    """How long a step of ours may take: at most `limit` times another way, or (`over`) so many seconds longer."""

    step: str
    way: str
    limit: float
    over: bool = False

    def row(self, measured: Measured) -> str:
        ways = measured[self.step]
        ours, other = statistics.median(next(iter(ways.values()))), statistics.median(ways[self.way])
        reached = ours - other if self.over else ours / other
        unit = "s longer" if self.over else "×"
        held = "yes" if round(reached, 2) <= self.limit else "no"
        return f"| {self.step}, beside {self.way} | {self.limit:.2f} {unit} | {reached:.2f} {unit} | {held} |"


def tables(measured: Measured, wanted: Iterable[Wanted] = ()) -> str:
    """One table per step: the first way is ours, and every other is compared with it. At last what was wanted."""
    parts = [f"Measured on {time.strftime('%Y-%m-%d')}: {machine()}."]
    for step, ways in measured.items():
        ours = statistics.median(next(iter(ways.values())))
        rounds = len(next(iter(ways.values())))
        parts.append(f"**{step[0].upper()}{step[1:]}** (seconds, {rounds} rounds side by side)")
        parts.append("| way | median | from – to | WebOps ÷ this |\n|---|---|---|---|\n" + "\n".join(
            row(name, seconds, ours) for name, seconds in ways.items()))
    rows = [one.row(measured) for one in wanted if one.way in measured.get(one.step, {})]
    if rows:
        parts.append("**Wanted and reached**")
        parts.append("| | at most | reached | held |\n|---|---|---|---|\n" + "\n".join(rows))
    return "\n\n".join(parts)


def row(name: str, seconds: list[float], ours: float) -> str:
    median = statistics.median(seconds)
    return f"| {name} | {median:.2f} | {min(seconds):.2f} – {max(seconds):.2f} | {ours / median:.2f} |"


def machine() -> str:
    """What others need to know to compare: processors, memory, kernel."""
    model = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    name = model[1].strip() if model else platform.machine()
    return (f"{os.cpu_count()} × {name}, {memory:.0f} GiB memory, Linux {platform.release()}, Python "
            f"{platform.python_version()}; the server is a sandbox server (Debian 12) on the same machine")


def write(text: str) -> None:
    """Put the figures between the marks of docs/performance.md; what people wrote around them stays."""
    page = PAGE.read_text()
    before, rest = page.split(BEGIN, 1)
    PAGE.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.split(END, 1)[1]}")
