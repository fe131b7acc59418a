"""A run on several servers as a table: a row for each step, a column for each server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from panel.runs.hosts import Hosts, listed
from panel.runs.steps import Result, Step
from panel.store.models import PartState, Run
from panel.web.words import Badge

#: How a server's part is shown: the mark of a step, and a word.
_COLUMNS = {
    PartState.QUEUED: Badge("next", "waits"), PartState.RUNNING: Badge("running", "running"),
    PartState.SUCCEEDED: Badge("ok", "done"), PartState.FAILED: Badge("failed", "failed"),
    PartState.UNREACHABLE: Badge("unreachable", "not reachable"), PartState.STOPPED: Badge("ended", "stopped"),
    PartState.CANCELED: Badge("ended", "canceled"), PartState.LOST: Badge("failed", "lost"),
    PartState.NOT_BEGUN: Badge("next", "not begun"),
}
#: More columns than this are narrow: their cells show marks, and words for those who do not see them.
WIDE = 4


class Part(NamedTuple):
    """A server of the run, as its row said."""

    host: str
    server: str
    state: PartState
    is_there: bool


class Column(NamedTuple):
    server: str
    is_there: bool
    state: Badge


class Cell(NamedTuple):
    """`state` "": the step was not reached there. `target`: what it said, on the same page."""

    server: str
    state: str
    word: str
    target: str


@dataclass
class Row:
    """A step: of each batch the one that it was there."""

    id: str
    after: str
    name: str
    role: str
    steps: list[Step]


class Grid:
    """Folded beside the steps; `take` each step that is new or has changed."""

    def __init__(self, run: Run, hosts: Hosts, words: dict[str, str], says: Callable[[Result], bool]) -> None:
        self.parts = [Part(one.host, one.server_name, one.state, one.server_id is not None) for one in run.servers]
        self._run, self._hosts, self._words, self._says = run, hosts, words, says
        self._rows: list[Row] = []
        self._by_key: dict[tuple[str, str, int], Row] = {}
        self._of_step: dict[int, Row] = {}
        #: Of the batch that goes on: its number, how often each step came, the row that came last.
        self._batch, self._seen, self._last = -1, dict[tuple[str, str], int](), ""

    def see(self, run: Run) -> None:
        """The run's row as it is now; its servers' states come from the events meanwhile."""
        self._run = run

    @property
    def is_shown(self) -> bool:
        return len(self.parts) > 1

    @property
    def is_narrow(self) -> bool:
        return len(self.parts) > WIDE

    def take(self, step: Step) -> Row | None:
        """The row of a step."""
        if step.kind != "task" or not self.is_shown:
            return None
        if step.number not in self._of_step:
            self._of_step[step.number] = self._place(step)
        return self._of_step[step.number]

    def _place(self, step: Step) -> Row:
        if step.batch != self._batch:
            self._batch, self._seen, self._last = step.batch, {}, ""
        name = (step.role, step.name)
        self._seen[name] = self._seen.get(name, 0) + 1
        key = (*name, self._seen[name])
        row = self._by_key.get(key)
        if row is None:
            row = self._by_key[key] = Row(f"row-{len(self._rows) + 1}", self._last, step.name, step.role, [])
            place = next((number + 1 for number, one in enumerate(self._rows) if one.id == self._last), 0)
            self._rows.insert(place, row)
        row.steps.append(step)
        self._last = row.id
        return row

    @property
    def rows(self) -> list[Row]:
        return self._rows

    def row_of(self, step: str) -> Row | None:
        """The row in which the step with this id on the page is."""
        number = step.removeprefix("step-")
        return self._of_step.get(int(number)) if number.isdecimal() else None

    @property
    def columns(self) -> list[Column]:
        return [Column(one.server, one.is_there, _COLUMNS[self._state(one)]) for one in self.parts]

    def _state(self, part: Part) -> PartState:
        return self._hosts.now(part.host) if self._run.state.is_active else part.state

    def cells(self, row: Row) -> list[Cell]:
        return [self._cell(row, one) for one in self.parts]

    def _cell(self, row: Row, part: Part) -> Cell:
        for step in row.steps:
            if part.host in step.results:
                state = step.results[part.host].state
                if state == "running" and not self._run.state.is_active:
                    state = "ended"
                return Cell(part.server, state, self._words[state], self._target(step, part, state))
        last = row.steps[-1]
        if self._run.state.is_active and last.batch == self._batch and last.number == max(self._of_step) \
                and self._hosts.now(part.host) is PartState.RUNNING:
            return Cell(part.server, "running", self._words["running"], f"step-{last.number}")
        return Cell(part.server, "", "not reached", "")

    def _target(self, step: Step, part: Part, state: str) -> str:
        """What it said there; where it said nothing, the step. What was skipped is not on the page at first."""
        if state == "skipped":
            return ""
        return f"step-{step.number}-{part.server}" if self._says(step.results[part.host]) else f"step-{step.number}"

    def is_skipped(self, row: Row) -> bool:
        """Nobody did it, so it is shown with the other skipped ones."""
        return all(cell.state in ("skipped", "") for cell in self.cells(row)) and any(
            cell.state for cell in self.cells(row))

    @property
    def sentence(self) -> str:
        """How many of the servers have it by now."""
        states = [self._state(one) for one in self.parts]
        done = states.count(PartState.SUCCEEDED)
        now = [one.server for one, state in zip(self.parts, states, strict=True) if state is PartState.RUNNING]
        at = f", now {listed(now)}" if 0 < len(now) <= WIDE and self._run.state.is_active else ""
        return f"{done} of {len(self.parts)} servers done{at}." if self.is_shown else ""


def servers_of(step: Step, parts: Sequence[Part]) -> list[str]:
    """The servers on which a step has said something; none where the run has only one."""
    return [one.server for one in parts if one.host in step.results] if len(parts) > 1 else []
