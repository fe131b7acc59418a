"""Looks at what is served on a server that WebOps did not make: asked for here, kept sealed, and not for long."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete
from sqlalchemy.orm import Session

from panel.runs.errors import NotReady
from panel.runs.submit import SERVER_KIND, Extra, submit
from panel.store.db import now
from panel.store.models import Mode, Run, Server, State
from panel.store.seal import seal, unseal
from panel.store.surveyed import Survey

ACTION = "survey"
#: There are secrets in it, and servers change: whoever comes later looks again.
_KEPT = timedelta(hours=24)


def look(session: Session, server: Server, actor: str, door: str) -> Run:
    """A run that reads what is served there and changes nothing. COMMITS. NotReady, NoHostKey."""
    if server.ready_at is None:
        raise NotReady(f"{server.name} is not ready yet. Make it ready first: webops server ready {server.name}")
    return submit(session, kind=SERVER_KIND, action=ACTION, actor=actor, door=door, where=server, mode=Mode.CHECK,
                  extra=Extra(ACTION))


def settled(session: Session, run: Run, found: Mapping[str, dict[str, Any]]) -> None:
    """A run has ended: keep what it read. Does not commit."""
    if run.kind != SERVER_KIND or run.action != ACTION or run.state is not State.SUCCEEDED:
        return
    for part in run.servers:
        if part.server_id is not None and part.host in found:
            session.merge(Survey(server_id=part.server_id, at=now(session),
                                 found=seal(_context(part.server_id), found[part.host])))


def last(session: Session, server: Server) -> tuple[datetime, dict[str, Any]] | None:
    """When it was looked at last, and what was read; None where that was not today. SecretContextError."""
    row = session.get(Survey, server.id)
    if row is None or now(session) - row.at > _KEPT:
        return None
    return row.at, unseal(_context(server.id), row.found)


def prune(session: Session) -> None:
    """Wipe what is too old. COMMITS."""
    session.execute(delete(Survey).where(Survey.at < now(session) - _KEPT))
    session.commit()


def _context(server_id: int) -> str:
    return f"survey:{server_id}"
