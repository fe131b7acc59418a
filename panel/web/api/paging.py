"""Lists in pages."""

from __future__ import annotations

from typing import TypeVar

from sqlalchemy import Select

from panel.web.database import database

Row = TypeVar("Row")


def page(found: Select[Row], limit: int) -> tuple[list[Row], Row | None]:
    """At most `limit` rows, and the last of them, behind which the next page begins; None: there is no next one."""
    rows = list(database().scalars(found.limit(limit + 1)))
    return rows[:limit], rows[limit - 1] if len(rows) > limit else None
