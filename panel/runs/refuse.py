"""What is refused although each value by itself is well: domains of others, private networks, names of parts."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from panel.catalog import Action, Kind, Problem, Refused, catalog, formats
from panel.catalog.formats import git_host
from panel.runs import parts
from panel.runs.errors import DomainTaken
from panel.settings import settings
from panel.store.models import Resource

#: With its prefix such a name is still a Unix user's.
MAX_NAME = 29


def taken_domains(session: Session, kind: Kind, name: str, values: Mapping[str, Any]) -> None:
    """DomainTaken: another resource is linked under one of these domains. Parts do not count, their parents do."""
    wanted = set(domains(kind, values))
    if not wanted:
        return
    for other in session.scalars(select(Resource).where(Resource.parent_id.is_(None), Resource.name != name)):
        other_kind = catalog().kinds.get(other.kind)
        common = wanted & set(domains(other_kind, other.values)) if other_kind else set()
        if common:
            raise DomainTaken(f"{min(common)} belongs to {other.name} on {other.where.name}. "
                              "Choose another domain, or take it away there first.")


def long_part_names(kind: Kind, name: str, values: Mapping[str, Any]) -> None:
    """Refused: with this name, a part that these values bring would have one that is too long."""
    for part_kind, part, part_values in parts.wanted(kind.name, name, values):
        if formats.problem("name", part):
            most = len(name) - (len(part) - MAX_NAME)
            raise Refused([Problem("name", "name_too_long", (
                f"Use at most {most} characters: this {kind.label} brings a part named '{part}', "
                f"and a name has {MAX_NAME} at most."))])
        long_part_names(catalog().kind(part_kind), part, part_values)


def private_git_hosts(action: Action, values: Mapping[str, Any]) -> None:
    """Refused: a repository lies in a network that is not public and that this installation does not allow."""
    problems = []
    for one in action.parameters:
        if one.format == "git_address" and one.name in values:
            host = git_host(str(values[one.name]))
            if host and (found := _private(host)):
                problems.append(Problem(one.key, "git_host_private", (
                    f"{host} is {found}, in a private network. Only public addresses are allowed, so that nobody "
                    "reaches into the network behind a server. An administrator can allow it: WEBOPS_GIT_NETWORKS.")))
    if problems:
        raise Refused(problems)


def domains(kind: Kind, values: Mapping[str, Any]) -> Iterator[str]:
    """The domains that a resource with these values answers to."""
    if not kind.link:
        return
    for one in kind.main.parameters:
        if one.format == "domain":
            value = values.get(one.name) or []
            yield from (str(domain).lower() for domain in ([value] if isinstance(value, str) else value))


def _private(host: str) -> str | None:
    """The first address of a host that is neither public nor allowed; a name that is not known here has none."""
    try:
        found = {entry[4][0] for entry in socket.getaddrinfo(host.strip("[]"), None, proto=socket.IPPROTO_TCP)}
    except (OSError, UnicodeError):
        return None
    for text in sorted(map(str, found)):
        address = ipaddress.ip_address(text.partition("%")[0])
        inner = getattr(address, "ipv4_mapped", None) or address
        if not inner.is_global and not any(inner in network for network in settings().allowed_networks):
            return str(inner)
    return None
