"""What a person wants of a resource: apply it, do something with it, take its values along."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from panel.catalog import Cleaned, Kind, NoSuchKind, Problem, Refused, catalog, clean, merge_secrets
from panel.catalog.formats import problem
from panel.runs import parts, refuse, releases
from panel.runs.errors import NameTaken, NotReady, PartOfAnother, Unknown
from panel.runs.submit import NOTHING, SERVER_KIND, Extra, check, servers_of, submit
from panel.store.models import Mode, Resource, Run, Server
from panel.store.places import Group


def ask(session: Session, *, kind: str, name: str, where: Server | Group | str, given: Mapping[str, Any], actor: str,
        door: str, mode: Mode = Mode.APPLY, timeout: int | None = None, on: Sequence[Server] = (),
        extra: Extra = NOTHING) -> Run:
    """Apply a resource: `given` are all values that it shall have; secrets that are left out stay.

    `where`: its server, or its group, also by name. Its row, the rows of its parts and the run are written together;
    in mode check nothing is written but the run.
    Refused: values that cannot be used. RunsError: NameTaken, DomainTaken, NotReady, NoHostKey, PartOfAnother, Unknown.
    """
    wish = _kind(kind)
    target = place(session, where)
    _check_can(wish, "main", target)
    _check_name(name)
    row = session.scalar(select(Resource).where(Resource.name == name))
    if row is not None:
        _check_same(row, wish, target)
    old_secrets = parts.secrets_of(row) if row else {}
    cleaned = clean(wish, "main", given, known_secrets=old_secrets)
    refuse.private_git_hosts(wish.main, cleaned.values)
    refuse.long_part_names(wish, name, {**cleaned.values, **cleaned.secrets})
    refuse.taken_domains(session, wish, name, cleaned.values)
    if mode is Mode.CHECK:
        secrets = merge_secrets(old_secrets, cleaned.secrets)
        gone = {key: [] if isinstance(old, list) else "" for key, old in old_secrets.items() if key not in secrets}
        return submit(session, kind=kind, action="main", actor=actor, door=door, mode=mode, timeout=timeout,
                      resource=row, where=target, name=name, on=on, values=cleaned.values,
                      secrets={**gone, **secrets}, extra=extra)
    try:
        row = _write(session, row, wish, name, target, cleaned, old_secrets)
        return submit(session, kind=kind, action="main", actor=actor, door=door, mode=mode, timeout=timeout,
                      resource=row, on=on, values=cleaned.values, extra=extra)
    except IntegrityError as wrong:
        session.rollback()
        raise NameTaken(f"Somebody took the name '{name}', or one of its parts, in this moment. "
                        "Try again with another name.") from wrong


def act(session: Session, *, resource: Resource, action: str, given: Mapping[str, Any], actor: str, door: str,
        mode: Mode = Mode.APPLY, timeout: int | None = None, on: Sequence[Server] = (),
        extra: Extra = NOTHING) -> Run:
    """Any action: with the resource's values, and `given` over them for this run only. `on`: on these servers alone.

    "main" applies it with the values that it has and `given` over them. After a successful "remove" its rows go.
    Errors as in `ask`.
    """
    wish = _kind(resource.kind)
    if action == "main":
        return ask(session, kind=resource.kind, name=resource.name, where=resource.where,
                   given={**resource.values, **_full_names(wish, given)}, actor=actor, door=door, mode=mode,
                   timeout=timeout, on=on, extra=extra)
    _check_can(wish, action, resource.where)
    if action == "remove":
        _check_is_whole(resource)
    spec = wish.actions[action]
    given = _full_names(wish, given, action)
    cleaned = clean(wish, action, {**spec.mine(resource.values, given), **given},
                    known_secrets=parts.secrets_of(resource))
    refuse.private_git_hosts(spec, cleaned.values)
    releases.check_all_have(session, resource, on or resource.servers, spec, cleaned.values)
    others = {name: value for name, value in resource.values.items() if not spec.parameter(name)}
    return submit(session, kind=resource.kind, action=action, actor=actor, door=door, resource=resource, mode=mode,
                  values={**others, **cleaned.values}, secrets=cleaned.secrets, timeout=timeout, on=on, extra=extra)


def keep(session: Session, *, kind: str, name: str, where: Server | Group | str, given: Mapping[str, Any] | None,
         secrets: Mapping[str, Any]) -> Resource:
    """Write a resource down without applying it, as far as its values are known; what was applied keeps its values.

    `secrets`, by full name, take the place of those that it has. COMMITS. Errors as in `ask`.
    """
    wish, target = _kind(kind), place(session, where)
    _check_name(name)
    row = session.scalar(select(Resource).where(Resource.name == name))
    if row is not None:
        _check_same(row, wish, target)
    cleaned = clean(wish, "main", given or {}, partial=True)
    refuse.private_git_hosts(wish.main, cleaned.values)
    refuse.long_part_names(wish, name, {**cleaned.values, **cleaned.secrets})
    refuse.taken_domains(session, wish, name, cleaned.values)
    if row is None:
        row = _new(session, wish, name, target)
    kept = parts.secrets_of(row)
    if row.applied_at is None and given is not None:
        row.values, kept = cleaned.values, merge_secrets(kept, cleaned.secrets)
    parts.set_secrets(row, {**kept, **secrets})
    try:
        session.commit()
    except IntegrityError as wrong:
        session.rollback()
        raise NameTaken(f"Somebody took the name '{name}' in this moment. Try again with another name.") from wrong
    return row


def values_file(session: Session, resource: Resource, with_secrets: bool) -> dict[str, Any]:
    """What a run by hand needs (`ansible-playbook -e @file`), by full parameter name."""
    secrets = parts.secrets_of(resource) if with_secrets else {}
    return {**resource.values, **secrets}


def _new(session: Session, kind: Kind, name: str, where: Server | Group) -> Resource:
    row = Resource(kind=kind.name, name=name, group=where if isinstance(where, Group) else None)
    session.add(row)
    parts.place_on(row, servers_of(where))
    return row


def _write(session: Session, row: Resource | None, kind: Kind, name: str, where: Server | Group, cleaned: Cleaned,
           old_secrets: Mapping[str, Any]) -> Resource:
    row = row or _new(session, kind, name, where)
    parts.place_on(row, servers_of(where))
    row.values = cleaned.values
    secrets = merge_secrets(old_secrets, cleaned.secrets)
    parts.set_secrets(row, secrets)
    session.flush()
    parts.write(session, row, secrets)
    return row


def _kind(name: str) -> Kind:
    try:
        if name == SERVER_KIND:
            raise NoSuchKind("A server is added by its address: webops server add.")
        return catalog().kind(name)
    except NoSuchKind as wrong:
        raise Unknown(str(wrong)) from wrong


def place(session: Session, where: Server | Group | str) -> Server | Group:
    """The server or the group of this name. Unknown: there is none."""
    if not isinstance(where, str):
        return where
    found = session.scalar(select(Server).where(Server.name == where)) or \
        session.scalar(select(Group).where(Group.name == where))
    if found is None:
        known = ", ".join(session.scalars(select(Server.name).order_by(Server.name))) or "none yet"
        groups = ", ".join(session.scalars(select(Group.name).order_by(Group.name)))
        raise Unknown(f"There is no server '{where}'. There are: {known}." + (f" Groups: {groups}." if groups else ""))
    return found


def _check_can(kind: Kind, action: str, where: Server | Group) -> None:
    servers = servers_of(where)
    if not servers:
        raise NotReady(f"The group {where.name} has no server. Put one in: webops group change {where.name} "
                       "--server NAME")
    for one in servers:
        check(kind, action, one)


def _check_name(name: str) -> None:
    found = problem("name", name)
    if found:
        raise Refused([Problem("name", found.code, found.message)])


def _check_same(row: Resource, kind: Kind, where: Server | Group) -> None:
    if row.kind != kind.name:
        raise NameTaken(f"'{row.name}' is a {row.kind} already. Choose another name: it is unique in WebOps.")
    if row.where is not where:
        raise NameTaken(f"'{row.name}' is on {row.where.name} already. Remove it there first, or choose another name.")
    _check_is_whole(row)


def _check_is_whole(row: Resource) -> None:
    if row.parent is not None:
        raise PartOfAnother(f"'{row.name}' is a part of {row.parent.name} and follows it. Change {row.parent.name}.")


def _full_names(kind: Kind, given: Mapping[str, Any], action: str = "main") -> dict[str, Any]:
    spec = kind.actions[action]
    return {(found.name if (found := spec.parameter(str(key))) else str(key)): value for key, value in given.items()}
