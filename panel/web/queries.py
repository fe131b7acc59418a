"""What pages read: rows with what belongs to them, in few statements."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session, joinedload, selectinload

from panel.runs.submit import DRIFT
from panel.store.models import Mode, Resource, Run, RunServer, Server, State
from panel.store.places import Group, Place
from panel.web.errors import Gone
from panel.web.words import seconds_of

ACTIVE = (State.QUEUED, State.RUNNING)
_ENDED_BADLY = (State.FAILED, State.LOST)


class Counts(NamedTuple):
    """The numbers in the navigation."""

    resources: int
    servers: int
    active: int


def counts(session: Session) -> Counts:
    row = session.execute(select(
        select(func.count(Resource.id)).where(Resource.parent_id.is_(None)).scalar_subquery(),
        select(func.count(Server.id)).scalar_subquery(),
        select(func.count(Run.id)).where(Run.state.in_(ACTIVE), Run.purpose != DRIFT).scalar_subquery())).one()
    return Counts(*row)


def resource(session: Session, name: str) -> Resource:
    """Gone: no resource of that name."""
    found = session.scalar(select(Resource).where(Resource.name == name)
                           .options(selectinload(Resource.parts), joinedload(Resource.parent),
                                                                      joinedload(Resource.drift)))
    if found is None:
        raise Gone(f"There is no resource named '{name}'. It may have been removed.")
    return found


def server(session: Session, name: str) -> Server:
    """Gone: no server of that name."""
    found = session.scalar(select(Server).where(Server.name == name))
    if found is None:
        raise Gone(f"There is no server named '{name}'. It may have been removed.")
    return found


def run(session: Session, number: int) -> Run:
    """Gone: no run with that number."""
    found = session.get(Run, number, options=[selectinload(Run.servers), joinedload(Run.resource)])
    if found is None:
        raise Gone(f"There is no run {number}. Old runs are removed after a while.")
    return found


def resources(session: Session, *, server: str = "", kind: str = "", text: str = "") -> Sequence[Resource]:
    """Resources in the order of servers and names, parts behind their parents; `server`: also the name of a group."""
    found = select(Resource).options(joinedload(Resource.parent), joinedload(Resource.drift))
    if server:
        found = found.where(or_(Resource.places.any(Place.server.has(name=server)), Resource.group.has(name=server)))
    if kind:
        found = found.where(Resource.kind == kind)
    rows = session.scalars(found.order_by(Resource.name)).all()
    if text:
        rows = [one for one in rows if text.lower() in f"{one.name} {' '.join(map(str, one.values.values()))}".lower()]
    names = {one.id: one.name for one in rows}
    return sorted(rows, key=lambda one: (one.where.name, names.get(one.parent_id or 0, one.name),
                                         one.parent_id is not None, one.name))


def servers(session: Session) -> Sequence[Server]:
    found = select(Server).options(selectinload(Server.places).joinedload(Place.resource))
    return session.scalars(found.order_by(Server.name)).all()


def groups(session: Session) -> Sequence[Group]:
    return session.scalars(select(Group).options(selectinload(Group.resources)).order_by(Group.name)).all()


def group(session: Session, name: str) -> Group:
    """Gone: no group of that name."""
    found = session.scalar(select(Group).where(Group.name == name))
    if found is None:
        raise Gone(f"There is no group named '{name}'. It may have been removed.")
    return found


def runs(session: Session, *, resource: Resource | None = None, server: Server | None = None, state: str = "",
         kind: str = "", before: int = 0, limit: int = 50) -> Sequence[Run]:
    """Runs, the newest first; looks at drift come by the hour and are left out."""
    found = select(Run).options(selectinload(Run.servers)).order_by(Run.id.desc()).limit(limit)
    found = found.where(Run.purpose != DRIFT)
    if resource is not None:
        found = found.where(Run.resource_id == resource.id)
    if server is not None:
        found = found.where(Run.servers.any(RunServer.server_id == server.id))
    if state == "active":
        found = found.where(Run.state.in_(ACTIVE))
    elif state in {one.value for one in State}:
        found = found.where(Run.state == State(state))
    if kind:
        found = found.where(Run.kind == kind)
    if before:
        found = found.where(Run.id < before)
    return session.scalars(found).all()


def last_runs(session: Session, ids: Iterable[int]) -> dict[int, Run]:
    """The latest run of each of these resources, by the resource's id."""
    newest = (select(func.max(Run.id)).where(Run.resource_id.in_(list(ids)), Run.purpose != DRIFT)
              .group_by(Run.resource_id))
    return {one.resource_id: one for one in session.scalars(select(Run).where(Run.id.in_(newest)))
            if one.resource_id is not None}


def last_server_runs(session: Session) -> dict[int, Run]:
    """The latest run of the kind server for each server, by the server's id."""
    newest = (select(RunServer.server_id, func.max(Run.id)).join(Run).where(Run.kind == "server")
              .group_by(RunServer.server_id))
    by_run = {run_id: server_id for server_id, run_id in session.execute(newest) if server_id is not None}
    return {by_run[one.id]: one for one in session.scalars(select(Run).where(Run.id.in_(list(by_run))))}


def earlier(session: Session, run: Run) -> Sequence[Run]:
    """Successful runs of the same action before this one, the newest first: what it usually does, how long."""
    same = select(Run).where(Run.kind == run.kind, Run.action == run.action, Run.mode == run.mode,
                             Run.state == State.SUCCEEDED, Run.id < run.id)
    own = session.scalars(same.where(Run.resource_name == run.resource_name).order_by(Run.id.desc()).limit(5)).all()
    return own or session.scalars(same.order_by(Run.id.desc()).limit(5)).all()


def usual_seconds(past: Sequence[Run]) -> float | None:
    """The median of what earlier runs took; None: there was none."""
    took = sorted(filter(None, map(seconds_of, past)))
    return took[len(took) // 2] if took else None


def failed_runs(last: Iterable[Run]) -> list[Run]:
    """Those whose last word is a failure that somebody should look at."""
    return [one for one in last if one.state in _ENDED_BADLY and one.mode is Mode.APPLY]
