"""What every template may use: filters, words, and the frame around a page."""

from __future__ import annotations

from typing import Any

from flask import Flask
from flask_login import current_user

from panel.runs import releases
from panel.web import clock, drift, heartbeat, machine, queries, words
from panel.web.database import database


def _frame() -> dict[str, Any]:
    """Who is signed in and the numbers in the navigation; error and sign-in pages need neither."""
    if not current_user.is_authenticated:
        return {}
    counts = queries.counts(database())
    silent = counts.servers > 0 and heartbeat.link.is_silent()
    return {"actor": current_user.user, "counts": counts, "link_is_silent": silent}


def init(app: Flask) -> None:
    app.jinja_env.trim_blocks = True
    app.jinja_env.lstrip_blocks = True
    app.jinja_env.filters.update(ago=clock.ago, stamp=clock.stamp, seconds=clock.seconds, plain=words.plain,
                                 moment=clock.moment)
    app.jinja_env.globals.update(
        {name: getattr(words, name) for name in (
            "count", "kind_label", "kind_of", "observed_text", "place_badge", "resource_badge", "run_badge", "run_name",
            "run_title", "seconds_of", "server_badge", "title_of", "url_of")},
        action_label=words.action_label, drift_badge=drift.badge, drift_matters=drift.is_worth_saying,
        doors=words.DOORS, system_of=machine.system,
        behind=releases.behind)
    app.context_processor(_frame)
