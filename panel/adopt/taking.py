"""From what was found to plans: the resources are written down, and what they would change is looked at."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from panel.adopt import propose
from panel.adopt.nginx import Unreadable
from panel.catalog import Problem, Refused
from panel.runs import plans, resources, surveys
from panel.runs.errors import NameTaken, RunsError, Unknown
from panel.store.models import Resource, Server
from panel.store.planned import Plan


class CannotAdopt(RunsError):
    """A site cannot be taken over; `message` says why."""

    code = "cannot_adopt"


class NotLooked(RunsError):
    """Nobody has looked at the server today."""

    code = "not_looked"


def seen(session: Session, server: Server) -> tuple[datetime, list[propose.Found]]:
    """When the server was looked at, and its sites. NotLooked. CannotAdopt: what was read makes no sense."""
    last = surveys.last(session, server)
    if last is None:
        raise NotLooked(f"Nobody has looked at what {server.name} serves today. Look first: webops adopt {server.name}")
    at, found = last
    try:
        return at, propose.read(found, str(server.facts.get("python_version") or ""))
    except Unreadable as wrong:
        raise CannotAdopt(f"What nginx says on {server.name} cannot be read: {wrong}") from wrong


def site(session: Session, server: Server, domain: str) -> propose.Found:
    """The site of this domain, or of which it is one of the names. Unknown, and as `seen`."""
    _at, found = seen(session, server)
    for one in found:
        if domain == one.site.domain or domain in one.site.names:
            return one
    known = ", ".join(one.site.domain for one in found[:20]) or "none"
    raise Unknown(f"{server.name} serves no {domain} that somebody made by hand. There are: {known}.")


def take(session: Session, server: Server, *, domain: str, kind: str = "", name: str = "", actor: str,
         door: str) -> Sequence[Plan]:
    """Write the resources down with the values that were read, never applied, and plan them in their order. COMMITS.

    CannotAdopt, Unknown, NameTaken, Refused, and what `plans.make` refuses.
    """
    found = site(session, server, domain)
    proposal = found.proposal(kind)
    if proposal is None:
        raise CannotAdopt(_why_not(found, kind))
    name = name or proposal.name
    if not name:
        raise Refused([Problem("name", "required", f"No name comes of {domain}. Choose one.")])
    wishes = propose.named(proposal, name)
    _check_free(session, [one for _kind, one, _given in wishes])
    # The last is what the others are for: where it is refused, they are not written down.
    kept = [resources.keep(session, kind=its_kind, name=its_name, where=server, given=given, secrets={})
            for its_kind, its_name, given in reversed(wishes)]
    return [plans.make(session, resource=one, given={}, actor=actor, door=door) for one in reversed(kept)]


def _why_not(found: propose.Found, kind: str) -> str:
    if found.refused:
        return f"{found.site.domain} cannot be taken over. {' '.join(found.refused)}"
    return f"{found.site.domain} cannot become a {kind}. It can be: {', '.join(one.kind for one in found.proposals)}."


def _check_free(session: Session, names: Sequence[str]) -> None:
    for row in session.scalars(select(Resource).where(Resource.name.in_(names), Resource.applied_at.is_not(None))):
        raise NameTaken(f"'{row.name}' is on {row.where.name} already. Choose another name.")
