"""/plans and /resources/<name>/plans: see what would change, then have exactly that done."""

from __future__ import annotations

import re

from flask import jsonify
from sqlalchemy import select
from werkzeug.wrappers import Response

from panel.catalog import Problem, Refused
from panel.runs import plans, variables
from panel.store.models import Resource
from panel.store.planned import Plan, PlanState
from panel.web.api import api, shapes
from panel.web.api.asked import MAX_ID, bad_query, body, count, door, mapping, names, number, query, text
from panel.web.api.groups import where
from panel.web.api.paging import page
from panel.web.api.resources import find as find_resource
from panel.web.auth import current_actor, token
from panel.web.database import database
from panel.web.errors import Gone


def find(wanted: str) -> Plan:
    """The plan with this number, as it is now. Gone: there is none."""
    known = re.fullmatch(r"[0-9]{1,10}", wanted) and int(wanted) <= MAX_ID
    plan = database().get(Plan, int(wanted)) if known else None
    if plan is None:
        raise Gone("There is no such plan. `webops plan list` shows those there are.")
    return plans.refresh(database(), plan)


@api.post("/resources/<name>/plans")
@token
def make_plan(name: str) -> tuple[Response, int]:
    """As PUT /resources/<name> for `kind` (and `server` or `group`); without as POST /resources/<name>/runs."""
    asked = body((), ("action", "kind", "server", "group", "values", "timeout"))
    kind, actor = text(asked, "kind", longest=64), current_actor().name
    timeout = number(asked, "timeout", 10, 7 * 24 * 3600)
    if kind:
        there = database().scalar(select(Resource).where(Resource.name == name))
        plan = plans.make(database(), kind=kind, name=name, where=where(asked, there), given=mapping(asked, "values"),
                          actor=actor, door=door(), timeout=timeout)
    else:
        plan = plans.make(database(), resource=find_resource(name), action=text(asked, "action", "main", longest=64),
                          given=mapping(asked, "values"), actor=actor, door=door(), timeout=timeout)
    assert plan.run
    return jsonify(plan=shapes.plan(plan), run=shapes.run(plan.run)), 202


@api.get("/plans")
@token
def list_plans() -> Response:
    """Newest first; `after` the number of the last one seen."""
    asked = query("after", "limit", "resource", "state")
    limit = count(asked, "limit", 50)
    found = select(Plan).order_by(Plan.id.desc())
    if "after" in asked:
        found = found.where(Plan.id < count(asked, "after", 0, 1, MAX_ID))
    if "resource" in asked:
        found = found.where(Plan.resource_name == asked["resource"])
    if "state" in asked:
        found = found.where(Plan.state == _state(asked["state"]))
    rows, last = page(found, limit)
    return jsonify(plans=[shapes.plan(plans.refresh(database(), one), is_whole=False) for one in rows],
                   next=last and last.id)


def _state(word: str) -> PlanState:
    try:
        return PlanState(word)
    except ValueError:
        raise bad_query([Problem("state", "invalid_query",
                                 f"'state' is one of: {', '.join(PlanState)}.")]) from None


@api.get("/plans/<wanted>")
@token
def show_plan(wanted: str) -> Response:
    query()
    return jsonify(shapes.plan(find(wanted)))


@api.post("/plans/<wanted>/runs")
@token
def apply_plan(wanted: str) -> tuple[Response, int]:
    """The run that does what the plan showed. 409 plan_moved: something that it rests on is otherwise now."""
    asked = body((), ("confirm_migrations",))
    run = plans.apply(database(), find(wanted), current_actor().name, door(), names(asked, "confirm_migrations"))
    return jsonify(run=shapes.run(run)), 202


@api.post("/plans/<wanted>/variables")
@token
def answer_variables(wanted: str) -> tuple[Response, int]:
    """The same wish with `values` {NAME: text} for its `variables`, planned anew; "" of `generate`: made at random."""
    given = mapping(body(("values",)), "values")
    if problems := [Problem(name, "invalid_type", f"'{name}' must be a text.") for name, value in given.items()
                    if not isinstance(value, str)]:
        raise Refused(problems)
    plan = variables.answer(database(), find(wanted), given, current_actor().name, door())
    assert plan.run
    return jsonify(plan=shapes.plan(plan), run=shapes.run(plan.run)), 202

