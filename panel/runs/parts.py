"""A resource's parts: resources of their own whose values follow it, written and taken away with it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from panel.catalog import NoSuchKind, catalog, part_values
from panel.runs import redact
from panel.runs.errors import NameTaken
from panel.runs.redact import Redactor
from panel.store.models import Resource, Server
from panel.store.places import Place
from panel.store.seal import SecretContextError, seal, unseal


def secrets_of(resource: Resource) -> dict[str, Any]:
    """The secrets of a resource, opened. SecretContextError: they cannot be."""
    if not resource.secrets:
        return {}
    opened: dict[str, Any] = unseal(f"resource:{resource.name}:secrets", resource.secrets)
    return opened


def set_secrets(resource: Resource, secrets: Mapping[str, Any]) -> None:
    resource.secrets = seal(f"resource:{resource.name}:secrets", dict(secrets)) if secrets else None


def redactor(resource: Resource) -> Redactor:
    """Masks the secrets of a resource and its family: an app may print them itself, as in its journal."""
    head = resource
    while head.parent is not None:
        head = head.parent
    found: list[str] = []
    for one in family(head):
        with contextlib.suppress(SecretContextError):  # sealed with a key that is gone: nobody can tell what it was
            found += redact.texts(secrets_of(one))
    return Redactor(found)


def wanted(kind: str, name: str, values: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(kind, name, values) of each part that a resource of this kind has with these values."""
    parent = catalog().kind(kind)
    for include in parent.includes:
        found = part_values(parent, include, values)
        if found is not None:
            yield include.kind, include.name(name), found


def place_on(resource: Resource, servers: Iterable[Server]) -> None:
    """Let the resource have a place on each of these servers. Does not commit."""
    for server in servers:
        if all(one.server is not server for one in resource.places):
            resource.places.append(Place(server=server))


def write(session: Session, resource: Resource, secrets: Mapping[str, Any]) -> None:
    """Make or change the parts that the resource's values ask for, and theirs. Does not commit.

    NameTaken: something else has the name that a part needs.
    """
    for kind, name, values in wanted(resource.kind, resource.name, {**resource.values, **secrets}):
        part = session.scalar(select(Resource).where(Resource.name == name))
        if part is None:
            part = Resource(kind=kind, name=name, group=resource.group, parent=resource)
            session.add(part)
        elif part.kind != kind or part.parent_id != resource.id:
            raise NameTaken(f"{resource.name} brings a part named '{name}', but there is a resource of that name "
                            "already. Choose another name.")
        place_on(part, resource.servers)
        hidden = _secret_names(kind)
        part.values = {key: value for key, value in values.items() if key not in hidden}
        part_secrets = {key: value for key, value in values.items() if key in hidden}
        set_secrets(part, part_secrets)
        session.flush()
        write(session, part, part_secrets)


def drop_unwanted(session: Session, resource: Resource) -> None:
    """Forget parts that an applied resource does not have any more. Does not commit."""
    try:
        names = {name for _, name, _ in wanted(resource.kind, resource.name,
                                               {**resource.values, **secrets_of(resource)})}
    except NoSuchKind:
        return  # its add-on was taken out since; nobody can say which parts it would have
    for part in list(resource.parts):
        if part.name not in names:
            session.delete(part)


def family(resource: Resource) -> Iterator[Resource]:
    """The resource and everything below it."""
    yield resource
    for part in resource.parts:
        yield from family(part)


def _secret_names(kind: str) -> set[str]:
    return {one.name for one in catalog().kind(kind).main.parameters if one.secret}
