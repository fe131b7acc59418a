"""How a run looks in a terminal while it runs: a line per step with its state as a shape and as a word."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import click

if TYPE_CHECKING:
    from rich.text import Text

#: State of a step -> shape, colour. A shape as well as a colour, and always the word.
LOOKS = {
    "ok": ("●", "green"), "changed": ("■", "yellow"), "failed": ("▲", "red"), "unreachable": ("▲", "red"),
    "ignored": ("△", "yellow"), "skipped": ("·", "bright_black"), "running": ("○", "cyan"),
}
_RESULTS = frozenset(LOOKS) - {"running"}
#: What is worse is what a step over several servers shows.
_WORST = ("unreachable", "failed", "ignored", "changed", "ok", "skipped")


@dataclass
class Step:
    """One task as far as its events tell."""

    number: int
    name: str
    state: str = "running"
    seconds: float = 0.0
    summary: str = ""

    def take(self, event: dict[str, Any]) -> None:
        """A host's result: the worst one counts."""
        if self.state == "running" or _WORST.index(event["type"]) < _WORST.index(self.state):
            self.state = event["type"]
        self.seconds = max(self.seconds, event.get("seconds") or 0.0)
        self.summary = str(event.get("data", {}).get("summary") or self.summary)


def _on_server(step: Step, event: dict[str, Any]) -> Step:
    """The step as it was on the server of this event."""
    server = str(event.get("host", "")).rpartition("@")[2]
    alone = Step(step.number, f"{server}: {step.name}")
    alone.take(event)
    return alone


class View(Protocol):
    """Shows events as they come."""

    def show(self, event: dict[str, Any]) -> None: ...
    def say(self, words: str) -> None: ...
    def close(self) -> None: ...


class Steps:
    """The steps so far, from the events so far."""

    def __init__(self, several: bool = False) -> None:
        """`several`: on several servers, so each line names its own."""
        self.all: dict[int, Step] = {}
        self._several = several

    def take(self, event: dict[str, Any]) -> Step | None:
        """The step that this event finished, if it did."""
        number = event.get("step") or 0
        if event["type"] == "task":
            self.all[number] = Step(number, event["name"])
        elif event["type"] in _RESULTS and number:
            step = self.all.setdefault(number, Step(number, event.get("name", "")))
            step.take(event)
            return _on_server(step, event) if self._several else step
        return None

    @property
    def now(self) -> Step | None:
        """The step that is running."""
        last = next(reversed(self.all.values()), None)
        return last if last and last.state == "running" else None


def clean(text: str) -> str:
    """Text of a server without anything that a terminal would obey."""
    return "".join(char if char.isprintable() or char in "\n\t" else "�" for char in text)


def duration(seconds: float) -> str:
    """3.2 s, 1:04 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d} min"


class Output:
    """What steps print, for commands whose output is what was asked for: as it comes, else with its result."""

    def __init__(self, wanted: bool) -> None:
        self._wanted = wanted
        self._begun: set[tuple[int, str]] = set()

    def take(self, event: dict[str, Any]) -> None:
        place = (event.get("step") or 0, str(event.get("host", "")))
        if event["type"] == "output" and place[0]:
            self._begun.add(place)
        elif event["type"] not in ("ok", "changed") or place in self._begun:
            return
        if self._wanted and event["data"].get("stdout"):
            click.echo(clean(str(event["data"]["stdout"])).rstrip("\n"))


class Plain:
    """One line per finished step: for files, pipes and CI.

    `out`: to stdout, because the steps are the answer. `output`: what a step printed goes to stdout, too.
    """

    def __init__(self, out: bool = False, output: bool = False, several: bool = False) -> None:
        self._steps = Steps(several)
        self._err = not out
        self._output = Output(output)
        self._said = ""

    def show(self, event: dict[str, Any]) -> None:
        if event["type"] == "output" and not event.get("step"):
            click.echo(clean(str(event["data"].get("stdout", ""))).rstrip("\n"), err=self._err)
        step = self._steps.take(event)
        if step and step.state != "skipped":
            end = f"  {clean(step.summary)}" if step.summary else ""
            click.echo(f"{step.state:<11} {clean(step.name)} ({duration(step.seconds)}){end}", err=self._err)
        self._output.take(event)

    def say(self, words: str) -> None:
        if words != self._said:
            self._said = words
            click.echo(words, err=True)

    def close(self) -> None:
        pass


class Live:
    """Finished steps above, the running one with its clock below."""

    def __init__(self, output: bool = False, several: bool = False) -> None:
        from rich.console import Console
        from rich.live import Live as Screen

        self._steps = Steps(several)
        self._output = Output(output)
        self._words = ""
        self._since = time.monotonic()
        self._console = Console(stderr=True, highlight=False, markup=False)
        self._screen = Screen(console=self._console, get_renderable=self._bottom, refresh_per_second=8, transient=True)
        self._screen.start()

    def show(self, event: dict[str, Any]) -> None:
        self._words = ""
        if event["type"] == "task":
            self._since = time.monotonic()
        step = self._steps.take(event)
        if step and step.state != "skipped":
            self._console.print(_line(step))
        self._output.take(event)

    def say(self, words: str) -> None:
        self._words = words

    def close(self) -> None:
        self._screen.stop()

    def _bottom(self) -> Text:
        from rich.text import Text

        now = self._steps.now
        if now is None:
            return Text(self._words, style="dim")
        line = _line(Step(now.number, now.name, "running", time.monotonic() - self._since))
        line.no_wrap, line.overflow = True, "ellipsis"  # drawn again and again: it must stay one line
        return line


def _line(step: Step) -> Text:
    from rich.text import Text

    shape, colour = LOOKS[step.state]
    took = f"  {duration(step.seconds)}"
    line = Text.assemble((f"{shape} {step.state:<11} ", colour), clean(step.name), (took, "dim"))
    if step.summary:
        line.append(f"  {clean(step.summary)}", "bold")
    return line


def view(output: bool = False, several: bool = False) -> View:
    """The view that fits where the output goes. `output`: show what steps print, on stdout; `several` servers."""
    return Live(output, several) if sys.stderr.isatty() else Plain(output=output, several=several)
