"""The database session of a request: opened when first needed, closed when the request ends."""

from __future__ import annotations

from flask import Flask, g
from sqlalchemy.orm import Session

from panel.store import db


def database() -> Session:
    """The session of this request. A stream must not keep it: it opens its own for moments."""
    if "database" not in g:
        g.database = db.session()
    session: Session = g.database
    return session


def _close(_wrong: BaseException | None) -> None:
    session: Session | None = g.pop("database", None)
    if session is not None:
        session.close()


def init(app: Flask) -> None:
    app.teardown_appcontext(_close)
