"""Drift on the pages: its words, and the buttons on a resource's page."""

from __future__ import annotations

from flask import Blueprint, flash, redirect, request, url_for
from werkzeug.wrappers import Response

from panel.runs import drift
from panel.runs.errors import RunsError
from panel.store.models import Resource
from panel.store.planned import DriftState, Interval
from panel.web import queries
from panel.web.auth import current_actor, signed_in
from panel.web.database import database
from panel.web.words import Badge

blueprint = Blueprint("drift", __name__)
_BADGES = {DriftState.IN_SYNC: Badge("ok", "In sync"), DriftState.DRIFTED: Badge("changed", "Drifted"),
           DriftState.CHECK_FAILED: Badge("failed", "Check failed"), DriftState.UNKNOWN: Badge("idle", "Not known")}


def badge(resource: Resource) -> Badge:
    """Whether a server still is as this was applied."""
    return _BADGES[resource.drift.state if resource.drift else DriftState.UNKNOWN]


def is_worth_saying(resource: Resource) -> bool:
    """In a list, only what is not as it should be is told."""
    return resource.drift is not None and resource.drift.state in (DriftState.DRIFTED, DriftState.CHECK_FAILED)


def _back(name: str) -> Response:
    return redirect(url_for("resources.show", name=name) + "#drift", 303)


@blueprint.post("/resources/<name>/drift")
@signed_in
def change(name: str) -> Response:
    resource = queries.resource(database(), name)
    wanted = request.form.get("interval", "")
    if wanted in tuple(Interval):
        drift.set_interval(database(), resource, Interval(wanted))
    return _back(drift.head_of(resource).name)


@blueprint.post("/resources/<name>/drift/runs")
@signed_in
def check(name: str) -> Response:
    resource = queries.resource(database(), name)
    try:
        run = drift.check(database(), resource, current_actor().name, "browser")
    except RunsError as wrong:
        flash(wrong.message, "changed")
        return _back(name)
    return redirect(url_for("runs.show", number=run.id), 303)


@blueprint.post("/resources/<name>/drift/reconciliation")
@signed_in
def reconcile(name: str) -> Response:
    resource = queries.resource(database(), name)
    run = drift.reconcile(database(), resource, current_actor().name, "browser")
    return redirect(url_for("runs.show", number=run.id), 303)
