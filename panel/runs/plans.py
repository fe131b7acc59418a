"""Plan, then apply that plan: a check run that is kept, and a run that does what it showed or refuses in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from panel.catalog import catalog
from panel.runs import findings, fingerprint, resources
from panel.runs.errors import MigrationsUnconfirmed, PlanMoved, PlanNotReady, Unknown
from panel.runs.submit import Extra
from panel.settings import settings
from panel.store.db import now
from panel.store.models import Mode, Resource, Run, Server, State
from panel.store.places import Group
from panel.store.planned import Plan, PlanState
from panel.store.seal import seal, unseal

PURPOSE = "plan"
_AGAIN = "Plan again, look at what is new, and apply that plan."


def make(session: Session, *, given: Mapping[str, Any], actor: str, door: str, action: str = "main",
         resource: Resource | None = None, kind: str = "", name: str = "", where: Server | Group | str = "",
         timeout: int | None = None) -> Plan:
    """A plan whose check is queued. With `resource` as `resources.act`, with `kind`, `name` and `where` as `ask`.

    COMMITS. Errors as there: nothing was stored then.
    """
    made: list[Plan] = []
    extra = Extra(PURPOSE, bind=lambda run: made.append(_bound(session, run, where)))
    if resource is not None and not kind:
        resources.act(session, resource=resource, action=action, given=given, actor=actor, door=door,
                      mode=Mode.CHECK, timeout=timeout, extra=extra)
    elif action == "main":
        resources.ask(session, kind=kind, name=name, where=where, given=given, actor=actor, door=door,
                      mode=Mode.CHECK, timeout=timeout, extra=extra)
    else:
        raise Unknown(f"'{action}' is done to a resource that is there; say which.")
    return made[0]


def again(session: Session, plan: Plan, actor: str, door: str) -> Plan:
    """The same wish, looked at anew. COMMITS. Errors as `make`."""
    if plan.action == "main":
        return make(session, kind=plan.kind, name=plan.resource_name, where=where_of(plan), given=asked_with(plan),
                    actor=actor, door=door, timeout=plan.timeout)
    if plan.resource is None:
        raise Unknown(f"{plan.resource_name} is gone, so there is nothing to plan.")
    return make(session, resource=plan.resource, action=plan.action, given=asked_with(plan), actor=actor, door=door,
                timeout=plan.timeout)


def asked_with(plan: Plan) -> dict[str, Any]:
    """What a plan was asked with: of Apply all its values, of another action those that it takes itself."""
    secrets = fingerprint.opened(plan)["secrets"]
    if plan.action == "main":
        # An empty secret was taken away in the plan; left out it would be kept.
        return {**plan.values, **{name: value or [] for name, value in secrets.items()}}
    spec = catalog().kind(plan.kind).actions.get(plan.action)
    return {name: value for name, value in {**plan.values, **secrets}.items() if spec and spec.parameter(name)}


def where_of(plan: Plan) -> Server | Group:
    found = plan.server or plan.group
    assert found
    return found


def _bound(session: Session, run: Run, where: Server | Group | str) -> Plan:
    """The plan of a check, in the check's own transaction."""
    where = run.resource.where if run.resource else resources.place(session, where)
    servers = [one.server for one in run.servers if one.server]
    group = where if isinstance(where, Group) else None
    own = unseal(f"run:{run.id}:secrets", run.secrets) if run.secrets else {}
    plan = Plan(run_id=run.id, resource=run.resource, resource_name=run.resource_name, kind=run.kind, group=group,
                server=None if group else servers[0], server_name=where.name, action=run.action,
                values=dict(run.values), timeout=run.timeout, actor=run.actor, door=run.door, state=PlanState.NEW,
                fingerprint=fingerprint.take(session, run.kind, servers, run.resource, run.lock))
    session.add(plan)
    session.flush()
    inside = {"secrets": own, "before": fingerprint.holdings(run.resource)}
    plan.secrets = seal(f"plan:{plan.id}", inside)
    return plan


def settled(session: Session, run: Run) -> None:
    """A run has ended: fill the plan that it was the check of. Does not commit."""
    plan = session.scalar(select(Plan).where(Plan.run_id == run.id, Plan.state == PlanState.NEW))
    if plan is not None:
        _fill(session, plan, run)


def refresh(session: Session, plan: Plan) -> Plan:
    """The plan as it is now: filled where its check has ended, expired where it is too old. COMMITS."""
    if plan.state is PlanState.NEW:
        if plan.run is None:
            plan.state, plan.refusal = PlanState.FAILED, "Its check is not kept any more."
        elif not plan.run.state.is_active:
            _fill(session, plan, plan.run)
    elif plan.state is PlanState.READY and now(session) - plan.created_at > timedelta(hours=settings().plan_hours):
        plan.state = PlanState.EXPIRED
        plan.refusal = f"It is older than {settings().plan_hours} hours: what it saw may be otherwise by now."
    session.commit()
    return plan


def _fill(session: Session, plan: Plan, run: Run) -> None:
    found = findings.of_run(session, run)
    plan.changes, plan.facts, plan.steps = found.changes, found.facts, found.steps
    if run.state is not State.SUCCEEDED:
        plan.state = PlanState.FAILED
        plan.refusal = run.error or f"Its check was {run.state}."
        return
    commit = (found.facts.get("commit") or {}).get("id", "")
    plan.fingerprint = {**plan.fingerprint, "commit": commit}
    plan.state = PlanState.READY


def approval_missing(session: Session, plan: Plan, actor: str) -> str:
    """Why somebody else has to say yes before `actor` may apply this plan; "": nobody has to.

    The one place that is asked: who must approve what comes with accounts, and fills approved_by and approved_at.
    """
    return ""


def takes_away(plan: Plan) -> list[dict[str, Any]]:
    """The migrations of a plan that take something away."""
    return [one for one in plan.facts.get("migrations") or [] if isinstance(one, dict) and one.get("takes_away")]


def apply(session: Session, plan: Plan, actor: str, door: str, confirm_migrations: Sequence[str] = ()) -> Run:
    """Do what the plan showed, with the values that it was made with. COMMITS.

    PlanNotReady, PlanMoved (its words name what moved), MigrationsUnconfirmed, and what `ask` and `act` refuse.
    """
    refresh(session, plan)
    _check_ready(session, plan, actor)
    if moved := fingerprint.moved(session, plan):
        refused = _refused(session, plan, moved, PlanState.READY)
        # Unless somebody applied it in this moment, and their run is what moved.
        _check_ready(session, plan, actor)
        raise refused
    _check_confirmed(plan, confirm_migrations)
    extra = Extra(PURPOSE, conditions(plan, confirm_migrations), bind=lambda run: _take(session, plan, run))
    try:
        return _submit(session, plan, actor, door, extra)
    except Exception:
        session.rollback()
        raise


def conditions(plan: Plan, confirm_migrations: Sequence[str] = ()) -> dict[str, Any]:
    """What the modules are held to."""
    held: dict[str, Any] = {}
    if commit := plan.fingerprint.get("commit"):
        held["webops_planned"] = {"commit": commit}
    if confirm_migrations:
        held["webops_confirmed"] = list(confirm_migrations)
    return held


def _submit(session: Session, plan: Plan, actor: str, door: str, extra: Extra) -> Run:
    if plan.action == "main":
        return resources.ask(session, kind=plan.kind, name=plan.resource_name, where=where_of(plan),
                             given=asked_with(plan), actor=actor, door=door, timeout=plan.timeout, extra=extra)
    assert plan.resource
    return resources.act(session, resource=plan.resource, action=plan.action, given=asked_with(plan), actor=actor,
                         door=door, timeout=plan.timeout, extra=extra)


def _take(session: Session, plan: Plan, run: Run) -> None:
    """Make the plan this run's, in the run's own transaction: of two who apply it at once, one does."""
    taken = session.execute(update(Plan).where(Plan.id == plan.id, Plan.state == PlanState.READY).values(
        state=PlanState.APPLIED, applied_run_id=run.id), execution_options={"synchronize_session": False})
    if not taken.rowcount:  # type: ignore[attr-defined]
        raise PlanNotReady(f"Plan {plan.id} was applied by somebody else in this moment.")
    session.expire(plan)


def _check_ready(session: Session, plan: Plan, actor: str) -> None:
    words = {
        PlanState.NEW: f"Plan {plan.id} is still being made. Wait for the end of its check (run {plan.run_id}).",
        PlanState.FAILED: f"Plan {plan.id} came to nothing: {plan.refusal} {_AGAIN}",
        PlanState.APPLIED: f"Plan {plan.id} was applied already (run {plan.applied_run_id}). Make a new one.",
        PlanState.EXPIRED: f"Plan {plan.id} is too old. {plan.refusal} {_AGAIN}",
    }.get(plan.state)
    if words:
        raise PlanNotReady(words)
    if plan.state is PlanState.REFUSED:
        raise PlanMoved(f"{plan.refusal} {_AGAIN}")
    if missing := approval_missing(session, plan, actor):
        raise PlanNotReady(missing)


def _check_confirmed(plan: Plan, confirmed: Sequence[str]) -> None:
    if "*" in confirmed:
        return
    left = [one for one in takes_away(plan) if one.get("name") not in confirmed]
    if left:
        said = "; ".join(f"{one.get('name')} {', '.join(map(str, one['takes_away']))}" for one in left)
        raise MigrationsUnconfirmed(f"This plan takes something away from the database: {said}. "
                                    "Confirm these migrations by name, or leave the plan.")


def _refused(session: Session, plan: Plan, moved: Sequence[str], since: PlanState) -> PlanMoved:
    """Note the refusal where the plan is still as it was. COMMITS."""
    words = in_words(plan, moved)
    session.execute(update(Plan).where(Plan.id == plan.id, Plan.state == since).values(
        state=PlanState.REFUSED, refusal=words), execution_options={"synchronize_session": False})
    session.commit()
    session.refresh(plan)
    return PlanMoved(f"{words} {_AGAIN}")


def in_words(plan: Plan, moved: Sequence[str]) -> str:
    """Why a plan is refused: everything that moved, in one sentence."""
    return f"Plan {plan.id} does not hold any more: {'; '.join(moved)}."


def check_claimed(session: Session, run: Run) -> None:
    """At the claim: what the plan of this run rests on is still so. PlanMoved: it is not. COMMITS then."""
    plan = session.scalar(select(Plan).where(Plan.applied_run_id == run.id))
    if plan is None:
        return
    if moved := fingerprint.moved(session, plan, run):
        raise _refused(session, plan, moved, PlanState.APPLIED)
