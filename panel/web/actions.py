"""Actions beside apply: a button each; those with values of their own, and dangerous ones, have a page."""

from __future__ import annotations

from collections.abc import Sequence

from flask import Blueprint, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from panel.catalog import Action, Kind, Problem, Refused, catalog
from panel.runs import plans
from panel.runs import resources as wishes
from panel.store.models import Mode, Resource
from panel.web import again, fields, queries
from panel.web.auth import current_actor, signed_in
from panel.web.database import database
from panel.web.errors import Gone

blueprint = Blueprint("actions", __name__)


def _found(name: str, action: str) -> tuple[Resource, Kind, Action]:
    resource = queries.resource(database(), name)
    kind = catalog().kind(resource.kind)
    if action not in kind.actions:
        raise Gone(f"{kind.label} has no action '{action}'.")
    return resource, kind, kind.actions[action]


def _page(resource: Resource, action: Action, entered: fields.Entered, problems: Sequence[Problem] = (),
          confirm_problem: str = "") -> str:
    return render_template(
        "action.html", here="resources", resource=resource, action=action, confirm_problem=confirm_problem,
        groups=fields.groups(action, entered, {}, problems), problems=problems)


@blueprint.get("/resources/<name>/actions/<action_name>")
@signed_in
def ask(name: str, action_name: str) -> str:
    resource, kind, action = _found(name, action_name)
    run = again.asked_for(kind.name, action_name)
    values = run.values if run is not None and run.resource_id == resource.id else {}
    # A link may fill in texts beforehand, such as the release to go back to; nothing is done before it is sent.
    asked: fields.Entered = {one.name: request.args[one.key][:200] for one in action.parameters
                             if one.key in request.args and not (one.secret or one.suboptions)}
    return _page(resource, action, fields.from_values(action, values, {}) | asked)


@blueprint.post("/resources/<name>/actions/<action_name>")
@signed_in
def start(name: str, action_name: str) -> Response | str | tuple[str, int]:
    resource, _, action = _found(name, action_name)
    entered = fields.from_form(action, request.form)
    if "rows" in request.form:
        return _page(resource, action, fields.with_rows_changed(entered, request.form["rows"]))
    is_check, is_plan = request.form.get("mode") == "check", request.form.get("mode") == "plan"
    if action.dangerous and not (is_check or is_plan) and request.form.get("confirm", "").strip() != resource.name:
        return _page(resource, action, entered, confirm_problem=f"This is not '{resource.name}'."), 422
    try:
        if is_plan:
            plan = plans.make(database(), resource=resource, action=action_name, given=fields.given(action, entered),
                              actor=current_actor().name, door="browser")
            return redirect(url_for("plans.show", number=plan.id), 303)
        run = wishes.act(database(), resource=resource, action=action_name, given=fields.given(action, entered),
                         actor=current_actor().name, door="browser", mode=Mode.CHECK if is_check else Mode.APPLY)
    except Refused as wrong:
        return _page(resource, action, entered, wrong.problems), 422
    return redirect(url_for("runs.show", number=run.id), 303)
