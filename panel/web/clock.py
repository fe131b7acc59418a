"""Times as people read them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


def aware(value: datetime) -> datetime:
    """The same moment with its zone; SQLite gives times back without one, and they are UTC."""
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def moment(seconds: float) -> datetime:
    """Of seconds since 1970."""
    return datetime.fromtimestamp(seconds, UTC)


def now() -> datetime:
    return datetime.now(UTC)


def seconds(value: float | timedelta | None) -> str:
    """How long something took: 0.4 s, 12 s, 1 min 4 s, 2 h 5 min."""
    if value is None:
        return ""
    total = value.total_seconds() if isinstance(value, timedelta) else value
    if total < 9.95:
        return f"{max(total, 0):.1f} s"
    whole = round(total)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def about(value: float) -> str:
    """How long something usually takes: 0.4 s, 9 s, 1 min 4 s."""
    return seconds(value) if value < 3 else seconds(max(round(value), 10)) if value >= 9.5 else f"{round(value)} s"


def ago(value: datetime, at: datetime | None = None) -> str:
    """How long ago: just now, 2 min ago, 3 h ago, yesterday, 14 Nov, 14 Nov 2025."""
    moment, present = aware(value), at or now()
    past = (present - moment).total_seconds()
    if past < 45:
        return "just now"
    if past < 3600:
        return f"{max(1, round(past / 60))} min ago"
    if past < 86400:
        return f"{round(past / 3600)} h ago"
    days = (present.date() - moment.date()).days
    if days <= 1:
        return "yesterday"
    if days < 7:
        return f"{days} days ago"
    form = "%-d %b" if moment.year == present.year else "%-d %b %Y"
    return moment.strftime(form)


def stamp(value: datetime) -> str:
    """The exact moment, for a title or a fact: 2026-11-22 14:03:12 UTC."""
    return aware(value).astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
