"""Figures over time: what happened between two looks, from counters that only grow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, cast, delete, extract, func, select, tuple_
from sqlalchemy.orm import Session

from panel.store.db import now
from panel.store.figures import Figure
from panel.store.places import Place

KEPT = timedelta(hours=48)
#: Few are deleted at a time, so that other writers need not wait.
_AT_ONCE = 100
#: Points of a line: more than a page has room for say nothing more.
MOST_POINTS = 240
#: A look that is older than this tells nothing of now.
STALE = timedelta(seconds=60)
#: Looks that are older than the first are kept this far apart: as near as a chart that reaches so far back can show.
#: With a thousand keys a look has 120 kB, and a day has 8,640 looks.
THINNED = ((timedelta(hours=1), timedelta(minutes=1)), (timedelta(hours=6), timedelta(minutes=10)))


class Point(NamedTuple):
    """One moment. None: nobody knows."""

    at: datetime
    tokens_per_second: float | None = None
    prompt_tokens_per_second: float | None = None
    first_token_p50: float | None = None
    first_token_p95: float | None = None
    running: float | None = None
    waiting: float | None = None
    kv_cache: float | None = None
    gpu_memory: float | None = None
    gpu_busy: float | None = None
    #: Requests per minute by name of the key.
    keys: dict[str, float] | None = None


def latest(session: Session, place: Place) -> Figure | None:
    """The last look, where it is not too old to say how it is now."""
    found = session.scalar(select(Figure).where(Figure.place_id == place.id).order_by(Figure.at.desc()).limit(1))
    return found if found and now(session) - found.at <= STALE else None


def series(session: Session, place: Place, since: timedelta) -> list[Point]:
    """From then on, oldest first; a point without any figure stands where nobody looked, also at the end."""
    until = now(session)
    begin, width = until - min(since, KEPT), since / MOST_POINTS
    chosen = list(session.scalars(select(Figure.at).where(Figure.place_id == place.id, Figure.at >= begin)
                                  .order_by(Figure.at)))
    if len(chosen) > MOST_POINTS:
        # The last of each stretch, on a clock that does not move with the reader: a line that was drawn stays.
        chosen = list({at.timestamp() // width.total_seconds(): at for at in chosen}.values())
    rows = session.scalars(select(Figure).where(Figure.place_id == place.id, Figure.at.in_(chosen)).order_by(Figure.at))
    return list(_points(list(rows), until, width))


def _points(rows: Sequence[Figure], until: datetime, width: timedelta) -> Iterator[Point]:
    for before, row in pairwise(rows):
        gap = max(STALE, 2 * width, 2 * _apart(until - before.at))
        if row.at - before.at > gap:
            yield Point(before.at + gap / 2)
        else:
            yield point(before.at, before.data, row.at, row.data)
    if rows and until - rows[-1].at > STALE:
        yield Point(until)


def _apart(age: timedelta) -> timedelta:
    """How far apart looks of this age are at most, where nothing was missed."""
    return max((apart for older, apart in THINNED if age > older), default=STALE / 2)


def point(before_at: datetime, before: dict[str, Any], at: datetime, data: dict[str, Any]) -> Point:
    """How it was between two looks, and at the later one."""
    seconds = (at - before_at).total_seconds()
    then, engine = before.get("engine") or {}, data.get("engine") or {}
    first = _between(then.get("first_token"), engine.get("first_token"))
    cards = data.get("gpus") or []
    used, total = _sum(cards, "memory_used"), _sum(cards, "memory_total")
    return Point(
        at, _rate(then, engine, "generation_tokens", seconds), _rate(then, engine, "prompt_tokens", seconds),
        quantile(first, 0.5), quantile(first, 0.95), engine.get("running"), engine.get("waiting"),
        engine.get("kv_cache"), used / total if used is not None and total else None,
        _mean([one.get("busy") for one in cards]), _per_key(before, data, seconds))


def _rate(then: dict[str, Any], engine: dict[str, Any], key: str, seconds: float) -> float | None:
    if key not in engine or key not in then or seconds <= 0:
        return None
    # A counter that is smaller than before began anew: what it says was since then.
    more = engine[key] - then[key]
    return float((more if more >= 0 else engine[key]) / seconds)


def _between(then: Any, engine: Any) -> list[tuple[float | None, float]]:
    """A histogram of what came since, as (upper bound, how many up to it). []: it is not known what was before."""
    if not engine or not then:
        return []
    old = {bound: count for bound, count in then}
    more = [(bound, count - old.get(bound, 0)) for bound, count in engine]
    return more if min(count for _, count in more) >= 0 else [(bound, count) for bound, count in engine]


def quantile(buckets: Sequence[tuple[float | None, float]], share: float) -> float | None:
    """As Prometheus reads a histogram: even within a bucket. None: nothing is in it."""
    if not buckets or buckets[-1][1] <= 0:
        return None
    wanted, low, below = share * buckets[-1][1], 0.0, 0.0
    for bound, count in buckets:
        if count >= wanted:
            if bound is None or count == below:
                return low
            return low + (bound - low) * (wanted - below) / (count - below)
        low, below = bound if bound is not None else low, count
    return low


def _per_key(before: dict[str, Any], data: dict[str, Any], seconds: float) -> dict[str, float] | None:
    then, keys = before.get("keys"), data.get("keys")
    if then is None or keys is None or seconds <= 0:
        return None
    return {name: max(0.0, (use.get("requests") or 0) - ((then.get(name) or {}).get("requests") or 0)) * 60 / seconds
            for name, use in keys.items()}


def _sum(cards: Sequence[dict[str, Any]], key: str) -> float | None:
    found = [one[key] for one in cards if one.get(key) is not None]
    return sum(found) if found else None


def _mean(values: Sequence[Any]) -> float | None:
    found = [one for one in values if one is not None]
    return sum(found) / len(found) if found else None


def prune(session: Session) -> None:
    """Forget what is too old to be shown, and looks that are nearer to each other than can be shown. COMMITS."""
    session.execute(delete(Figure).where(Figure.at < now(session) - KEPT))
    for older, apart in THINNED:
        old = Figure.at < now(session) - older
        stretch = cast(extract("epoch", Figure.at), BigInteger) // int(apart.total_seconds())
        last = select(func.max(Figure.at)).where(old).group_by(Figure.place_id, stretch)
        near = session.execute(select(Figure.place_id, Figure.at).where(old, Figure.at.not_in(last))).all()
        session.commit()
        for start in range(0, len(near), _AT_ONCE):
            some = [tuple(one) for one in near[start:start + _AT_ONCE]]
            session.execute(delete(Figure).where(tuple_(Figure.place_id, Figure.at).in_(some)))
            session.commit()
