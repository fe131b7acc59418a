"""Releases of a resource: what the link read of them, with the runs that WebOps knows of. Names, never values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from panel.catalog import Action, Problem, Refused
from panel.runs.errors import Unknown
from panel.store.models import Mode, Resource, Run, Server
from panel.store.places import Place

#: Who it was where no run of WebOps was it.
BY_HAND = "by hand"


@dataclass(frozen=True)
class Turn:
    """A moment at which a release began to serve. `run`: its number, where WebOps did it; `is_kept`: it can be read."""

    at: datetime | None
    actor: str
    run: int | None
    is_kept: bool


@dataclass(frozen=True)
class Release:
    """One release on the server. `seconds`: how long it took to get there; `back`: when it was last gone back to."""

    id: str
    commit: str
    subject: str
    author: str
    committed: str
    served: bool
    live: bool
    before: str
    turn: Turn
    seconds: float | None
    back: Turn | None
    #: Of the newest one, while an older one is live: commits and names of variables that are not live.
    newest: dict[str, Any] = field(default_factory=dict)
    #: It is an earlier one's code, as that was built, with another environment.
    is_same_build: bool = False

    @property
    def short(self) -> str:
        return self.commit[:7]


@dataclass(frozen=True)
class WentBack:
    """An older release serves: `live`, and what is not live since."""

    live: Release
    newest: Release

    @property
    def commits(self) -> int | None:
        """How many commits of the newest release are not live; None: nobody could count them."""
        if self.live.commit == self.newest.commit:
            return 0
        found = self.newest.newest.get("commits")
        return int(found) if found is not None else None

    @property
    def variables(self) -> list[str]:
        """Names of the variables that are other ones than in the newest release."""
        told = self.newest.newest.get("environment") or {}
        return sorted({name for key in ("added", "removed", "changed") for name in told.get(key) or []})


def of(session: Session, place: Place) -> list[Release]:
    """Those on one server of a resource, as they were seen last, newest first."""
    told = [one for one in place.observed_data.get("releases") or [] if isinstance(one, dict) and one.get("id")]
    numbers = {number for one in told for number in (_run(one), _run(one.get("back") or {})) if number}
    runs = {one.id: one for one in session.scalars(select(Run).where(
        Run.id.in_(numbers), Run.resource_name == place.resource.name))} if numbers else {}
    return [_release(one, runs) for one in told]


def went_back(found: Sequence[Release]) -> WentBack | None:
    """Where an older release serves than has served, which one; None: the newest serves."""
    live = next((one for one in found if one.live), None)
    newest = next((one for one in found if one.served), None)
    if live is None or newest is None or newest.id <= live.id:
        return None
    return WentBack(live, newest)


def _release(told: dict[str, Any], runs: dict[int, Run]) -> Release:
    texts = {key: str(told.get(key) or "") for key in ("id", "commit", "subject", "author", "committed", "before")}
    run, back = runs.get(_run(told) or 0), told.get("back")
    took = told.get("seconds")
    if run is not None and run.started_at and run.ended_at:
        # What the run's page shows: from its beginning, not from when the server heard of it.
        took = (run.ended_at - run.started_at).total_seconds()
    return Release(
        **texts, served=bool(told.get("served")), live=bool(told.get("live")), turn=_turn(
            {**told, "at": told.get("went_live")}, runs), seconds=took,
        back=_turn(back, runs) if isinstance(back, dict) else None, newest=told.get("newest") or {},
        is_same_build=bool(told.get("build")) and told["build"] != told["id"])


def _turn(told: dict[str, Any], runs: dict[int, Run]) -> Turn:
    number = _run(told)
    return Turn(_moment(told.get("at")), str(told.get("actor") or BY_HAND), number, number in runs)


def _run(told: Any) -> int | None:
    number = told.get("run") if isinstance(told, dict) else None
    return number if isinstance(number, int) and 0 < number < 2**31 else None


def _moment(text: Any) -> datetime | None:
    try:
        at = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def named(found: Sequence[Release], wanted: str) -> Release:
    """The release that an id or the beginning of a commit (7 letters or more) means. Unknown: none of them."""
    for one in found:
        if wanted == one.id or (len(wanted) >= 7 and one.commit.startswith(wanted)):
            return one
    there = ", ".join(one.id for one in found[:10])
    raise Unknown(f"There is no release '{wanted[:80]}'. " + (f"There are: {there}." if there else
                  "None were seen on the server yet."))


def on_all(one: Release, kept: Sequence[Sequence[Release]]) -> str:
    """What means this release on each server of a group, whose releases are `kept`: their ids differ.

    Its commit; where one of them has several releases of that, the run that let it go live.
    """
    is_one_of_several = any(sum(other.served and other.commit == one.commit for other in found) > 1 for found in kept)
    return f"run-{one.turn.run}" if is_one_of_several and one.turn.run else one.commit[:12]


def check_all_have(session: Session, resource: Resource, servers: Sequence[Server], action: Action,
                   values: Mapping[str, Any]) -> None:
    """Refused: of several servers one has no such release, or several, so that nobody goes back on any of them.

    As far as they were seen since the last run; what is otherwise by then, its server says itself.
    """
    asked = next((one for one in action.parameters if one.format == "release" and values.get(one.name)), None)
    if asked is None or len(servers) < 2:
        return
    wanted = str(values[asked.name])
    ended = session.scalars(select(Run.ended_at).where(Run.resource_id == resource.id, Run.mode == Mode.APPLY)
                            .order_by(Run.id.desc()).limit(10)).all()
    for server in servers:
        place = resource.place_on(server)
        if place is None or place.observed_at is None or any(at is None or at > place.observed_at for at in ended):
            continue
        kept = [one for one in of(session, place) if one.served]
        found = [one for one in kept if _is_meant(one, wanted)]
        if kept and (not found or (len(found) > 1 and any(one.live for one in found))):
            there = ", ".join(f"{one.id} (run-{one.turn.run})" if one.turn.run else one.id for one in kept)
            what = f"keeps several releases that '{wanted}' means, the live one among them" if found else \
                f"keeps no release '{wanted}'"
            raise Refused([Problem(asked.key, "release_not_there" if not found else "release_ambiguous", (
                f"{server.name} {what}, so nothing was changed on any server. There are: {there}. To go back on one "
                f"server alone: webops rollback {resource.name} --on {server.name} --release ID"))])


def _is_meant(one: Release, wanted: str) -> bool:
    """As plugins/modules/webops_rollback.py reads it on the server."""
    return wanted in (one.id, f"run-{one.turn.run}") or (len(wanted) >= 7 and one.commit.startswith(wanted))


def behind(back: WentBack) -> str:
    """What is not live since an older release serves, as the rest of a sentence."""
    parts = []
    if back.commits:
        parts.append(f"the branch is ahead by {back.commits} commit{'s' if back.commits > 1 else ''}")
    elif back.commits is None:
        parts.append(f"the branch is ahead, at {back.newest.short} or later")
    if back.variables:
        names = ", ".join(back.variables[:5]) + (" …" if len(back.variables) > 5 else "")
        parts.append(f"the values asked for since are not live ({names})")
    return "; ".join(parts) or f"{back.newest.id}, which served before, holds the same code and variables"


def in_words(back: WentBack) -> str:
    """That an older release serves, by whom, and what is not live since."""
    turn = back.live.back
    who = f" by {turn.actor}" if turn and turn.actor != BY_HAND else f" {BY_HAND}" if turn else ""
    run = f" (run {turn.run})" if turn and turn.run else ""
    return f"Rolled back to {back.live.id}{who}{run}; {behind(back)}."
