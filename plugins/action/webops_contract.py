"""Settles what a repository says of itself with what a person said, before anything is built. Control side only.

Arguments: `kind`; `files` and `listing` as webops_fetch returned them (both missing: nothing is known yet, the settings
are then those of the values alone); `given`, the values that a person gave; `variables`, names of the variables that
will have a value; `installed`, what Apply left on the server; `refuse_root`, whether what needs root is refused.
Returns `settings` and `webops_plan`. Fails with msg, next and journal in an operator's words.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

PLUGINS = Path(__file__).resolve().parent.parent
_spec = importlib.util.spec_from_file_location("webops_packages", PLUGINS / "packages.py")
_packages = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_packages)


def answer(arguments: dict[str, Any]) -> dict[str, Any]:
    """The result of the task for its arguments."""
    package = _packages.load("webops_contract_package", PLUGINS / "contract")
    kind, given, variables = arguments["kind"], arguments.get("given") or {}, arguments.get("variables") or []
    known = isinstance(arguments.get("files"), dict)
    files = {path: text for path, text in (arguments.get("files") or {}).items() if isinstance(text, str)}
    listing = [path for path in arguments.get("listing") or [] if isinstance(path, str)]
    contract = package.Contract(kind=kind)
    try:
        contract = package.read(files, listing, kind=kind, given=given) if known else contract
        settings = package.settle(contract, given if known else {**given, "processes": [], "cron": []}, variables)
    except package.Refused as refused:
        # What it lacks can be filled in beside the plan that failed.
        told = {"contract": {"variables": package.offered(contract, variables)}}
        return {
            **refusal(str(refused), refused.next, [str(problem) for problem in refused.problems]),
            "webops_plan": told,
        }
    if not known:
        return {
            "changed": False,
            "settings": settings,
            "gone": package.gone(settings["root"], None),
            "msg": "follows: the repository is read once it is fetched",
        }
    reasons = package.needs_apply(settings["root"], arguments.get("installed"))
    plan = {"contract": package.plan(contract, settings, variables, reasons)}
    if reasons and arguments.get("refuse_root"):
        return {
            **refusal(
                f"Needs Apply, because {reasons[0]}" + (f" (and {len(reasons) - 1} more)." if reasons[1:] else "."),
                "Apply the resource: it installs what needs root, and deploys.",
                reasons,
            ),
            "webops_plan": plan,
        }
    return {
        "changed": False,
        "settings": settings,
        "gone": package.gone(settings["root"], arguments.get("installed")),
        "found": contract.found,
        "webops_plan": plan,
        "webops_summary": summary(settings),
    }


def refusal(message: str, then: str, lines: list[str]) -> dict[str, Any]:
    return {"failed": True, "changed": False, "msg": message, "next": then, "journal": lines}


def summary(settings: dict[str, Any]) -> str:
    """Where it comes from, and what stands out: "webops.yml · worker × 2, beat · 1 cron job"."""
    processes = [one["name"] + (f" × {one['count']}" if one["count"] > 1 else "") for one in settings["processes"]]
    jobs = len(settings["cron"])
    parts = [settings["source"], ", ".join(processes), f"{jobs} cron job{'s' if jobs > 1 else ''}" if jobs else ""]
    return " · ".join(part for part in parts if part)


class ActionModule(ActionBase):
    """`webops_contract:` between fetching the code and everything that depends on what it says."""

    TRANSFERS_FILES = False
    _VALID_ARGS = frozenset(("kind", "files", "listing", "given", "variables", "installed", "refuse_root"))

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        result.update(answer(_packages.plain(dict(self._task.args))))
        return result
