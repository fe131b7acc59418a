"""A run as its page shows it: a line per step on one axis of time, the sentence above, the steps still to come."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from panel.runs.hosts import Hosts
from panel.runs.steps import Result, Step, Steps
from panel.store.models import Event, Mode, Run, State
from panel.web import clock, difference, queries
from panel.web.grid import Grid, servers_of
from panel.web.words import seconds_of, steps_phrase

_WORDS = {"ok": "in place", "changed": "changed", "failed": "failed", "skipped": "skipped", "running": "running",
          "unreachable": "not reachable", "ignored": "failed, and that is fine", "next": "still to come",
          "ended": "not finished"}
_OUTPUTS = (("cmd", "Command"), ("stdout", "Output"), ("stderr", "Errors"), ("module_stdout", "Output"),
            ("module_stderr", "Errors"), ("exception", "Trace"))


class Ahead(NamedTuple):
    """A step that an earlier run of this kind had and this one has not reached."""

    name: str
    role: str


class Output(NamedTuple):
    label: str
    text: str


@dataclass
class Detail:
    """What opens under a step, for one host."""

    host: str
    state: str
    message: str = ""
    next: str = ""
    diff: list[difference.Line] = field(default_factory=list)
    items: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    outputs: list[Output] = field(default_factory=list)
    is_hidden: bool = False

    @property
    def server(self) -> str:
        return self.host.rpartition("@")[2]

    @property
    def says_something(self) -> bool:
        return bool(self.message or self.next or self.diff or self.items or self.notes or self.outputs
                    or (self.is_hidden and self.state == "failed"))


@dataclass
class Line:
    """One row of the waterfall."""

    id: str
    state: str
    word: str
    name: str
    role: str
    summary: str
    offset: float
    seconds: float | None
    details: list[Detail]
    is_open: bool
    last_event: int = 0             # of the run, that this line shows
    servers: Sequence[str] = ()     # where it was done, of a run on several


class Tally(NamedTuple):
    ok: int
    changed: int
    failed: int
    skipped: int
    done: int


class Waterfall:
    """Everything of a run's page that its events decide. `add` events in order; `changed` lines come back."""

    def __init__(self, run: Run, ahead: Sequence[Ahead] = (), usual: float | None = None) -> None:
        self.run, self.usual, self._expected = run, usual, list(ahead)
        self._fold, self._hosts = Steps(run), Hosts()
        self.grid = Grid(run, self._hosts, _WORDS, lambda result: _detail(result).says_something)

    def see(self, run: Run) -> None:
        """The run's row as it is now."""
        self.run = run
        self.grid.see(run)
        if self.last_event == 0:
            self._fold = Steps(run)

    def add(self, event: Event) -> Line | None:
        """The line that is new or has changed, None where nothing that is shown did."""
        if event.number > self.last_event:
            self._hosts.add(event.type, event.host, event.name, event.data)
        step = self._fold.add(event)
        if step:
            self.grid.take(step)
        return self._line(step) if step else None

    @property
    def last_event(self) -> int:
        return self._fold.last_event

    @property
    def lines(self) -> list[Line]:
        return [self._line(step) for step in self._fold.list]

    @property
    def ahead(self) -> list[Ahead]:
        """Steps still to come, as earlier runs had them."""
        if not self.run.state.is_active:
            return []
        seen = [(step.name, step.role) for step in self._fold.list if step.kind == "task"]
        known = [place + 1 for place, one in enumerate(self._expected) if (one.name, one.role) in seen]
        reached = max(known, default=0)
        return self._expected[reached:]

    @property
    def tally(self) -> Tally:
        states = [step.state for step in self._fold.list if step.kind == "task"]
        bad = sum(state in ("failed", "unreachable") for state in states)
        done = sum(state not in ("running", "skipped") for state in states)
        return Tally(states.count("ok"), states.count("changed"), bad, states.count("skipped"), done)

    @property
    def elapsed(self) -> float:
        return seconds_of(self.run) or 0.0

    @property
    def axis(self) -> float:
        """Seconds from the left edge to the right one."""
        end = max((step.offset + (step.seconds or 0) for step in self._fold.list), default=0.0)
        least = max(self.usual or 0.0, self.elapsed) if self.run.state.is_active else self.elapsed
        return round(max(least, end, 0.5), 2)

    @property
    def total(self) -> int:
        shown = sum(step.kind == "task" and step.state != "skipped" for step in self._fold.list)
        return shown + len(self.ahead)

    def _line(self, step: Step) -> Line:
        if step.kind != "task":
            return self._remark(step)
        state = step.state
        if state == "running" and not self.run.state.is_active:
            state = "ended"
        seconds = step.seconds
        if seconds is None and state == "running":
            seconds = max(0.0, (clock.now() - clock.aware(step.started_at)).total_seconds())
        details = [one for one in (_detail(result) for result in step.results.values()) if one.says_something]
        is_open = state in ("failed", "unreachable") or (state == "running" and any(one.outputs for one in details))
        return Line(f"step-{step.number}", state, _WORDS[state], step.name or "Do an unnamed step", step.role,
                    step.summary, step.offset, seconds, details, is_open, step.last_event,
                    servers_of(step, self.grid.parts))

    def _remark(self, step: Step) -> Line:
        place = next(place for place, one in enumerate(self._fold.list) if one is step)
        first, _, rest = step.text.partition("\n")
        more = [Detail("", "note", outputs=[Output("", step.text)])] if rest or len(first) > 200 else []
        quiet = step.kind == "output" and step.level in ("info", "debug", "verbose")
        state = "skipped" if quiet else "ignored" if step.level in ("warning", "deprecated") else "note"
        return Line(f"line-{place}", state, "", first[:200], "", "", step.offset, None, more, False, step.last_event)

    @property
    def sentence(self) -> str:
        """What the page begins with, behind the state."""
        run, tally = self.run, self.tally
        if run.state is State.QUEUED:
            return run.waits_for or "It begins as soon as a worker is free."
        if run.state is State.RUNNING:
            return self._while_running(tally)
        if run.state is State.SUCCEEDED:
            return steps_phrase(tally.changed, tally.done, run.mode)
        if run.state is State.CANCELED:
            by = f"{run.cancel_asked_by} canceled it. " if run.cancel_asked_by else ""
            return f"{by}What was done before stays as it is."
        return self._why_not(tally)

    def _while_running(self, tally: Tally) -> str:
        if self.run.cancel_asked_by:
            return f"{self.run.cancel_asked_by} canceled it; it is being stopped."
        if self.grid.is_shown:
            return self.grid.sentence
        steps = f"{tally.done} of {self.total} steps" if self.ahead else f"{tally.done} steps so far"
        usual = f", usually {clock.about(self.usual)}" if self.usual else ""
        check = " Nothing is touched." if self.run.mode is Mode.CHECK else ""
        return f"{steps}{usual}.{check}"

    def _why_not(self, tally: Tally) -> str:
        if self.run.state is State.LOST:
            return "Nobody knows how it ended on the server."
        bad = next((step for step in self._fold.list if step.state in ("failed", "unreachable")), None)
        where = f"It stopped at “{bad.name}”. " if bad else ""
        if self.grid.is_shown:
            return f"{self.grid.sentence} {where}".strip()
        changed = f"{tally.changed} steps had changed something before." if tally.changed > 1 else ""
        return f"{where}{changed}".strip()


def _detail(result: Result) -> Detail:
    data = result.data
    is_bad = result.state in ("failed", "unreachable", "ignored")
    detail = Detail(result.host, result.state, notes=result.notes, is_hidden=bool(data.get("hidden")),
                    diff=difference.lines(data["diff"]) if data.get("diff") else [])
    message = str(data.get("msg", ""))
    if is_bad or (message and message != result.summary and not detail.diff):
        detail.message = message
    detail.next = str(data.get("next", "")) if is_bad else ""
    detail.items = [(label or "an item", state) for label, state, _ in result.items]
    for _, _, one in result.items:
        detail.diff += difference.lines(one["diff"]) if one.get("diff") else []
    detail.outputs = list(_outputs(data))
    return detail


def _outputs(data: dict[str, Any]) -> Iterable[Output]:
    for key, label in _OUTPUTS:
        value = data.get(key)
        if value and not (key == "cmd" and not data.get("stdout") and not data.get("stderr")):
            yield Output(label, " ".join(map(str, value)) if isinstance(value, list) else str(value))
    journal = data.get("journal")
    if journal:
        yield Output("Journal", "\n".join(map(str, journal)) if isinstance(journal, list) else str(journal))
    if data.get("cut"):
        yield Output("Cut", f"{data['cut']} bytes were left out.")


def steps_ahead(session: Session, past: Sequence[Run]) -> list[Ahead]:
    """The steps of the latest earlier run, those left out that it skipped."""
    if not past:
        return []
    events = session.scalars(select(Event).where(Event.run_id == past[0].id).order_by(Event.number))
    fold = Steps(past[0])
    for event in events:
        fold.add(event)
    return [Ahead(step.name, step.role) for step in fold.list if step.kind == "task" and step.state != "skipped"]


def load(session: Session, run: Run) -> Waterfall:
    """The waterfall of a run with all its events so far."""
    past = queries.earlier(session, run)
    ahead = steps_ahead(session, past) if run.state.is_active else []
    made = Waterfall(run, ahead, queries.usual_seconds(past) if run.state.is_active else None)
    for event in session.scalars(select(Event).where(Event.run_id == run.id).order_by(Event.number)):
        made.add(event)
    return made
