"""What happened and what is wanted: the tables. A run's row is the truth, Redis only rings the bell."""

from __future__ import annotations

import enum
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    JSON,
    Boolean,
    DateTime,
    Dialect,
    Enum,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from panel.store.seen import Seen
from panel.store.states import Mode, Observed, PartState, State

if TYPE_CHECKING:
    from panel.store.places import Group, Place
    from panel.store.planned import Drift


class Moment(TypeDecorator[datetime]):
    """A moment, always aware and in UTC: SQLite keeps no time zone, so it is put back on the way out."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value.astimezone(UTC) if value else None

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None or value.tzinfo:
            return value
        return value.replace(tzinfo=UTC)


def _state(kind: type[enum.StrEnum]) -> Any:
    return Enum(kind, native_enum=False, length=16, values_callable=lambda e: [one.value for one in e])


class Base(DeclarativeBase):
    type_annotation_map = {
        dict[str, Any]: JSON, list[Any]: JSON, datetime: Moment(),
        State: _state(State), PartState: _state(PartState), Mode: _state(Mode), Observed: _state(Observed),
    }


class User(Base):
    """A person who may sign in. Roles come with accounts; until then `is_admin` may add people."""

    __tablename__ = "users"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    password_hash: Mapped[str] = mapped_column(String(255))
    is_admin: Mapped[bool] = mapped_column(Boolean, default=False)
    #: Raised to end every session of this person (password change, "sign out everywhere").
    session_epoch: Mapped[int] = mapped_column(Integer, default=0)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Token(Base):
    """An API token: shown once, stored as SHA-256."""

    __tablename__ = "tokens"
    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(100))
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    user: Mapped[User] = relationship(lazy="joined")


class SignIn(Base):
    """A browser in which a person is signed in. Signing out deletes it, so that a copied cookie is worth nothing."""

    __tablename__ = "sign_ins"
    #: SHA-256 of the id in the cookie.
    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    #: The person's `session_epoch` at that time.
    epoch: Mapped[int] = mapped_column(Integer)
    address: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    seen_at: Mapped[datetime] = mapped_column(server_default=func.now())
    user: Mapped[User] = relationship(lazy="joined")


class Server(Base):
    """A machine that WebOps manages over SSH."""

    __tablename__ = "servers"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    address: Mapped[str] = mapped_column(String(253))
    port: Mapped[int] = mapped_column(default=22)
    #: known_hosts lines ("ssh-ed25519 AAAA…", one per line) that a person accepted; empty: not yet.
    host_key: Mapped[str] = mapped_column(Text, default="")
    #: What was offered and is not accepted yet (first time, or when it changed).
    offered_host_key: Mapped[str] = mapped_column(Text, default="")
    public_key: Mapped[str] = mapped_column(Text)
    #: OpenSSH private key, sealed (panel.store.seal) with context "server:<name>:private_key".
    private_key: Mapped[bytes] = mapped_column(LargeBinary)
    #: Facts read when it was made ready; {} before.
    facts: Mapped[dict[str, Any]] = mapped_column(default=dict)
    ready_at: Mapped[datetime | None]
    observed: Mapped[Observed] = mapped_column(default=Observed.UNKNOWN)
    #: One sentence for people: why it is so.
    observed_text: Mapped[str] = mapped_column(Text, default="Not looked at yet.")
    observed_at: Mapped[datetime | None]
    #: Figures of the server (load, memory, disk, uptime …), and since when it cannot be reached.
    observed_data: Mapped[dict[str, Any]] = mapped_column(default=dict)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    places: Mapped[list[Place]] = relationship(back_populates="server")


class Resource(Seen, Base):
    """One thing asked for: a kind, a name, a server or a group of them, values for its parameters."""

    __tablename__ = "resources"
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(64))
    name: Mapped[str] = mapped_column(String(64), unique=True)
    #: None: it lives on one server, which its only place names.
    group_id: Mapped[int | None] = mapped_column(ForeignKey("groups.id"))
    #: A part (the vhost of an app) belongs to its parent and follows it.
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("resources.id", ondelete="CASCADE"))
    #: Only what a person decided, by parameter name, no secrets; defaults stay with the role.
    values: Mapped[dict[str, Any]] = mapped_column(default=dict)
    #: Secret values, sealed as one JSON object with context "resource:<name>:secrets".
    secrets: Mapped[bytes | None] = mapped_column(LargeBinary)
    #: Set by a successful `main`, unset by a successful `remove` (then the row goes).
    applied_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    group: Mapped[Group | None] = relationship(back_populates="resources", lazy="joined")
    places: Mapped[list[Place]] = relationship(back_populates="resource", cascade="all, delete-orphan",
                                               lazy="selectin", order_by="Place.id")
    parent: Mapped[Resource | None] = relationship(remote_side="Resource.id", back_populates="parts")
    parts: Mapped[list[Resource]] = relationship(back_populates="parent", cascade="all, delete-orphan")
    drift: Mapped[Drift | None] = relationship(back_populates="resource", cascade="all, delete-orphan", uselist=False)


class Run(Base):
    """One execution of an action by Ansible."""

    __tablename__ = "runs"
    id: Mapped[int] = mapped_column(primary_key=True)
    #: What must not run twice at a time: "resource:<root resource id>" or "server:<id>". Taken at the claim.
    lock: Mapped[str] = mapped_column(String(64))
    kind: Mapped[str] = mapped_column(String(64))
    #: Names as they were, so that the run can be read after its resource is gone.
    resource_name: Mapped[str] = mapped_column(String(64))
    resource_id: Mapped[int | None] = mapped_column(ForeignKey("resources.id", ondelete="SET NULL"))
    #: The group that it was asked for; its servers as they were then are `servers`.
    group_id: Mapped[int | None] = mapped_column(ForeignKey("groups.id", ondelete="SET NULL"))
    action: Mapped[str] = mapped_column(String(64))
    mode: Mapped[Mode] = mapped_column(default=Mode.APPLY)
    state: Mapped[State] = mapped_column(default=State.QUEUED)
    #: How many of its servers it works on at a time: a number, or a share such as "25%".
    batch: Mapped[str] = mapped_column(String(8), default="1")
    #: Why it was made: "" what somebody asked for, "plan", "drift".
    purpose: Mapped[str] = mapped_column(String(16), default="")
    #: Variables of WebOps' own for the play, beside the values: webops_planned, webops_confirmed, webops_commit.
    conditions: Mapped[dict[str, Any]] = mapped_column(default=dict)
    #: Of a drift check made by the clock: the server, where only one such check goes on at a time.
    drift_server: Mapped[int | None]
    #: Values as sent, without secrets: resource's values and the action's own.
    values: Mapped[dict[str, Any]] = mapped_column(default=dict)
    #: Secrets of this run only (a first-contact login, an action's secret), sealed; wiped when the run ends.
    secrets: Mapped[bytes | None] = mapped_column(LargeBinary)
    actor: Mapped[str] = mapped_column(String(64))
    #: browser, cli or api
    door: Mapped[str] = mapped_column(String(16))
    #: Commit of roles/ and playbooks/ (or "modified") when it ran: what defaults meant then.
    roles_version: Mapped[str] = mapped_column(String(64), default="")
    #: Seconds after which it is stopped.
    timeout: Mapped[int] = mapped_column(Integer)
    #: Why it is still queued, in words.
    waits_for: Mapped[str] = mapped_column(Text, default="")
    #: First line of what went wrong, and what to do next; both in words.
    error: Mapped[str] = mapped_column(Text, default="")
    next_step: Mapped[str] = mapped_column(Text, default="")
    #: Last lines of the journal of what failed.
    journal: Mapped[list[Any]] = mapped_column(default=list)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    #: Number of the last stored event; events are 1..last_event without gaps.
    last_event: Mapped[int] = mapped_column(default=0)
    cancel_asked_by: Mapped[str] = mapped_column(String(64), default="")
    lease_owner: Mapped[str] = mapped_column(String(128), default="")
    lease_until: Mapped[datetime | None]
    resource: Mapped[Resource | None] = relationship()
    group: Mapped[Group | None] = relationship()
    servers: Mapped[list[RunServer]] = relationship(back_populates="run", cascade="all, delete-orphan",
                                                    order_by="RunServer.id")

    @property
    def gives_way(self) -> bool:
        """Whether nobody asked for it: a look at drift that the clock began."""
        return self.purpose == "drift" and self.door == "clock"

    __table_args__ = (
        # The lock itself: at most one running run per lock, whatever the workers think.
        Index("one_running_run_per_lock", "lock", unique=True,
              sqlite_where=text("state = 'running'"), postgresql_where=text("state = 'running'")),
        Index("one_drift_check_per_server", "drift_server", unique=True,
              sqlite_where=text("state IN ('queued', 'running')"),
              postgresql_where=text("state IN ('queued', 'running')")),
        Index("runs_by_state", "state"),
        Index("runs_by_resource", "resource_id", "id"),
    )


class RunServer(Base):
    """A server's part in a run."""

    __tablename__ = "run_servers"
    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"))
    server_id: Mapped[int | None] = mapped_column(ForeignKey("servers.id", ondelete="SET NULL"))
    server_name: Mapped[str] = mapped_column(String(64))
    #: The inventory host: "<resource>@<server>", or "<server>" for the kind server.
    host: Mapped[str] = mapped_column(String(140))
    state: Mapped[PartState] = mapped_column(default=PartState.QUEUED)
    ok: Mapped[int] = mapped_column(default=0)
    changed: Mapped[int] = mapped_column(default=0)
    failed: Mapped[int] = mapped_column(default=0)
    skipped: Mapped[int] = mapped_column(default=0)
    run: Mapped[Run] = relationship(back_populates="servers")
    server: Mapped[Server | None] = relationship()
    __table_args__ = (UniqueConstraint("run_id", "host"),)


class Event(Base):
    """One thing that Ansible reported in a run, numbered from 1 without gaps, redacted and cut before it is stored."""

    __tablename__ = "events"
    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    #: play, task, begin (a host, of several), ok, changed, skipped, failed, unreachable, ignored, output, stats, note
    type: Mapped[str] = mapped_column(String(16))
    at: Mapped[datetime]
    #: Task that this belongs to: number within the run, from 1 in the order tasks began; 0: none. An output of a task
    #: and a host is what a program wrote there before its result was known.
    step: Mapped[int] = mapped_column(default=0)
    host: Mapped[str] = mapped_column(String(140), default="")
    name: Mapped[str] = mapped_column(Text, default="")
    role: Mapped[str] = mapped_column(String(64), default="")
    #: Seconds that the task took on this host.
    seconds: Mapped[float | None] = mapped_column(Float)
    #: summary, msg, next, journal, stdout, stderr, diff (list of {before, after, header…}), cut (bytes left out), …
    data: Mapped[dict[str, Any]] = mapped_column(default=dict)


from panel.store import places, planned, surveyed  # noqa: E402  further tables of the same database

__all__ = ["Base", "Event", "Mode", "Moment", "Observed", "PartState", "Resource", "Run", "RunServer", "Server",
           "SignIn", "State", "Token", "User", "places", "planned", "surveyed"]
