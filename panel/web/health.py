"""Whether this process answers and reaches its database: for a proxy or a monitor, without signing in."""

from __future__ import annotations

from flask import Blueprint
from sqlalchemy import text

from panel.web.auth import anyone
from panel.web.database import database

blueprint = Blueprint("health", __name__)


@blueprint.get("/healthz")
@anyone
def show() -> tuple[str, dict[str, str]]:
    database().execute(text("SELECT 1"))
    return "ok\n", {"Content-Type": "text/plain"}
