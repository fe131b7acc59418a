"""/resources/<name>/drift: whether the server still is as it was applied."""

from __future__ import annotations

from flask import jsonify
from werkzeug.wrappers import Response

from panel.runs import drift
from panel.store.planned import Interval
from panel.web.api import api, shapes
from panel.web.api.asked import body, door, one_of, query
from panel.web.api.resources import find
from panel.web.auth import current_actor, token
from panel.web.database import database


def _shown(name: str) -> Response:
    row = find(name)
    known = drift.of(database(), row)
    database().commit()
    return jsonify(name=row.name, of=drift.head_of(row).name, **shapes.drift(known, is_whole=True))


@api.get("/resources/<name>/drift")
@token
def show_drift(name: str) -> Response:
    query()
    return _shown(name)


@api.put("/resources/<name>/drift")
@token
def set_drift(name: str) -> Response:
    """How often it is looked at: off, hourly or daily."""
    asked = body(("interval",))
    drift.set_interval(database(), find(name), Interval(one_of(asked, "interval", tuple(Interval))))
    return _shown(name)


@api.post("/resources/<name>/drift/runs")
@token
def check_drift(name: str) -> tuple[Response, int]:
    """Look now. The run only looks; what it found is in GET …/drift when it has ended."""
    body()
    run = drift.check(database(), find(name), current_actor().name, door())
    return jsonify(run=shapes.run(run)), 202


@api.post("/resources/<name>/drift/reconciliation")
@token
def reconcile(name: str) -> tuple[Response, int]:
    """Make it as it was applied: stored values, the commit that is live."""
    body()
    run = drift.reconcile(database(), find(name), current_actor().name, door())
    return jsonify(run=shapes.run(run)), 202
