"""Variables that a repository names and that have no value yet: told by a plan, answered here."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

from sqlalchemy.orm import Session

from panel.catalog import catalog
from panel.runs import findings, plans
from panel.runs.errors import PlanNotReady
from panel.settings import ROOT
from panel.store.models import Mode, Run
from panel.store.planned import Plan, PlanState

GENERATE, ASK, DEFAULT = "generate", "ask", "default"
_MOST = 200
#: {name, value}, as a parameter holds it.
Item = dict[str, str]


@dataclass(frozen=True)
class Variable:
    """`way`: made at random (generate), known to a person alone (ask), or offered as in the example (default)."""

    name: str
    way: str
    why: str
    help: str
    value: str
    is_secret: bool
    is_required: bool


def named(plan: Plan) -> list[Variable]:
    """Those without a value, required ones first; none where the plan is not of an app's Apply."""
    return _named(plan.kind, plan.action, plan.facts)


def found_by(session: Session, run: Run) -> list[Variable]:
    """The same of a check that nobody made a plan of."""
    return _named(run.kind, run.action, findings.of_run(session, run).facts) if run.mode is Mode.CHECK else []


def _named(kind: str, action: str, facts: Mapping[str, Any]) -> list[Variable]:
    if action != "main" or not _takes_variables(kind):
        return []
    contract = facts.get("contract")
    rows = contract.get("variables") if isinstance(contract, dict) else None
    found = [Variable(str(one["name"]), str(one["way"]), str(one.get("why", "")), str(one.get("help", "")),
                      str(one.get("value", "")), bool(one.get("secret")), bool(one.get("required")))
             for one in (rows if isinstance(rows, list) else [])[:_MOST]
             if isinstance(one, dict) and one.get("name") and one.get("way") in (GENERATE, ASK, DEFAULT)]
    return sorted(found, key=lambda one: not one.is_required)


def answer(session: Session, plan: Plan, answers: Mapping[str, str], actor: str, door: str) -> Plan:
    """The same wish with these values, planned anew. COMMITS. Refused, PlanNotReady, and as `plans.make`.

    What is left empty gets no value, but for what is made at random.
    """
    if plan.state not in (PlanState.READY, PlanState.FAILED):
        raise PlanNotReady(f"Plan {plan.id} is {plan.state}; plan again, and give the values there.")
    given = plans.asked_with(plan)
    environment, secrets = (list(given.get(f"{plan.kind}_{key}") or []) for key in ("environment", "secrets"))
    shown, hidden = answered(map(vars, named(plan)), {name: text.strip() for name, text in answers.items()})
    given |= {f"{plan.kind}_environment": environment + shown, f"{plan.kind}_secrets": secrets + hidden}
    return plans.make(session, kind=plan.kind, name=plan.resource_name, where=plans.where_of(plan), given=given,
                      actor=actor, door=door, timeout=plan.timeout)


def answered(named: Iterable[Mapping[str, Any]], answers: Mapping[str, str]) -> tuple[list[Item], list[Item]]:
    """(shown, secret) values for variables as `Variable` or the API tells them; empty ones of `generate` are made."""
    shown: list[Item] = []
    secret: list[Item] = []
    for one in named:
        is_made = one["way"] == GENERATE
        value = answers.get(one["name"], "")
        if not value and is_made and one["name"] in answers:
            value = make(one["name"])
        if value:
            (secret if one["is_secret"] or is_made else shown).append({"name": one["name"], "value": value})
    return shown, secret


def make(name: str) -> str:
    """A random value in the form that the name promises."""
    return str(_contract().make(name))


def _takes_variables(kind: str) -> bool:
    found = catalog().kinds.get(kind)
    return found is not None and all(found.main.parameter(key) for key in ("repo", "environment", "secrets"))


@cache
def _contract() -> ModuleType:
    """plugins/contract, from the place where Ansible finds it too."""
    home = ROOT / "plugins" / "contract"
    spec = importlib.util.spec_from_file_location("webops_contract", home / "__init__.py",
                                                  submodule_search_locations=[str(home)])
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["webops_contract"] = module
    spec.loader.exec_module(module)
    return module
