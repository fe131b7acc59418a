"""Asking for a resource: choose a kind, fill its form; the same form changes a resource later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flask import Blueprint, redirect, render_template, request, url_for
from werkzeug.datastructures import MultiDict
from werkzeug.wrappers import Response

from panel.catalog import Kind, Preset, Problem, Refused, catalog, clean, formats
from panel.runs import keys, plans
from panel.runs import resources as wishes
from panel.runs.errors import RunsError
from panel.store.models import Mode, Resource
from panel.web import again, fields, queries
from panel.web.auth import current_actor, signed_in
from panel.web.database import database
from panel.web.shown import secret_names

blueprint = Blueprint("new", __name__)

#: Where a refusal of the whole wish belongs in the form.
_BESIDE = {"name_taken": "name", "part_of_another": "name", "server_not_ready": "server",
           "host_key_not_accepted": "server", "unknown": "server", "domain_taken": "domain"}


@blueprint.get("/new")
@signed_in
def choose() -> str:
    kinds = sorted(catalog().kinds.values(), key=lambda kind: (-len(kind.includes), bool(kind.addon), kind.label))
    return render_template("choose.html", here="resources", kinds=kinds, broken=catalog().broken,
                           servers=queries.servers(database()), server=request.args.get("server", ""))


def _form(kind: Kind, entered: fields.Entered, *, resource: Resource | None = None, name: str = "", server: str = "",
          problems: Sequence[Problem] = (), trouble: str = "") -> str:
    preset = _preset(kind)
    kept = secret_names(resource) if resource else {}
    public = keys.public_of(resource, kind) if resource else {}
    return render_template(
        "form.html", here="resources", kind=kind, resource=resource, name=name, server=server, preset=preset,
        groups=fields.groups(kind.main, entered, kept, problems, public), problems=problems, trouble=trouble,
        servers=queries.servers(database()), server_groups=queries.groups(database()),
        beside={one.parameter: one.message for one in problems})


def _ask(kind: Kind, name: str, server: str, given: dict[str, Any], kept: fields.Kept) -> Response:
    """Refused, RunsError: nothing was stored."""
    if problems := _all_problems(kind, name, server, given, kept):
        raise Refused(problems)
    if request.form.get("mode") == "plan":
        plan = plans.make(database(), kind=kind.name, name=name, where=server, given=given,
                          actor=current_actor().name, door="browser")
        return redirect(url_for("plans.show", number=plan.id), 303)
    mode = Mode.CHECK if request.form.get("mode") == "check" else Mode.APPLY
    run = wishes.ask(database(), kind=kind.name, name=name, where=server, given=given,
                     actor=current_actor().name, door="browser", mode=mode)
    return redirect(url_for("runs.show", number=run.id), 303)


def _beside(kind: Kind, wrong: RunsError | Refused) -> tuple[list[Problem], str]:
    """The problems of single fields, and what belongs to no field."""
    if isinstance(wrong, Refused):
        return wrong.problems, ""
    place = _BESIDE.get(wrong.code)
    if place == "domain" and kind.main.parameter("domain") is None:
        place = None
    return ([Problem(place, wrong.code, wrong.message)], "") if place else ([], wrong.message)


def _make_key(kind: Kind, name: str, server: str, entered: fields.Entered) -> str:
    """Its page with the new key, for the person to go on. Refused, RunsError: nothing was stored."""
    given = fields.given(kind.main, entered)
    if problems := _all_problems(kind, name, server, given, {}, partial=True):
        raise Refused(problems)
    made = keys.make(database(), name=name, kind=kind.name, where=server, parameter=request.form["make"], given=given)
    return url_for("new.edit", name=name, _anchor=f"f-{made.parameter}")


def _all_problems(kind: Kind, name: str, server: str, given: dict[str, Any], kept: fields.Kept,
                  partial: bool = False) -> list[Problem]:
    """What is wrong with a form, all at once: a person should not have to send it again for each."""
    found = []
    if wrong := formats.problem("name", name):
        found.append(Problem("name", wrong.code, wrong.message))
    if not server:
        found.append(Problem("server", "required", "Choose a server."))
    try:
        clean(kind, "main", given, known_secrets=kept, partial=partial)
    except Refused as refused:
        found += refused.problems
    return found


def _preset(kind: Kind) -> Preset | None:
    """`?preset=`: the form begins with values that the role knows to work."""
    return kind.presets.find(request.args.get("preset", ""))


def _begun(kind: Kind, values: Mapping[str, Any]) -> Mapping[str, Any]:
    preset = _preset(kind)
    return kind.presets.begin(values, preset) if preset else values


@blueprint.get("/new/<kind_name>")
@signed_in
def fill(kind_name: str) -> str:
    kind = catalog().kind(kind_name)
    run = again.asked_for(kind.name, "main")
    entered = fields.from_values(kind.main, _begun(kind, run.values if run else {}), {})
    return _form(kind, entered, name=run.resource_name if run else "", server=request.args.get("server", ""))


@blueprint.post("/new/<kind_name>")
@signed_in
def create(kind_name: str) -> Response | str | tuple[str, int]:
    kind, form = catalog().kind(kind_name), _first_values(request.form)
    entered, name, server = fields.from_form(kind.main, form), form.get("name", "").strip(), form.get("server", "")
    if "rows" in form:
        return _form(kind, fields.with_rows_changed(entered, form["rows"]), name=name, server=server)
    try:
        if "make" in form:
            return redirect(_make_key(kind, name, server, entered), 303)
        return _ask(kind, name, server, fields.given(kind.main, entered), {})
    except (RunsError, Refused) as wrong:
        problems, trouble = _beside(kind, wrong)
        return _form(kind, entered, name=name, server=server, problems=problems, trouble=trouble), 422


@blueprint.get("/resources/<name>/edit")
@signed_in
def edit(name: str) -> str:
    resource = queries.resource(database(), name)
    kind = catalog().kind(resource.kind)
    run = again.asked_for(kind.name, "main")
    values = run.values if run is not None and run.resource_id == resource.id else resource.values
    entered = fields.from_values(kind.main, _begun(kind, values), secret_names(resource))
    return _form(kind, entered, resource=resource, name=name, server=resource.where.name)


@blueprint.post("/resources/<name>/edit")
@signed_in
def change(name: str) -> Response | str | tuple[str, int]:
    resource = queries.resource(database(), name)
    kind, form = catalog().kind(resource.kind), _first_values(request.form)
    entered, server = fields.from_form(kind.main, form), resource.where.name
    if "rows" in form:
        return _form(kind, fields.with_rows_changed(entered, form["rows"]), resource=resource, name=name, server=server)
    try:
        if "make" in form:
            page = _make_key(kind, name, server, entered)
            # What was applied keeps its values, so those that were typed have to stay in the form.
            return redirect(page, 303) if resource.applied_at is None else _form(
                kind, entered, resource=resource, name=name, server=server)
        return _ask(kind, name, server, fields.given(kind.main, entered), secret_names(resource))
    except (RunsError, Refused) as wrong:
        problems, trouble = _beside(kind, wrong)
        return _form(kind, entered, resource=resource, name=name, server=server, problems=problems,
                     trouble=trouble), 422


def _first_values(form: MultiDict[str, str]) -> dict[str, str]:
    return form.to_dict()
