"""The rows: which servers there are, what was seen on them. Plain functions, one transaction each.

Only what a person would notice is written at once; that nothing changed is written once a minute.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import select, update
from sqlalchemy.orm import Session, joinedload

from panel.link import measured, verdict, wording
from panel.link.plain import plain, tidy
from panel.link.ssh import Reason, Target
from panel.store import db
from panel.store.figures import Figure
from panel.store.models import Observed, Resource, Server
from panel.store.places import Place
from panel.store.terminals import Terminal

#: The age at which an unchanged observation is written again, so that "seen 40 s ago" stays true.
_FRESH = timedelta(seconds=60)


class Noted(NamedTuple):
    """What was written: the server's state and sentence, and which resources changed."""

    state: Observed
    text: str
    changed: bool
    resources: list[int]


def roster() -> list[Target]:
    """Every server that the link should be connected to: host key accepted, made ready."""
    with db.session() as session:
        rows = session.scalars(select(Server).where(Server.host_key != "", Server.ready_at.is_not(None)))
        return [_target(row) for row in rows]


def server(server_id: int) -> Target | None:
    """One server, ready or not."""
    with db.session() as session:
        row = session.get(Server, server_id)
        return _target(row) if row else None


def _target(row: Server) -> Target:
    return Target(row.id, row.name, row.address, row.port, row.host_key, row.public_key, bytes(row.private_key))


def place_of(resource_id: int, server_id: int | None = None) -> tuple[str, int] | None:
    """Name and server of a resource: this one of its servers, or its first."""
    with db.session() as session:
        found = session.get(Resource, resource_id)
        there = [one.id for one in found.servers if server_id in (None, one.id)] if found else []
        return (found.name, there[0]) if found and there else None


def terminal_ended(number: int, code: int | None, why: str) -> None:
    """How a command in a terminal ended; None: nobody knows its code."""
    with db.session() as session:
        session.execute(update(Terminal).where(Terminal.id == number, Terminal.ended_at.is_(None)).values(
            ended_at=db.now(session), exit_code=code, why=plain(why, 500)))
        session.commit()


def no_terminal_is_open() -> None:
    """At the start of a link: those that a link before had open ended with it."""
    with db.session() as session:
        session.execute(update(Terminal).where(Terminal.ended_at.is_(None)).values(
            ended_at=db.now(session), why="WebOps' link ended, and the terminal with it."))
        session.commit()


def saw(target: Target, seen: dict[str, Any]) -> Noted:
    """Write down what a look at a server showed."""
    figures = tidy(seen.get("figures") if isinstance(seen.get("figures"), dict) else {})
    overall = _overall(target, seen, figures)
    with db.session() as session:
        _withdraw_offer(session, target)
        verdicts = [(row, verdict.resource(row.resource.name, row.resource.kind, target.name,
                                           row.applied_at is not None, seen)) for row in _places(session, target)]
        _measure(session, [place for place, _ in verdicts], seen)
        return _note(session, target, overall, verdicts)


def _measure(session: Session, places: list[Place], seen: dict[str, Any]) -> None:
    """Keep the figures that desks told. Does not commit."""
    told = seen.get("desks")
    for place in places:
        found = measured.figures(told.get(place.resource.name)) if isinstance(told, dict) else None
        if found is not None:
            session.add(Figure(place_id=place.id, at=db.now(session), data=found))


def _overall(target: Target, seen: dict[str, Any], figures: dict[str, Any]) -> verdict.Verdict:
    """Reached is well, unless what the role `server` brought is not."""
    own = verdict.resource(target.name, "server", target.name, True, seen)
    data = {"figures": figures, "probes": own.data["probes"]}
    if own.state is Observed.OK or not own.data["probes"]:
        return verdict.Verdict(Observed.OK, wording.reached(figures), data)
    return verdict.Verdict(own.state, f"Reached. {own.text}", data)


def lost(target: Target, reason: Reason, since: datetime) -> Noted:
    """Write down that a server cannot be reached: what runs on it is unknown then, not fine and not broken."""
    with db.session() as session:
        row = session.get(Server, target.server_id)
        since = _since(row, since)
        data = {**(row.observed_data if row else {}), "since": since.isoformat(), "reason": reason.code}
        overall = verdict.Verdict(Observed.FAILED, plain(wording.unreachable(reason, since), 1000), data)
        unseen = plain(wording.unseen(target.name, reason, since), 1000)
        resources = _places(session, target)
        verdicts = [(one, verdict.Verdict(Observed.UNKNOWN, unseen, {
            **one.observed_data, "since": since.isoformat(), "reason": reason.code})) for one in resources]
        return _note(session, target, overall, verdicts)


def _places(session: Session, target: Target) -> Sequence[Place]:
    """The resources on a server, there."""
    return session.scalars(select(Place).where(Place.server_id == target.server_id)
                           .options(joinedload(Place.resource))).all()


def offer(target: Target, keys: list[str]) -> bool:
    """Keep the host key that a server shows now, for a person to compare. False: it is the one kept already."""
    offered = "\n".join(keys)
    with db.session() as session:
        row = session.get(Server, target.server_id)
        if row is None or row.offered_host_key == offered:
            return False
        session.execute(update(Server).where(Server.id == row.id).values(offered_host_key=offered))
        session.commit()
        return True


def _withdraw_offer(session: Session, target: Target) -> None:
    """It shows the accepted key again, so the other one, which somebody else may have shown, is not asked about."""
    row = session.get(Server, target.server_id)
    if row and row.offered_host_key and row.host_key == target.host_key:
        row.offered_host_key = ""
        session.flush()


def _since(row: Server | None, since: datetime) -> datetime:
    """A link that was started anew does not know since when; the row does."""
    told = row.observed_data.get("since") if row and row.observed is Observed.FAILED else None
    try:
        return min(since, datetime.fromisoformat(told)) if told else since
    except (ValueError, TypeError):
        return since


def _note(session: Session, target: Target, overall: verdict.Verdict,
          verdicts: list[tuple[Place, verdict.Verdict]]) -> Noted:
    now = datetime.now(UTC)
    row = session.get(Server, target.server_id)
    changed = row is not None and not _same_server(row, overall)
    if row and (changed or _is_old(row.observed_at, now)):
        session.execute(update(Server).where(Server.id == row.id).values(_columns(overall, now)))
    different = []
    for place, found in verdicts:
        differs = not found.same_as(place.observed, place.observed_text) or _other_releases(place, found)
        if differs:
            different.append(place.resource_id)
        if differs or _is_old(place.observed_at, now):
            session.execute(update(Place).where(Place.id == place.id).values(_columns(found, now)))
    session.commit()
    return Noted(overall.state, overall.text, changed, different)


def _other_releases(place: Place, found: verdict.Verdict) -> bool:
    # What nobody sees now is what it was.
    return "releases" in found.data and place.observed_data.get("releases") != found.data["releases"]


def _columns(found: verdict.Verdict, now: datetime) -> dict[str, Any]:
    return {"observed": found.state, "observed_text": found.text, "observed_data": found.data, "observed_at": now}


def _is_old(at: datetime | None, now: datetime) -> bool:
    return at is None or now - at >= _FRESH or at > now


def _same_server(row: Server, overall: verdict.Verdict) -> bool:
    # Its figures always move; that they do is not news.
    if row.observed is not overall.state:
        return False
    if overall.state is Observed.OK:
        return bool(_reboot(row.observed_data) == _reboot(overall.data))
    return bool(row.observed_text == overall.text)


def _reboot(data: dict[str, Any]) -> Any:
    return (data.get("figures") or {}).get("reboot")
