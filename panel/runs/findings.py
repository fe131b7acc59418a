"""What a check run found: the steps that would change something, and what the modules said of their plans."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from panel.runs.steps import Result, Step, Steps
from panel.store.models import Event, Run

_MOST_CHANGES = 500


@dataclass
class Findings:
    """`changes`: {host, step, name, role, summary, msg, hidden, items, diff} per host and step, in their order."""

    changes: list[dict[str, Any]] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    #: Steps that were looked at.
    steps: int = 0


def of_run(session: Session, run: Run) -> Findings:
    """The findings of a run whose events are all stored. They are masked, as the events are."""
    fold, found = Steps(run), Findings()
    for event in session.scalars(select(Event).where(Event.run_id == run.id).order_by(Event.number)):
        fold.add(event)
        if isinstance(event.data.get("plan"), dict):
            found.facts.update(event.data["plan"])
    for step in fold.list:
        if step.kind == "task" and step.state != "skipped":
            found.steps += 1
            found.changes += [_change(step, one) for one in step.results.values() if one.state == "changed"]
    del found.changes[_MOST_CHANGES:]
    return found


def _change(step: Step, result: Result) -> dict[str, Any]:
    data = result.data
    diffs = list(data.get("diff") or [])
    for _, state, item in result.items:
        diffs += (item.get("diff") or []) if state == "changed" else []
    return {"host": result.host, "step": step.number, "name": step.name, "role": step.role,
            "summary": result.summary, "msg": str(data.get("msg", "")), "hidden": bool(data.get("hidden")),
            "items": [label for label, state, _ in result.items if state == "changed" and label], "diff": diffs}
