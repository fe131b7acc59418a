"""Plans: the list, and one plan with all that it would change, while it is made and afterwards."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from flask import Blueprint, redirect, render_template, request, url_for
from sqlalchemy import select
from werkzeug.wrappers import Response

from panel.catalog import Refused
from panel.runs import plans, variables
from panel.runs.errors import MigrationsUnconfirmed, RunsError
from panel.settings import settings
from panel.store.planned import Plan, PlanState
from panel.web import difference, queries, waterfall, words
from panel.web.auth import current_actor, signed_in
from panel.web.database import database
from panel.web.errors import Gone

blueprint = Blueprint("plans", __name__)
_MOST = 50


def badge(plan: Plan) -> words.Badge:
    """A plan's state as a shape and a word."""
    changes = bool(plan.changes)
    return {PlanState.NEW: words.Badge("running", "Being made"),
            PlanState.READY: words.Badge("changed" if changes else "ok", "Ready" if changes else "Nothing to do"),
            PlanState.FAILED: words.Badge("failed", "Failed"), PlanState.APPLIED: words.Badge("ok", "Applied"),
            PlanState.EXPIRED: words.Badge("stopped", "Too old"),
            PlanState.REFUSED: words.Badge("failed", "Does not hold any more")}[plan.state]


def lines(changes: list[Any]) -> list[waterfall.Line]:
    """What a check found, in the form of the steps of a run."""
    shown: dict[int, waterfall.Line] = {}
    for one in changes:
        detail = waterfall.Detail(one["host"], "changed", message="" if one["diff"] else one["msg"],
                                  diff=difference.lines(one["diff"]), is_hidden=one["hidden"],
                                  items=[(str(label), "changed") for label in one["items"]])
        line = shown.setdefault(one["step"], waterfall.Line(
            f"step-{one['step']}", "changed", "would change", one["name"], one["role"], one["summary"], 0.0, None, [],
            bool(detail.diff)))
        if detail.says_something or detail.is_hidden:
            line.details.append(detail)
    return list(shown.values())


def find(number: int) -> Plan:
    """The plan as it is now. Gone: there is none."""
    plan = database().get(Plan, number)
    if plan is None:
        raise Gone(f"There is no plan {number}. Old plans are removed after a while.")
    return plans.refresh(database(), plan)


def _page(plan: Plan, trouble: str = "") -> str:
    run = queries.run(database(), plan.run_id) if plan.run_id else None
    fall = waterfall.load(database(), run) if run is not None and plan.state is PlanState.NEW else None
    action = words.action_of(plan.kind, plan.action)
    return render_template(
        "plan.html", here="runs", plan=plan, run=run, fall=fall, badge=badge(plan), lines=lines(plan.changes),
        trouble=trouble, action=action, label=words.action_label(plan.kind, plan.action),
        losses=plans.takes_away(plan), variables=variables.named(plan),
        until=plan.created_at + timedelta(hours=settings().plan_hours))


@blueprint.get("/plans")
@signed_in
def listed() -> str:
    session, name = database(), request.args.get("resource", "").strip()[:100]
    found = select(Plan).order_by(Plan.id.desc()).limit(_MOST)
    if name:
        found = found.where(Plan.resource_name == name)
    rows = [plans.refresh(session, one) for one in session.scalars(found).all()]
    return render_template("plans.html", here="runs", plans=rows, name=name, badge=badge)


@blueprint.get("/plans/<int:number>")
@signed_in
def show(number: int) -> str:
    return _page(find(number))


@blueprint.post("/plans/<int:number>/runs")
@signed_in
def apply(number: int) -> Response | tuple[str, int]:
    plan = find(number)
    action = words.action_of(plan.kind, plan.action)
    if action is not None and action.dangerous and request.form.get("confirm", "").strip() != plan.resource_name:
        return _page(plan, f"Type {plan.resource_name} to confirm."), 422
    try:
        run = plans.apply(database(), plan, current_actor().name, "browser", request.form.getlist("confirm_migration"))
    except (RunsError, Refused) as wrong:
        status = 422 if isinstance(wrong, MigrationsUnconfirmed | Refused) else 409
        return _page(find(number), getattr(wrong, "message", str(wrong))), status
    return redirect(url_for("runs.show", number=run.id), 303)


@blueprint.post("/plans/<int:number>/variables")
@signed_in
def answer(number: int) -> Response | tuple[str, int]:
    """The same wish with values for the variables that its repository names."""
    plan = find(number)
    answers = {name.removeprefix("variable."): value.replace("\r\n", "\n") for name, value in request.form.items()
               if name.startswith("variable.")}
    try:
        fresh = variables.answer(database(), plan, answers, current_actor().name, "browser")
    except (RunsError, Refused) as wrong:
        return _page(find(number), getattr(wrong, "message", str(wrong))), 422 if isinstance(wrong, Refused) else 409
    return redirect(url_for("plans.show", number=fresh.id), 303)


@blueprint.post("/plans/<int:number>/repetition")
@signed_in
def again(number: int) -> Response | tuple[str, int]:
    """The same wish, looked at anew."""
    plan = find(number)
    try:
        fresh = plans.again(database(), plan, current_actor().name, "browser")
    except (RunsError, Refused) as wrong:
        return _page(find(number), getattr(wrong, "message", str(wrong))), 409
    return redirect(url_for("plans.show", number=fresh.id), 303)
