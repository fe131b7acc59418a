"""Events folded into steps: what the page of a run shows, at first and while it goes on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from panel.store.models import Event, Run

#: Which state a step gets when its hosts (or items) differ: the worst one.
_WORST = ("running", "skipped", "ok", "changed", "ignored", "failed", "unreachable")
#: Lines that are shown of what a step has written so far; its result has the whole.
_LAST_SAID = 40
_RESULTS = ("ok", "changed", "failed", "skipped", "unreachable", "ignored")


@dataclass
class Result:
    """What a step did on one host. `state` is "running" until it is over."""

    host: str
    state: str = "running"
    seconds: float | None = None
    #: Fields of the result: msg, next, journal, stdout, stderr, diff, rc, cmd, warnings, exception, hidden, cut …
    data: dict[str, Any] = field(default_factory=dict)
    #: Of a loop: (label, state, data) of each item that is done.
    items: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    #: Remarks while it goes on ("trying again").
    notes: list[str] = field(default_factory=list)

    @property
    def summary(self) -> str:
        """One line: what the module says of itself, or how many items there were."""
        return str(self.data.get("summary") or (f"{len(self.items)} items" if self.items else ""))


@dataclass
class Step:
    """One task of the play, on all its hosts; or (number 0) a line, a note, that belongs to no task."""

    number: int
    name: str
    role: str
    started_at: datetime
    #: Seconds from the start of the run.
    offset: float
    kind: str = "task"
    results: dict[str, Result] = field(default_factory=dict)
    #: Number of the newest event in it: what a page remembers.
    last_event: int = 0
    text: str = ""
    level: str = ""
    #: Which batch of servers it was done on, from 1.
    batch: int = 1

    @property
    def state(self) -> str:
        """running, skipped, ok, changed, ignored, failed or unreachable: the worst of its hosts."""
        return max((one.state for one in self.results.values()), key=_WORST.index, default="running")

    @property
    def seconds(self) -> float | None:
        """How long it took; None while it is running."""
        return max((one.seconds for one in self.results.values() if one.seconds is not None), default=None)

    @property
    def summary(self) -> str:
        return next((one.summary for one in self.results.values() if one.summary), "")

    @property
    def data(self) -> dict[str, Any]:
        """The fields of the host that tells most: a failed one first."""
        worst = max(self.results.values(), key=lambda one: _WORST.index(one.state), default=None)
        return worst.data if worst else {}

    @property
    def is_quiet(self) -> bool:
        """Nothing happened that a person needs to see."""
        return self.kind == "task" and self.state in ("ok", "skipped")


class Steps:
    """The fold. `add` one event after the other, in order; `list` is what to show, newest last."""

    def __init__(self, run: Run) -> None:
        self.list: list[Step] = []
        self.stats: dict[str, dict[str, int]] = {}
        self.last_event = 0
        self._batch = 0
        self._begin = run.started_at or run.created_at
        self._by_number: dict[int, Step] = {}

    def add(self, event: Event) -> Step | None:
        """The step that is new or has changed; None where the event changes nothing that is shown.

        An event that was added before changes nothing.
        """
        if event.number <= self.last_event:
            return None
        self.last_event = event.number
        step = self._fold(event)
        if step is not None:
            step.last_event = event.number
        return step

    def _fold(self, event: Event) -> Step | None:
        if event.type == "play":
            self._batch += 1
        if event.type == "task":
            self._by_number[event.step] = self._new(event, "task")
            return self._by_number[event.step]
        step = self._by_number.get(event.step)
        if event.type in _RESULTS and step:
            return self._result(step, event)
        if event.type == "note" and step:
            self._of(step, event.host).notes.append(str(event.data.get("msg", "")))
            return step
        if event.type == "output" and step:
            so_far = self._of(step, event.host).data
            lines = f"{so_far.get('stdout', '')}\n{event.data['stdout']}".splitlines()
            so_far["stdout"] = "\n".join(lines[-_LAST_SAID:]).strip("\n")
            return step
        if event.type in ("note", "output"):
            return self._line(event)
        if event.type == "stats":
            self.stats = event.data.get("hosts", {})
        return None

    def _new(self, event: Event, kind: str) -> Step:
        step = Step(event.step, event.name, event.role, event.at,
                    max(0.0, (event.at - self._begin).total_seconds()), kind, batch=self._batch)
        self.list.append(step)
        return step

    def _result(self, step: Step, event: Event) -> Step:
        result = self._of(step, event.host)
        if "item" in event.data:
            result.items.append((str(event.data["item"]), event.type, event.data))
        else:
            result.state, result.seconds, result.data = event.type, event.seconds, event.data
        return step

    @staticmethod
    def _of(step: Step, host: str) -> Result:
        return step.results.setdefault(host, Result(host))

    def _line(self, event: Event) -> Step:
        """Lines that follow one another are one entry: Ansible's own errors come line by line."""
        text = str(event.data.get("msg" if event.type == "note" else "stdout", ""))
        level = str(event.data.get("level", event.type))
        last = self.list[-1] if self.list else None
        if last and last.kind == event.type == "output" and last.level == level:
            last.text += f"\n{text}"
            return last
        step = self._new(event, event.type)
        step.text, step.level = text, level
        return step


def steps(run: Run, events: Iterable[Event]) -> list[Step]:
    """All steps of a run, from all its events in order."""
    fold = Steps(run)
    for event in events:
        fold.add(event)
    return fold.list
