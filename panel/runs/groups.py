"""Groups of servers: made, changed and removed; which servers of a resource a person means."""

from __future__ import annotations

import re
from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from panel.catalog import Problem, Refused, catalog
from panel.catalog.formats import problem
from panel.runs import bell, parts
from panel.runs.errors import GroupInUse, NameTaken, Unknown
from panel.runs.hosts import listed
from panel.store.models import Resource, Run, RunServer, Server, State
from panel.store.places import Group, Place

#: Names that mean something in every inventory.
_TAKEN = ("all", "ungrouped", "server", "panel")
BATCH = "How many servers at a time: a number from 1 to 999, or a share from 1% to 100%."


def add(session: Session, name: str, servers: Sequence[str], batch: str = "") -> Group:
    """A group of these servers, in this order. COMMITS.

    Refused: a name or a batch that cannot be used. NameTaken, Unknown.
    """
    if found := problem("name", name):
        raise Refused([Problem("name", found.code, found.message)])
    if name in _TAKEN or name in catalog().kinds or session.scalar(select(Server.id).where(Server.name == name)):
        raise NameTaken(f"'{name}' is the name of something else: of groups, servers and kinds each needs its own.")
    group = Group(name=name, batch=checked_batch(batch or "1"))
    group.servers = [_server(session, one) for one in dict.fromkeys(servers)]
    session.add(group)
    try:
        session.commit()
    except IntegrityError as wrong:
        session.rollback()
        raise NameTaken(f"There is a group named '{name}' already. Choose another name.") from wrong
    return group


def change(session: Session, group: Group, *, put_in: Sequence[str] = (), take_out: Sequence[str] = (),
           batch: str = "") -> Group:
    """Put servers in, take others out. What lives on the group comes to a new one with its next Apply. COMMITS.

    Refused, Unknown. GroupInUse: something of the group is still on a server that shall leave.
    """
    coming, leaving = [_server(session, one) for one in put_in], [_server(session, one) for one in take_out]
    for one in leaving:
        _check_leaves(session, group, one)
    if batch:
        group.batch = checked_batch(batch)
    staying = [one for one in group.servers if one not in leaving]
    group.servers = [*staying, *(one for one in dict.fromkeys(coming) if one not in staying)]
    for resource in group.resources:
        resource.places = [one for one in resource.places if one.server not in leaving]
        parts.place_on(resource, group.servers)
    session.commit()
    for one in coming:
        bell.look(one.id)
    return group


def remove(session: Session, group: Group) -> None:
    """Its servers stay as they are. COMMITS. GroupInUse: something lives on it."""
    names = sorted(one.name for one in group.resources if one.parent_id is None)
    if names:
        raise GroupInUse(f"{listed(names)} {'lives' if len(names) == 1 else 'live'} on {group.name}. "
                         f"Remove {'it' if len(names) == 1 else 'them'} first: webops remove {names[0]}")
    session.delete(group)
    session.commit()


def find(session: Session, name: str) -> Group | None:
    return session.scalar(select(Group).where(Group.name == name))


def servers_named(resource: Resource, names: Sequence[str]) -> list[Server]:
    """Those of the resource's servers that have these names, in their order; none where none was named. Unknown."""
    servers = resource.servers
    for name in names:
        if all(one.name != name for one in servers):
            raise Unknown(f"{resource.name} is not on '{name}'. It is on {listed([one.name for one in servers])}.")
    return [one for one in servers if one.name in names]


def one_server(resource: Resource, name: str = "") -> Server:
    """The resource's server of this name; without a name its first one. Unknown: it is not there."""
    return (servers_named(resource, [name] if name else []) or resource.servers)[0]


def checked_batch(text: str) -> str:
    """Refused: it is neither a number of servers nor a share of them."""
    bare = text.strip().replace(" ", "")
    number = re.fullmatch(r"([0-9]{1,3})(%?)", bare, re.ASCII)
    if not number or not 1 <= int(number[1]) <= (100 if number[2] else 999):
        raise Refused([Problem("batch", "invalid_batch", BATCH)])
    return f"{int(number[1])}{number[2]}"


def _server(session: Session, name: str) -> Server:
    found = session.scalar(select(Server).where(Server.name == name))
    if found is None:
        known = ", ".join(session.scalars(select(Server.name).order_by(Server.name))) or "none yet"
        raise Unknown(f"There is no server '{name}'. There are: {known}.")
    return found


def _check_leaves(session: Session, group: Group, server: Server) -> None:
    if server not in group.servers:
        raise Unknown(f"{server.name} is not in {group.name}.")
    there = list(session.scalars(select(Resource.name).join(Resource.places).where(
        Resource.group_id == group.id, Resource.parent_id.is_(None), Place.server_id == server.id,
        Place.applied_at.is_not(None)).order_by(Resource.name)))
    if there:
        raise GroupInUse(f"{listed(there)} {'is' if len(there) == 1 else 'are'} on {server.name} by way of "
                         f"{group.name}. Take it off there first: webops remove {there[0]} --on {server.name}")
    active = session.scalar(select(func.count()).select_from(RunServer).join(Run).join(Run.resource).where(
        RunServer.server_id == server.id, Resource.group_id == group.id,
        Run.state.in_([State.QUEUED, State.RUNNING])))
    if active:
        raise GroupInUse(f"A run of something on {group.name} is still going on. Wait for it, or cancel it.")
