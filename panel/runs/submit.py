"""The only door to a run: its row is written and committed, then the bell is rung."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from panel.catalog import Kind, NoSuchKind, catalog
from panel.runs import bell, claim, parts
from panel.runs.errors import AlreadyOver, NoHostKey, NotReady, TimeoutNotPossible, Unknown
from panel.settings import settings
from panel.store.db import now
from panel.store.models import Mode, PartState, Resource, Run, RunServer, Server, State
from panel.store.places import Group
from panel.store.planned import Drift, Interval
from panel.store.seal import seal

_LONGEST_TIMEOUT = 7 * 24 * 3600
SERVER_KIND = "server"
DRIFT = "drift"


@dataclass(frozen=True)
class Extra:
    """What WebOps itself adds to a run, beside what was asked for."""

    #: Run.purpose
    purpose: str = ""
    #: Run.conditions
    conditions: Mapping[str, Any] = field(default_factory=dict)
    #: Run.drift_server
    drift_server: int | None = None
    #: Run.batch; None: as its group says.
    batch: str | None = None
    #: Called with the run before it is committed, to write what belongs to it; what this raises undoes everything.
    bind: Callable[[Run], None] | None = None


NOTHING = Extra()


def submit(session: Session, *, kind: str, action: str, actor: str, door: str, resource: Resource | None = None,
           where: Server | Group | None = None, name: str = "", on: Sequence[Server] = (), mode: Mode = Mode.APPLY,
           values: Mapping[str, Any] | None = None, secrets: Mapping[str, Any] | None = None,
           timeout: int | None = None, extra: Extra = NOTHING) -> Run:
    """A run of `action`, queued. COMMITS the session, and with it whatever the caller added to it.

    `resource`; or `where` for the kind "server"; or both `where` and the `name` that a resource would have, to
    check one that is not there yet. `on`: only these of its servers. `values` and `secrets` by full parameter name
    and clean already; the secrets that the resource has now go along by themselves: what somebody asks for later is
    the next run's.
    Unknown, NotReady, NoHostKey, TimeoutNotPossible: nothing was stored.
    """
    where = where or (resource.where if resource else None)
    if where is None:
        raise Unknown("A run needs a resource or a server.")
    targets = list(on) or (resource.servers if resource else servers_of(where))
    for target in targets:
        check(_kind(kind), action, target)
        _check_stays(session, target)
    name = resource.name if resource else name
    run = Run(lock=lock_of(resource, where, name), kind=kind, action=action, mode=mode, actor=actor, door=door,
              resource=resource, group=where if isinstance(where, Group) else None,
              resource_name=name or where.name, values=dict(values or {}),
              timeout=_timeout(timeout), purpose=extra.purpose, conditions=dict(extra.conditions),
              drift_server=extra.drift_server, batch=extra.batch or (where.batch if isinstance(where, Group) else "1"))
    run.servers = [RunServer(server=one, server_name=one.name, host=f"{name}@{one.name}" if name else one.name)
                   for one in targets]
    session.add(run)
    session.flush()
    if held := {**(parts.secrets_of(resource) if resource else {}), **(secrets or {})}:
        run.secrets = seal(f"run:{run.id}:secrets", held)
    session.flush()
    if extra.bind:
        extra.bind(run)
    claim.say_what_it_waits_for(session, run.id)
    session.commit()
    if run.purpose != DRIFT:
        _clear_the_way(session, run)
    session.refresh(run)
    bell.ring(run.id, is_low=run.gives_way)
    return run


def _clear_the_way(session: Session, run: Run) -> None:
    """Nobody waits for a look of the clock: it ends, and comes again by itself. It touches nothing, so nothing is lost.

    A look that a person asked for is waited for, as anything else.
    """
    active = session.scalars(select(Run).where(
        Run.purpose == DRIFT, Run.state.in_([State.QUEUED, State.RUNNING]), Run.cancel_asked_by == "")).all()
    looks = [one for one in active if one.gives_way]
    if not looks:
        return
    running = session.scalar(select(func.count(Run.id)).where(Run.state == State.RUNNING)) or 0
    for one in looks:
        if one.lock == run.lock or running >= settings().workers:
            with suppress(AlreadyOver):
                cancel(session, one, "webops")
            session.execute(update(Drift).where(
                Drift.resource_id == one.resource_id, Drift.interval != Interval.OFF).values(
                due=now(session) + timedelta(minutes=1)))
    session.commit()


def cancel(session: Session, run: Run, actor: str) -> None:
    """Ask a run to stop: a queued one is canceled at once, a running one by its worker within seconds. COMMITS.

    AlreadyOver: it has ended.
    """
    queued = update(Run).where(Run.id == run.id, Run.state == State.QUEUED).values(
        state=State.CANCELED, cancel_asked_by=actor, ended_at=now(session), waits_for="", secrets=None,
        error=f"Canceled by {actor} before it began.", next_step=_left_by(run))
    running = update(Run).where(Run.id == run.id, Run.state == State.RUNNING, Run.cancel_asked_by == "").values(
        cancel_asked_by=actor)
    if session.execute(queued).rowcount:  # type: ignore[attr-defined]
        session.execute(update(RunServer).where(RunServer.run_id == run.id).values(
            state=PartState.CANCELED))
    else:
        session.execute(running)
    session.commit()
    session.refresh(run)
    if not run.cancel_asked_by:
        raise AlreadyOver(f"Run {run.id} has ended already ({run.state}), so there is nothing to cancel.")
    bell.tell(run.id)
    if run.state is State.CANCELED:
        ring_next(session, run.lock)


def _left_by(run: Run) -> str:
    if run.action == "main" and run.mode is Mode.APPLY and run.resource and not run.purpose:
        return (f"Nothing was changed on the server. The values that were asked for stay those of {run.resource.name}, "
                "and come with its next run; to take them back, apply it with the values of before.")
    return "Nothing was changed."


def ring_next(session: Session, lock: str) -> None:
    """Ring for the run that waits for a lock, if there is one."""
    following = claim.waiting(session, lock)
    session.commit()
    if following is not None:
        bell.ring(following, is_low=session.get_one(Run, following).gives_way)


def servers_of(where: Server | Group) -> list[Server]:
    """The server itself, or those of the group in their order."""
    return [where] if isinstance(where, Server) else list(where.servers)


def lock_of(resource: Resource | None, where: Server | Group, name: str = "") -> str:
    """What must not run twice at a time. A part shares the lock of the resource that it belongs to."""
    if resource is None:
        return f"name:{name}" if name else f"server:{where.id}"
    while resource.parent is not None:
        resource = resource.parent
    return f"resource:{resource.id}"


def _kind(name: str) -> Kind:
    try:
        return catalog().kind(name)
    except NoSuchKind as wrong:
        raise Unknown(str(wrong)) from wrong


def check(kind: Kind, action: str, server: Server) -> None:
    """Unknown, NoHostKey, NotReady: this cannot be done there."""
    if action not in kind.actions:
        raise Unknown(f"{kind.label} has no action '{action}'. There are: {', '.join(sorted(kind.actions))}.")
    if not server.host_key:
        raise NoHostKey(f"Nobody has accepted the host key of {server.name} yet. "
                        "Compare its fingerprint and accept it.")
    if server.offered_host_key:
        raise NoHostKey(f"{server.name} shows another host key than the one that was accepted, so nothing is sent "
                        f"there. Compare the new fingerprint: webops server accept {server.name}")
    if server.ready_at is None and kind.name != SERVER_KIND:
        raise NotReady(f"{server.name} is not ready yet. Make it ready first: webops server ready {server.name}")


def _check_stays(session: Session, server: Server) -> None:
    """NotReady: a run is taking WebOps off this server, so nothing further can be begun there."""
    leaving = session.scalar(select(Run.id).join(RunServer).where(
        RunServer.server_id == server.id, Run.kind == SERVER_KIND, Run.action == "remove", Run.mode == Mode.APPLY,
        Run.state.in_([State.QUEUED, State.RUNNING])).limit(1))
    if leaving:
        raise NotReady(f"{server.name} is being removed (run {leaving}). Wait for its end, or cancel it.")


def _timeout(given: int | None) -> int:
    seconds = settings().run_timeout if given is None else given
    if not 10 <= seconds <= _LONGEST_TIMEOUT:
        raise TimeoutNotPossible(f"A time-out must lie between 10 seconds and {_LONGEST_TIMEOUT} (7 days).")
    return seconds
