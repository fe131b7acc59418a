"""Take over what is there: the sites that a server serves and WebOps did not make."""

from __future__ import annotations

from flask import Blueprint, flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from panel.adopt import propose, taking
from panel.catalog import Refused
from panel.runs import surveys
from panel.runs.errors import RunsError
from panel.store.models import Server
from panel.web import queries
from panel.web.auth import current_actor, signed_in
from panel.web.database import database
from panel.web.errors import trouble

blueprint = Blueprint("sites", __name__)


@blueprint.get("/servers/<name>/sites")
@signed_in
def listed(name: str) -> str:
    server = queries.server(database(), name)
    at, words = None, ""
    found: list[propose.Found] = []
    try:
        at, found = taking.seen(database(), server)
    except taking.NotLooked:
        pass
    except RunsError as wrong:
        words = wrong.message
    return render_template("sites.html", here="servers", server=server, at=at, sites=found, trouble=words)


@blueprint.post("/servers/<name>/sites")
@signed_in
def look(name: str) -> Response:
    run = surveys.look(database(), queries.server(database(), name), current_actor().name, "browser")
    return redirect(url_for("runs.show", number=run.id), 303)


def _page(server: Server, domain: str, words: str = "", problem: str = "") -> str:
    found = taking.site(database(), server, domain)
    given = {"kind": request.form.get("kind", found.proposals[0].kind if found.proposals else ""),
             "name": request.form.get("name", found.proposals[0].name if found.proposals else "")}
    return render_template("site.html", here="servers", server=server, found=found, given=given, trouble=words,
                           problem=problem)


@blueprint.get("/servers/<name>/sites/<path:domain>")
@signed_in
def show(name: str, domain: str) -> str | Response:
    server = queries.server(database(), name)
    try:
        return _page(server, domain)
    except taking.NotLooked:
        return redirect(url_for("sites.listed", name=name), 303)


@blueprint.post("/servers/<name>/sites/<path:domain>")
@signed_in
def adopt(name: str, domain: str) -> Response | tuple[str, int]:
    server = queries.server(database(), name)
    try:
        made = taking.take(database(), server, domain=domain, kind=request.form.get("kind", ""),
                           name=request.form.get("name", "").strip(), actor=current_actor().name, door="browser")
    except Refused as wrong:
        of_name = next((one.message for one in wrong.problems if one.parameter == "name"), "")
        return _page(server, domain, "" if of_name else str(wrong), of_name), 422
    except RunsError as wrong:
        is_name = wrong.code == "name_taken"
        return _page(server, domain, "" if is_name else wrong.message, wrong.message if is_name else ""), \
            trouble(wrong).status
    if len(made) > 1:
        then = " and then ".join(f"plan {one.id} ({one.resource_name})" for one in made)
        flash(f"Apply them in this order: {then}.", "changed")
    return redirect(url_for("plans.show", number=made[0].id), 303)
