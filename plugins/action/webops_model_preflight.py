"""Says whether a server can serve a model, before anything is fetched or changed. Looks there, judges here.

Arguments: `name`, the resource; `wanted`, values of the role by their short names (model, revision, hub, engine,
version, gpus, tensor_parallel, gpu_memory, kv_cache, max_length, dtype, quantization, max_sequences, eager, arguments,
trust_remote_code, memory); `token`, for the hub; `models`, the directory of downloads; `engines`, per engine its
`version`, the `bytes` that it takes where it is still to be installed, the `cuda` that it needs and the `kv_cache`
that it gets where none is given; `sockets` (path, unit) that must be free unless that unit is there; `catalogue`, a
file with presets.
Returns engine, engine_directory (where it lies, or will lie), gpus, beside (whether a second one fits while one runs),
directory (where the model lies, or will lie), commit, files, complete (whether they are all there), needs (bytes:
weights, total, download …), webops_plan.
Fails with msg, next and journal in an operator's words.
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

PLUGINS = Path(__file__).resolve().parent.parent
_spec = importlib.util.spec_from_file_location("webops_packages", PLUGINS / "packages.py")
_packages = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_packages)
load, plain = _packages.load, _packages.plain
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
#: The fact by which one server of a run tells the others which commit it got.
SEEN = "webops_model_commit"
_SIZES = ("kv_cache", "memory")


def size(text: str) -> int:
    """Bytes of 512M, 1.5G; 0 where nothing is said."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([KMGT]?)i?B?", text.strip())
    return int(float(found[1]) * _UNITS[found[2]]) if found else 0


def presets(path: str) -> list[dict[str, Any]]:
    """The catalogue's models; none where there is no such file."""
    file = Path(path)
    data = yaml.safe_load(file.read_text(encoding="utf-8")) if path and file.exists() else {}
    return list((data or {}).get("presets") or [])


def answer(arguments: dict[str, Any], facts: dict[str, Any]) -> dict[str, Any]:
    """The result of the task for what was seen."""
    package = load("webops_model_package", PLUGINS / "model")
    engine = arguments["engines"].get(str(facts.get("engine") or "cpu")) or {}
    given = {**arguments["wanted"], "cuda": engine.get("cuda", ""), "engine_bytes": engine.get("bytes", 0)}
    given["kv_cache"] = given.get("kv_cache") or engine.get("kv_cache", "")
    given.update({key: size(str(given.get(key) or "")) for key in _SIZES})
    verdict = package.judge(given, facts, presets(str(arguments.get("catalogue") or "")))
    seen = facts.get("model") or {}
    result = {"changed": False, "engine": verdict.engine,
              "engine_directory": facts.get("engine_directory", ""), "gpus": verdict.gpus, "beside": verdict.beside,
              "needs": verdict.figures, "webops_plan": plan(seen, verdict, package),
              "webops_summary": verdict.sentence, **place(seen, package, bool(given.get("trust_remote_code")))}
    return {**result, **refusal(verdict.problems)} if verdict.problems else result


def plan(seen: dict[str, Any], verdict: Any, words: ModuleType) -> dict[str, Any]:
    """What a person wants to know beforehand; a plan is held to the commit."""
    told: dict[str, Any] = {}
    if verdict.figures:
        first = f" {words.size(verdict.figures['download'])} are fetched first." if verdict.figures["download"] else ""
        told["model"] = {**verdict.figures, "sentence": verdict.sentence + first}
    for key, commit in (("commit", seen.get("commit")), ("from", seen.get("live"))):
        if commit:
            told[key] = {"id": commit, "short": commit[:7], "subject": seen.get("id", ""), "author": "", "at": ""}
    return told


def place(seen: dict[str, Any], package: ModuleType, code: bool) -> dict[str, Any]:
    """Where the model lies (or will lie), its files, and whether all of them are there."""
    files = package.loaded(seen.get("files") or [], code)
    if seen.get("source") != "hub":
        return {"directory": seen.get("id", ""), "commit": "", "files": [], "complete": True}
    names = [str(one["name"]) for one in files]
    return {"directory": seen.get("snapshot", ""), "commit": seen.get("commit", ""), "files": names,
            "complete": set(names) <= set(seen.get("here") or [])}


def refusal(problems: list[Any]) -> dict[str, Any]:
    """All of them, the first in full: a person should not have to run this again for each."""
    first, rest = problems[0], problems[1:]
    more = f" (And {len(rest)} more: {' '.join(one.message for one in rest)})" if rest else ""
    return {"failed": True, "changed": False, "msg": first.message + more, "next": first.next, "code": first.code,
            "codes": [one.code for one in problems], "journal": [f"{one.message} {one.next}" for one in problems]}


def held(task_vars: dict[str, Any]) -> str:
    """The commit that a plan was made for; `live`: the one that serves."""
    planned = task_vars.get("webops_planned")
    return str(planned.get("commit") or "") if isinstance(planned, dict) else ""


def revision(wanted: dict[str, Any], task_vars: dict[str, Any]) -> str:
    """What was planned is fetched, wherever the branch went meanwhile; and all servers of a resource get one commit."""
    commit = held(task_vars)
    if commit == "live":
        return str(wanted.get("revision") or "")
    return commit or elsewhere(task_vars) or str(wanted.get("revision") or "")


def elsewhere(task_vars: dict[str, Any]) -> str:
    """The commit that another server of the same resource got in this run."""
    me, known = str(task_vars.get("inventory_hostname", "")), task_vars.get("hostvars") or {}
    others = [one for one in task_vars.get("ansible_play_hosts_all") or []
              if one != me and one.partition("@")[0] == me.partition("@")[0]]
    found = ((known[one].get("ansible_facts") or {}).get(SEEN) for one in others)
    return next((str(one) for one in found if one), "")


class ActionModule(ActionBase):
    """Sends the program that looks along with the module, and judges what it saw."""

    TRANSFERS_FILES = False
    _VALID_ARGS = frozenset(("name", "wanted", "token", "models", "engines", "sockets", "catalogue"))

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = plain(dict(self._task.args))
        if unknown := set(arguments) - self._VALID_ARGS:
            raise AnsibleActionFail(f"webops_model_preflight does not know: {', '.join(sorted(unknown))}")
        wanted = arguments["wanted"]
        sender = load("webops_sender", PLUGINS / "action" / "webops_fetch.py")
        asked = {
            "name": arguments["name"], "token": arguments.get("token") or "",
            "source": sender.program("report", "model_look"),
            "live": held(task_vars or {}) == "live",
            "question": {
                "model": wanted["model"], "revision": revision(wanted, task_vars or {}), "hub": wanted.get("hub") or "",
                "engine": wanted.get("engine") or "auto", "models": arguments["models"],
                "engines": {one: said["version"] for one, said in arguments["engines"].items()},
                "sockets": arguments.get("sockets") or [],
            },
        }
        looked = self._execute_module(module_args=asked, task_vars=task_vars)
        if looked.get("failed") or "facts" not in looked:
            result.update(looked)
            result.get("invocation", {}).get("module_args", {}).pop("source", None)
            return result
        result.update(answer(arguments, looked["facts"]))
        if result.get("commit") and not result.get("failed"):
            result["ansible_facts"] = {SEEN: result["commit"]}
        return result
