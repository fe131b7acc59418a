"""What a check run found: the steps that would change something, and what the modules said of their plans."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from panel.runs.steps import Result, Step, Steps
from panel.store.models import Event, Run

_MOST_CHANGES = 500
#: Facts that each server may have its own of.
_OWN = ("commit", "from", "migrations", "environment")


@dataclass
class Findings:
    """`changes`: {host, step, name, role, summary, msg, hidden, items, diff} per host and step, in their order."""

    changes: list[dict[str, Any]] = field(default_factory=list)
    #: As `together` puts them.
    facts: dict[str, Any] = field(default_factory=dict)
    #: Steps that were looked at.
    steps: int = 0


def of_run(session: Session, run: Run) -> Findings:
    """The findings of a run whose events are all stored. They are masked, as the events are."""
    fold, found = Steps(run), Findings()
    told: dict[str, dict[str, Any]] = {}
    for event in session.scalars(select(Event).where(Event.run_id == run.id).order_by(Event.number)):
        fold.add(event)
        if isinstance(event.data.get("plan"), dict):
            told.setdefault(event.host, {}).update(event.data["plan"])
    for step in fold.list:
        if step.kind == "task" and step.state != "skipped":
            found.steps += 1
            found.changes += [_change(step, one) for one in step.results.values() if one.state == "changed"]
    del found.changes[_MOST_CHANGES:]
    found.facts = together({one.server_name: told[one.host] for one in run.servers if one.host in told})
    return found


def together(told: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """What was said on each server as one: of the one that is furthest behind, with all that is to come on any.

    Where that is not the same on all of them, `servers` has what is to come on each.
    """
    rows = list(told.values())
    if not rows:
        return {}
    facts = max(rows, key=_behind)
    if all(_to_come(row) == _to_come(rows[0]) for row in rows):
        return facts
    migrations = {one["name"]: one for row in rows for one in row.get("migrations") or []}
    environment = {word: sorted({name for row in rows for name in (row.get("environment") or {}).get(word) or []})
                   for word in ("added", "removed", "changed")}
    return {**facts, "migrations": list(migrations.values()), "environment": environment,
            "servers": {name: {key: row.get(key) for key in _OWN} for name, row in told.items()}}


def _behind(row: Mapping[str, Any]) -> int:
    """How many commits are to come."""
    return len(row.get("commits") or []) + (row.get("commits_more") or 0)


def _to_come(row: Mapping[str, Any]) -> list[Any]:
    """What people would miss if it were shown of another server."""
    names = [one["name"] for one in row.get("migrations") or []]
    return [(row.get("commit") or {}).get("id"), (row.get("from") or {}).get("id"), names, row.get("environment")]


def _change(step: Step, result: Result) -> dict[str, Any]:
    data = result.data
    diffs = list(data.get("diff") or [])
    for _, state, item in result.items:
        diffs += (item.get("diff") or []) if state == "changed" else []
    return {"host": result.host, "step": step.number, "name": step.name, "role": step.role,
            "summary": result.summary, "msg": str(data.get("msg", "")), "hidden": bool(data.get("hidden")),
            "items": [label for label, state, _ in result.items if state == "changed" and label], "diff": diffs}
