"""Decide what holds: what was said in WebOps, else in webops.yml, in the Procfile, else found, else the default."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import example
from .check import Problem, did_you_mean
from .reading import Contract
from .schema import SCHEMA
from .shown import SHELL
from .shown import command as shown

HEALTH = {key: part["default"] for key, part in SCHEMA["properties"]["health"]["properties"].items()}
LIMITS = {key: part["default"] for key, part in SCHEMA["properties"]["limits"]["properties"].items()}


class Refused(Exception):
    """The repository and the values do not go together: why, what to do next, and the problems one by one."""

    def __init__(self, message: str, then: str, problems: Sequence[Problem] = ()) -> None:
        super().__init__(message)
        self.next = then
        self.problems = list(problems)


def settle(contract: Contract, given: Mapping[str, Any], variables: Sequence[str] = ()) -> dict[str, Any]:
    """The settings that hold, all keys of them. Raises Refused.

    `given`: python, packages, build, health, limits, processes ([{name, count}]), database, cache, … as a person said
    them; what is missing or empty was not said. `variables`: names of the variables that will have a value.
    """
    refuse_problems(contract)
    refuse_missing(contract, variables)
    refuse_unmet(contract, given, variables)
    return _site(contract, given) if contract.kind == "static_site" else _app(contract, given)


def refuse_problems(contract: Contract) -> None:
    problems = contract.problems
    if not problems:
        return
    file = problems[0].file
    first = problems[0].reason if file == "The code" else str(problems[0])
    more = f" (and {len(problems) - 1} more below)" if len(problems) > 1 else ""
    then = (
        "Correct this value or the repository, then plan or deploy again."
        if file == "The code"
        else f"Correct {file} in the repository and commit it; docs/contract.md lists what it may say."
    )
    raise Refused(first + more, then, problems)


def refuse_missing(contract: Contract, variables: Sequence[str]) -> None:
    """Names that the repository wants to have a value, before anything is built without it."""
    required = contract.values.get("environment", {}).get("required", [])
    missing = [name for name in required if name not in variables]
    if missing:
        raise Refused(
            f"{_and(missing)} must be set, says {contract.source}: environment.required.",
            "Give it a value in 'Environment' or 'Secret environment', then apply.",
            [Problem("environment.required", f"{name} has no value.", contract.source) for name in missing],
        )


def refuse_unmet(contract: Contract, given: Mapping[str, Any], variables: Sequence[str]) -> None:
    needs = contract.values.get("needs", {})
    for key, label, own in (
        ("database", "PostgreSQL database", ("DATABASE_URL",)),
        ("cache", "Cache", ("REDIS_URL", "CACHE_URL")),
    ):
        if needs.get(key) and given.get(key) is False and not set(own) & set(variables):
            raise Refused(
                f"{contract.source}: needs.{key}: The app needs one, and '{label}' is off.",
                f"Switch '{label}' on and apply, or give {own[0]} yourself.",
                [Problem(f"needs.{key}", f"'{label}' is off.", contract.source)],
            )


def _and(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]


def _common(contract: Contract, given: Mapping[str, Any]) -> dict[str, Any]:
    values = contract.values
    return {
        "source": contract.source,
        "kind": contract.kind,
        "found": contract.found,
        "python": given.get("python") or values.get("python") or "",
        "packages": sorted({*(given.get("packages") or []), *values.get("packages", [])}),
        "requirements": {"how": contract.requirements.how, "file": contract.requirements.file},
    }


def _app(contract: Contract, given: Mapping[str, Any]) -> dict[str, Any]:
    values = contract.values
    limits = {**LIMITS, **values.get("limits", {}), **_said(given.get("limits"))}
    settings = {
        **_common(contract, given),
        "project": {
            "directory": contract.project.directory,
            "settings": contract.project.settings,
            # What the settings name wins over a file that was only found.
            "wsgi": given.get("wsgi") or values.get("django", {}).get("wsgi") or "",
            "wsgi_found": contract.project.wsgi,
        },
        "build": _commands(given.get("build")) or values.get("build", []),
        "release": _commands(given.get("release")) or values.get("release", []),
        "health": {**HEALTH, **values.get("health", {}), **_said(given.get("health"))},
        "limits": limits,
        "needs": values.get("needs", {}),
        "processes": _processes(contract, given, str(limits["memory"])),
        "cron": _cron(contract, given),
        "commands_in": contract.place,
        "environment": {"required": [], "optional": [], **values.get("environment", {})},
    }
    settings["root"] = root(settings)
    return settings


def _said(values: Mapping[str, Any] | None) -> dict[str, Any]:
    return {key: value for key, value in (values or {}).items() if value not in (None, "", [])}


def _commands(lines: Sequence[str] | None) -> list[list[str]]:
    return [[*SHELL, line] for line in lines or [] if line.strip()]


def _processes(contract: Contract, given: Mapping[str, Any], memory: str) -> list[dict[str, Any]]:
    known = {name: dict(process) for name, process in contract.values.get("processes", {}).items()}
    for item in given.get("processes") or []:
        name, command = item["name"], _commands([item.get("command") or ""])
        if name not in known and not command:
            hint = did_you_mean(name, known) or f" There are: {', '.join(known) or 'none'}."
            raise Refused(
                f"'Processes' names {name} without a command, and the repository has no process of that name.{hint}",
                "Give it a command, or correct the name.",
            )
        said = _said({"count": item.get("count"), "command": command[0] if command else ""})
        known[name] = {**known.get(name, {}), **said}
    found = [
        {
            "name": name,
            "command": process["command"],
            "count": int(process.get("count", 1)),
            "memory": process.get("memory", memory),
        }
        for name, process in sorted(known.items())
    ]
    return [process for process in found if process["count"]]


def _cron(contract: Contract, given: Mapping[str, Any]) -> list[dict[str, Any]]:
    own = [{**item, "command": _commands([item["command"]])[0]} for item in given.get("cron") or []]
    names = {item["name"] for item in own}
    return sorted([*own, *(one for one in contract.values.get("cron", []) if one["name"] not in names)],
                  key=lambda one: str(one["name"]))


def _site(contract: Contract, given: Mapping[str, Any]) -> dict[str, Any]:
    values, found = contract.values, contract.site
    own = [list(given["command"])] if given.get("command") else values.get("build", [])
    detected = [] if own or (given.get("publish") and not found.generator) else found.build
    settings = {
        **_common(contract, given),
        "build": own or detected,
        "publish": given.get("publish") or values.get("publish") or found.publish or ".",
        "extra": found.python if detected else [],
        "environment": {"required": [], "optional": [], **values.get("environment", {})},
        "processes": [],
        "cron": [],
        "release": [],
    }
    settings["packages"] = sorted({*settings["packages"], *(found.packages if detected else [])})
    settings["root"] = root(settings)
    return settings


def root(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What of the settings only root can bring about; Apply keeps it in the record on the server."""
    return {
        "packages": settings["packages"],
        "processes": {one["name"]: {"count": one["count"], "memory": one["memory"]} for one in settings["processes"]},
        "cron": {one["name"]: one["schedule"] for one in settings["cron"]},
        "limits": settings.get("limits", {}),
    }


def needs_apply(wanted: Mapping[str, Any], installed: Mapping[str, Any] | None) -> list[str]:
    """Why a deploy has to wait for Apply; empty where what is installed is what is wanted."""
    have = installed or {}
    reasons = [f"the package {name} is wanted" for name in wanted["packages"] if name not in have.get("packages", [])]
    for name, (process, before) in _beside(wanted, have, "processes"):
        reasons += _process_reasons(name, process, before)
    for name, (schedule, before) in _beside(wanted, have, "cron"):
        reasons += _cron_reasons(name, schedule, before)
    for name, (limit, before) in _beside(wanted, have, "limits"):
        if before is not None and str(before) != str(limit):
            reasons.append(f"the limit of {name} is {before}, and {limit} is wanted")
    return reasons


def gone(wanted: Mapping[str, Any], installed: Mapping[str, Any] | None) -> dict[str, list[Any]]:
    """What is installed and not wanted any more: numbers of processes (`whole`: all of them), names of cron jobs."""
    have = installed or {}
    processes = []
    for name, before in sorted(have.get("processes", {}).items()):
        count = wanted["processes"].get(name, {}).get("count", 0)
        if count < before["count"]:
            processes.append({"name": name, "numbers": list(range(count + 1, before["count"] + 1)), "whole": not count})
    return {"processes": processes, "cron": sorted(set(have.get("cron", {})) - set(wanted["cron"]))}


def _beside(wanted: Mapping[str, Any], have: Mapping[str, Any], key: str) -> list[tuple[str, tuple[Any, Any]]]:
    there = have.get(key, {})
    return [(name, (wanted[key].get(name), there.get(name))) for name in sorted({*wanted[key], *there})]


def _process_reasons(name: str, process: Mapping[str, Any] | None, before: Mapping[str, Any] | None) -> list[str]:
    if not before:
        return [f"the process {name} is new"]
    if not process:
        return [f"the process {name} is gone from the repository"]
    reasons = []
    if process["count"] != before["count"]:
        reasons.append(f"{process['count']} of the process {name} are wanted, and {before['count']} are installed")
    if process["memory"] != before["memory"]:
        reasons.append(f"the process {name} may use {before['memory']} of memory, and {process['memory']} is wanted")
    return reasons


def _cron_reasons(name: str, schedule: str | None, before: str | None) -> list[str]:
    if schedule == before:
        return []
    if not before:
        return [f"the cron job {name} is new"]
    return [
        f"the cron job {name} "
        + (f"is wanted at {schedule}, not {before}" if schedule else "is gone from the repository")
    ]


def plan(
    contract: Contract, settings: Mapping[str, Any], variables: Sequence[str], reasons: Sequence[str] = ()
) -> dict[str, Any]:
    """What people see of it (`webops_plan.contract`): names, sentences and commands; no value of a variable."""
    keys = (
        "source",
        "kind",
        "found",
        "python",
        "packages",
        "requirements",
        "project",
        "publish",
        "limits",
        "health",
        "needs",
    )
    return {
        **{key: settings[key] for key in keys if settings.get(key)},
        "build": [shown(argv) for argv in settings["build"]],
        "release": [shown(argv) for argv in settings["release"]],
        "processes": {one["name"]: {**one, "command": shown(one["command"])} for one in settings["processes"]},
        "cron": [{**one, "command": shown(one["command"])} for one in settings["cron"]],
        "environment": settings["environment"],
        "variables": offered(contract, variables),
        "needs_apply": list(reasons),
    }


def offered(contract: Contract, variables: Sequence[str]) -> list[dict[str, Any]]:
    """Variables of the example (and of webops.yml) that have no value yet, and what can be done about each."""
    known = {one.name for one in contract.variables}
    declared = contract.values.get("environment", {})
    named = [name for name in [*declared.get("required", []), *declared.get("optional", [])] if name not in known]
    extra = example.read(contract.source, "\n".join(f"{name}=" for name in named))[0]
    return [
        {**one.data(), "required": one.name in declared.get("required", [])}
        for one in [*contract.variables, *extra]
        if one.name not in variables
    ]
