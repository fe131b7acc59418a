"""Drift: whether a server still is as it was applied. A check run of the applied values and the live commit tells."""

from __future__ import annotations

import logging
import random
import time
from datetime import datetime, timedelta

from sqlalchemy import delete, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Session

from panel.catalog import Refused
from panel.runs import bell, findings, releases, resources
from panel.runs.errors import NotApplied, RunsError
from panel.runs.hosts import listed
from panel.runs.submit import DRIFT, Extra
from panel.store import db
from panel.store.models import Event, Mode, Resource, Run, RunServer, State
from panel.store.places import Place
from panel.store.planned import Drift, DriftState, Interval
from panel.store.seal import SecretContextError

log = logging.getLogger("webops.drift")
#: What a check and a reconciliation are held to: the code that serves, not what its branch has become.
LIVE = {"webops_planned": {"commit": "live"}}
RECONCILE = "reconcile"
#: Who asks when nobody does.
CLOCK, CLOCK_DOOR = "webops", "clock"
_BETWEEN = {Interval.HOURLY: timedelta(hours=1), Interval.DAILY: timedelta(days=1)}
_SOON = timedelta(minutes=1)
_KEPT_CHECKS = 10
_ACTIVE = (State.QUEUED, State.RUNNING)
#: Actions after which a resource serves, or does not.
_DECIDE = ("main", "deploy", "rollback", "start", "stop")


def of(session: Session, resource: Resource) -> Drift:
    """What is known of a resource; of a part, what is known of the whole. Does not commit."""
    head = head_of(resource)
    found = session.get(Drift, head.id)
    if found is None:
        _begin(session, head.id, db.now(session))
        found = session.get_one(Drift, head.id)
    return found


def head_of(resource: Resource) -> Resource:
    """The resource that a part belongs to, or itself."""
    while resource.parent is not None:
        resource = resource.parent
    return resource


def set_interval(session: Session, resource: Resource, interval: Interval) -> Drift:
    """How often it is looked at by itself, from soon on. COMMITS."""
    row = of(session, resource)
    row.interval = interval
    row.due = None if interval is Interval.OFF else db.now(session) + random.random() * 10 * _SOON  # noqa: S311
    session.commit()
    return row


def check(session: Session, resource: Resource, actor: str, door: str, drift_server: int | None = None) -> Run:
    """A check; the one that is on already, where there is one. What the clock asks for gives way to people.

    COMMITS. NotApplied: nobody knows what should be there. And what `resources.act` refuses.
    """
    head = head_of(resource)
    on = session.scalar(select(Run).where(Run.resource_id == head.id, Run.purpose == DRIFT, Run.state.in_(_ACTIVE),
                                          Run.cancel_asked_by == ""))
    if on is not None and (door == CLOCK_DOOR or _taken_over(session, on, actor, door)):
        return on
    if why := unknowable(session, head):
        raise NotApplied(why)
    of(session, head)
    # A server that came into the group since is not what it should be, and nobody changed it.
    applied = [place.server for place in head.places if place.applied_at]
    return resources.act(session, resource=head, action="main", given={}, actor=actor, door=door, mode=Mode.CHECK,
                         on=applied, extra=Extra(DRIFT, LIVE, drift_server))


def _taken_over(session: Session, run: Run, actor: str, door: str) -> bool:
    """A look of the clock is now that of a person, and gives way no more. False: it ended in this moment. COMMITS."""
    actor, door = (actor, door) if run.gives_way else (run.actor, run.door)
    taken = session.execute(update(Run).where(Run.id == run.id, Run.state.in_(_ACTIVE), Run.cancel_asked_by == "")
                            .values(actor=actor, door=door), execution_options={"synchronize_session": False})
    session.commit()
    session.refresh(run)
    if run.state is State.QUEUED:
        bell.ring(run.id)
    return bool(taken.rowcount)  # type: ignore[attr-defined]


def reconcile(session: Session, resource: Resource, actor: str, door: str) -> Run:
    """Make it again what was applied: its stored values, the commit that is live. COMMITS. Errors as `act`."""
    return resources.act(session, resource=head_of(resource), action="main", given={}, actor=actor, door=door,
                         extra=Extra(RECONCILE, LIVE))


def unknowable(session: Session, resource: Resource) -> str:
    """Why nobody can say what should be on the server now; "": it can be said."""
    if resource.applied_at is None:
        return f"{resource.name} was never applied, so there is nothing yet that could drift. Apply it first."
    last = session.scalars(select(Run).where(
        Run.resource_id == resource.id, Run.mode == Mode.APPLY, Run.action.in_(_DECIDE),
        Run.state.not_in(_ACTIVE)).order_by(Run.id.desc())).all()
    stopped = next((one for one in last if one.state is State.SUCCEEDED), None)
    if stopped is not None and stopped.action == "stop":
        return f"{resource.name} is stopped (run {stopped.id}); it is looked at again when it is started."
    applies = [one for one in last if one.action == "main"]
    good = next((one for one in applies if one.state is State.SUCCEEDED), None)
    applied = next((one for one in applies if not _was_nothing(one, good)), None)
    if applied is not None and applied.state is not State.SUCCEEDED:
        return (f"The last Apply of {resource.name} (run {applied.id}) did not succeed, so what should be there is not "
                "what is there. Apply it first.")
    return ""


def _was_nothing(run: Run, good: Run | None) -> bool:
    """Whether a run ended before it changed anything, and wanted nothing else than the last good one."""
    return (good is not None and run.state is not State.SUCCEEDED and run.values == good.values
            and not any(part.changed for part in run.servers))


def settled(session: Session, run: Run) -> None:
    """A run has ended: keep what a check has found; look again after a change. Does not commit."""
    if run.resource is None or run.resource.id is None:
        return
    if run.purpose == DRIFT:
        if run.state is not State.CANCELED:
            _keep(session, of(session, run.resource), run)
    elif run.mode is Mode.APPLY and run.state is State.SUCCEEDED and run.action != "remove":
        row = session.get(Drift, head_of(run.resource).id)
        if row is None or row.at is None or row.state is DriftState.IN_SYNC:
            return
        follows = "nobody has looked since"
        if row.interval is not Interval.OFF:
            row.due, follows = db.now(session), "it is looked at in a moment"
        if row.state is DriftState.DRIFTED:
            row.state, row.text = DriftState.UNKNOWN, f"Changed by run {run.id}; {follows}."


def _keep(session: Session, row: Drift, run: Run) -> None:
    found = findings.of_run(session, run)
    row.at, row.run_id, row.facts = run.ended_at, run.id, found.facts
    if run.state is not State.SUCCEEDED:
        row.state, row.changes = DriftState.CHECK_FAILED, []
        row.text = " ".join(filter(None, (run.error or f"The check was {run.state}.", run.next_step)))
    elif found.changes:
        row.state, row.changes = DriftState.DRIFTED, found.changes
        row.text = _went_back(session, run, found) + _by_other_roles(session, run) + _in_words(run, found)
    else:
        row.state, row.changes = DriftState.IN_SYNC, []
        row.text = f"{found.steps} steps were looked at; nothing would change."
    _forget_old(session, run)


def _in_words(run: Run, found: findings.Findings) -> str:
    names = list(dict.fromkeys(one["name"] for one in found.changes))
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    hosts = {one["host"] for one in found.changes}
    differing = [one.server_name for one in run.servers if one.host in hosts]
    where = f" on {listed(differing)}" if len(run.servers) > 1 and differing else ""
    return f"{len(names)} of {found.steps} steps would change something{where}: {'; '.join(names[:3])}{more}."


def _went_back(session: Session, run: Run, found: findings.Findings) -> str:
    """Somebody went back on purpose: that the variables are those of then was not done by a stranger's hand."""
    place = run.resource.worst if run.resource else None
    back = releases.went_back(releases.of(session, place)) if place else None
    if back is None:
        return ""
    told = found.facts.get("environment") or {}
    names = sorted({str(name) for key in ("added", "removed", "changed") for name in told.get(key) or []})
    if not names:
        return f"{releases.in_words(back)} Besides: "
    these = ", ".join(names[:5]) + (" …" if len(names) > 5 else "")
    verb = "is" if len(names) == 1 else "are"
    return (f"{releases.in_words(back)} That {these} {verb} as in that release comes from going back, and not from a "
            "change by hand; Reconcile brings the values asked for, with the code that is live. ")


def _by_other_roles(session: Session, run: Run) -> str:
    """What another version of the roles would do otherwise was not done by a stranger's hand either."""
    applied = session.scalars(select(Run).where(
        Run.resource_id == run.resource_id, Run.mode == Mode.APPLY, Run.action == "main",
        Run.state == State.SUCCEEDED).order_by(Run.id.desc()).limit(1)).first()
    if applied is None or "" in (applied.roles_version, run.roles_version) \
            or applied.roles_version == run.roles_version:
        return ""
    return (f"The roles were another version when it was applied (run {applied.id}), so not all of this need be by "
            "hand; Reconcile brings what they do now. ")


def _forget_old(session: Session, run: Run) -> None:
    """Checks come by the hour; what they found is kept with the resource, so the runs need not be."""
    old = list(session.scalars(select(Run.id).where(
        Run.resource_id == run.resource_id, Run.purpose == DRIFT, Run.state.not_in(_ACTIVE))
        .order_by(Run.id.desc()).offset(_KEPT_CHECKS)))
    for table, column in ((Event, Event.run_id), (RunServer, RunServer.run_id), (Run, Run.id)):
        session.execute(delete(table).where(column.in_(old)), execution_options={"synchronize_session": False})


def _begin(session: Session, resource_id: int, at: datetime) -> None:
    """The row of a resource, once; first looked at some time within a day, so that not all are at once."""
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    due = at + random.random() * _BETWEEN[Interval.DAILY]  # noqa: S311
    session.execute(dialect.insert(Drift).on_conflict_do_nothing(index_elements=["resource_id"]), [{
        "resource_id": resource_id, "interval": Interval.DAILY, "state": DriftState.UNKNOWN, "text": "",
        "changes": [], "facts": {}, "due": due}])


class Clock:
    """Begins the checks that are due. Any number of workers may have one: each check is begun by one of them."""

    #: Seconds between two looks.
    every = 5.0

    def __init__(self) -> None:
        self._looked = 0.0

    def look(self) -> None:
        """Called often; never raises because of a database that is away."""
        if time.monotonic() - self._looked < self.every:
            return
        self._looked = time.monotonic()
        try:
            with db.session() as session:
                tick(session)
        except (SQLAlchemyError, OSError) as wrong:
            log.warning("Drift is not looked for now (%s).", type(wrong).__name__)


def tick(session: Session) -> list[int]:
    """Begin what is due, at most one check per server at a time; the runs that were begun. COMMITS."""
    at = db.now(session)
    new = session.scalars(select(Resource.id).where(Resource.parent_id.is_(None), Resource.applied_at.is_not(None),
                                                    ~Resource.drift.has())).all()
    for resource_id in new:
        _begin(session, resource_id, at)
    due = session.execute(select(Drift.resource_id, Drift.due).where(Drift.due <= at, Drift.interval != Interval.OFF)
                          .order_by(Drift.due).limit(200)).all()
    places: dict[int, list[int]] = {}
    for resource_id, server_id in session.execute(select(Place.resource_id, Place.server_id).where(
            Place.resource_id.in_([one.resource_id for one in due])).order_by(Place.id)):
        places.setdefault(resource_id, []).append(server_id)
    session.commit()
    begun: list[int] = []
    busy = _busy(session) if due else set()
    for resource_id, moment in due:
        servers = places.get(resource_id, [])
        if moment and servers and not busy.intersection(servers) and _is_mine(session, resource_id, moment, at):
            run = _start(session, resource_id, servers[0])
            begun += [run] if run else []
            busy.update(servers)
    return begun


def _busy(session: Session) -> set[int | None]:
    """Servers on which a run goes on or waits: there a look at drift comes later."""
    return set(session.scalars(select(RunServer.server_id).join(RunServer.run).where(Run.state.in_(_ACTIVE))))


def _is_mine(session: Session, resource_id: int, due: datetime, at: datetime) -> bool:
    """Set its next time; of several who try, one does."""
    interval = session.scalar(select(Drift.interval).where(Drift.resource_id == resource_id))
    if interval is None:
        return False
    between = _BETWEEN.get(interval)
    following = at + between * random.uniform(0.9, 1.1) if between else None  # noqa: S311
    won = session.execute(update(Drift).where(Drift.resource_id == resource_id, Drift.due == due).values(due=following),
                          execution_options={"synchronize_session": False})
    session.commit()
    return bool(won.rowcount)  # type: ignore[attr-defined]


def _start(session: Session, resource_id: int, server_id: int) -> int | None:
    resource = session.get(Resource, resource_id, populate_existing=True)
    if resource is None:
        return None
    try:
        return check(session, resource, CLOCK, CLOCK_DOOR, drift_server=server_id).id
    except IntegrityError:
        session.rollback()  # another worker looks at this server already
        session.execute(update(Drift).where(Drift.resource_id == resource_id).values(due=db.now(session) + _SOON))
    except NotApplied as why:
        session.rollback()
        session.execute(update(Drift).where(Drift.resource_id == resource_id).values(
            state=DriftState.UNKNOWN, text=why.message, at=db.now(session), changes=[]))
    except (RunsError, Refused, SecretContextError) as wrong:
        session.rollback()
        session.execute(update(Drift).where(Drift.resource_id == resource_id).values(
            state=DriftState.CHECK_FAILED, text=str(wrong), at=db.now(session), changes=[]))
    session.commit()
    return None
