"""Groups of servers: made, looked at, changed, removed."""

from __future__ import annotations

from flask import Blueprint, flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from panel.catalog import Refused
from panel.runs import groups
from panel.runs.errors import RunsError
from panel.store.places import Group
from panel.web import queries
from panel.web.auth import signed_in
from panel.web.database import database

blueprint = Blueprint("groups", __name__)


def _form(group: Group | None = None, beside: dict[str, str] | None = None, trouble: str = "") -> str:
    asked = request.method == "POST"
    chosen = request.form.getlist("server") if asked else [one.name for one in group.servers] if group else []
    return render_template(
        "group_form.html", here="servers", group=group, servers=queries.servers(database()), chosen=chosen,
        name=request.form.get("name", ""), beside=beside or {}, trouble=trouble,
        batch=request.form.get("batch", "") if asked else group.batch if group else "1")


def _again(wrong: RunsError | Refused, group: Group | None = None) -> tuple[str, int]:
    """The form with what is wrong in it."""
    database().rollback()
    if isinstance(wrong, Refused):
        return _form(group, {one.parameter: one.message for one in wrong.problems}), 422
    if wrong.code == "name_taken":
        return _form(group, {"name": wrong.message}), 409
    return _form(group, trouble=wrong.message), 409


@blueprint.get("/new/group")
@signed_in
def new() -> str:
    return _form()


@blueprint.post("/new/group")
@signed_in
def create() -> Response | tuple[str, int]:
    try:
        group = groups.add(database(), request.form.get("name", "").strip(), request.form.getlist("server"),
                           request.form.get("batch", ""))
    except (RunsError, Refused) as wrong:
        return _again(wrong)
    return redirect(url_for("groups.show", name=group.name), 303)


@blueprint.get("/groups/<name>")
@signed_in
def show(name: str) -> str:
    session = database()
    group = queries.group(session, name)
    resources = [one for one in queries.resources(session, server=group.name) if one.group_id == group.id]
    return render_template("group.html", here="servers", group=group, resources=resources,
                           last=queries.last_runs(session, (one.id for one in resources)),
                           last_of_server=queries.last_server_runs(session))


@blueprint.get("/groups/<name>/edit")
@signed_in
def edit(name: str) -> str:
    return _form(queries.group(database(), name))


@blueprint.post("/groups/<name>/edit")
@signed_in
def change(name: str) -> Response | tuple[str, int]:
    group = queries.group(database(), name)
    wanted, there = request.form.getlist("server"), [one.name for one in group.servers]
    try:
        groups.change(database(), group, put_in=[one for one in wanted if one not in there],
                      take_out=[one for one in there if one not in wanted], batch=request.form.get("batch", ""))
    except (RunsError, Refused) as wrong:
        return _again(wrong, group)
    return redirect(url_for("groups.show", name=name), 303)


@blueprint.post("/groups/<name>/removal")
@signed_in
def remove(name: str) -> Response:
    groups.remove(database(), queries.group(database(), name))
    flash(f"The group {name} was removed. Its servers are as they were.", "ok")
    return redirect(url_for("servers.listed"), 303)
