"""What shall happen, and what happened behind our back: plans and drift. Their tables belong to panel.store.models."""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Any

from sqlalchemy import Enum, ForeignKey, Index, LargeBinary, String, Text, func
from sqlalchemy.orm import Mapped, mapped_column, relationship

from panel.store.models import Base, Resource, Run, Server
from panel.store.places import Group


class PlanState(enum.StrEnum):
    """Of a plan: being made, ready to be applied, or why it cannot be any more."""

    NEW = "new"
    READY = "ready"
    #: Its check did not come to an end.
    FAILED = "failed"
    APPLIED = "applied"
    EXPIRED = "expired"
    #: Something that it rests on has moved.
    REFUSED = "refused"


class Interval(enum.StrEnum):
    """How often a resource is looked at for drift."""

    OFF = "off"
    HOURLY = "hourly"
    DAILY = "daily"


class DriftState(enum.StrEnum):
    UNKNOWN = "unknown"
    IN_SYNC = "in_sync"
    DRIFTED = "drifted"
    CHECK_FAILED = "check_failed"


def _words(kind: type[enum.StrEnum]) -> Enum:
    return Enum(kind, native_enum=False, length=16, values_callable=lambda e: [one.value for one in e])


class Plan(Base):
    """A stored check run, with everything that it rests on: what is applied later is what was seen here."""

    __tablename__ = "plans"
    id: Mapped[int] = mapped_column(primary_key=True)
    #: The check.
    run_id: Mapped[int | None] = mapped_column(ForeignKey("runs.id", ondelete="SET NULL"))
    #: None: the resource is made when the plan is applied.
    resource_id: Mapped[int | None] = mapped_column(ForeignKey("resources.id", ondelete="SET NULL"))
    resource_name: Mapped[str] = mapped_column(String(64))
    kind: Mapped[str] = mapped_column(String(64))
    #: Its server, or its group; the name is that of either.
    server_id: Mapped[int | None] = mapped_column(ForeignKey("servers.id", ondelete="SET NULL"))
    group_id: Mapped[int | None] = mapped_column(ForeignKey("groups.id", ondelete="SET NULL"))
    server_name: Mapped[str] = mapped_column(String(64))
    action: Mapped[str] = mapped_column(String(64))
    #: Values to be applied, clean and without secrets.
    values: Mapped[dict[str, Any]] = mapped_column(default=dict)
    #: {"secrets": the plan's, "before": all that the resource had then}, sealed with context "plan:<id>".
    secrets: Mapped[bytes | None] = mapped_column(LargeBinary)
    timeout: Mapped[int]
    actor: Mapped[str] = mapped_column(String(64))
    #: browser, cli or api
    door: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    state: Mapped[PlanState] = mapped_column(_words(PlanState), default=PlanState.NEW)
    #: Why it cannot be applied, in words.
    refusal: Mapped[str] = mapped_column(Text, default="")
    #: What it rests on (panel.runs.fingerprint): roles, values, server, runs, commit.
    fingerprint: Mapped[dict[str, Any]] = mapped_column(default=dict)
    #: {host, step, name, role, summary, msg, hidden, diff}, in the order of the steps; masked.
    changes: Mapped[list[Any]] = mapped_column(default=list)
    #: What the modules said of their plans, over all events: commit, from, commits, migrations, environment …
    facts: Mapped[dict[str, Any]] = mapped_column(default=dict)
    #: How many steps were looked at.
    steps: Mapped[int] = mapped_column(default=0)
    #: Room for the word of a second person.
    approved_by: Mapped[str] = mapped_column(String(64), default="")
    approved_at: Mapped[datetime | None]
    #: The run that applied it.
    applied_run_id: Mapped[int | None] = mapped_column(ForeignKey("runs.id", ondelete="SET NULL"))
    run: Mapped[Run | None] = relationship(foreign_keys=[run_id])
    resource: Mapped[Resource | None] = relationship()
    server: Mapped[Server | None] = relationship()
    group: Mapped[Group | None] = relationship()

    __table_args__ = (
        Index("plans_by_run", "run_id"),
        Index("plans_by_applied_run", "applied_run_id"),
        Index("plans_by_resource", "resource_id", "id"),
    )


class Drift(Base):
    """Whether a resource on its server is still what was applied. A resource without a row is looked at daily."""

    __tablename__ = "drifts"
    resource_id: Mapped[int] = mapped_column(ForeignKey("resources.id", ondelete="CASCADE"), primary_key=True)
    interval: Mapped[Interval] = mapped_column(_words(Interval), default=Interval.DAILY)
    state: Mapped[DriftState] = mapped_column(_words(DriftState), default=DriftState.UNKNOWN)
    #: One or two sentences for people.
    text: Mapped[str] = mapped_column(Text, default="")
    at: Mapped[datetime | None]
    #: The check that found it.
    run_id: Mapped[int | None] = mapped_column(ForeignKey("runs.id", ondelete="SET NULL"))
    #: As a plan's changes and facts.
    changes: Mapped[list[Any]] = mapped_column(default=list)
    facts: Mapped[dict[str, Any]] = mapped_column(default=dict)
    #: When it is to be looked at next; None: not by itself.
    due: Mapped[datetime | None]
    resource: Mapped[Resource] = relationship(back_populates="drift")
