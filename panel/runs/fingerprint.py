"""What a plan rests on, and what of it has moved since, in words: roles, values, server, other runs."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from panel.catalog import NoSuchKind, catalog
from panel.runs.hosts import listed
from panel.runs.parts import secrets_of
from panel.settings import ROOT
from panel.store.models import Mode, Resource, Run, Server, State
from panel.store.places import Group
from panel.store.planned import Plan
from panel.store.seal import SecretContextError, unseal

#: Facts that roles may decide by; free space and the like move by themselves.
_FACTS = ("distribution", "distribution_version", "architecture", "processors", "memory_mb", "python_version",
          "hostname")
_LONGEST = 60


def take(session: Session, kind: str, servers: Sequence[Server], resource: Resource | None,
         lock: str) -> dict[str, Any]:
    """The fingerprint of a plan that is made now. The commit is added when its check has found it."""
    held = holdings(resource)
    salt = secrets.token_hex(16)
    return {"roles": roles(kind), "servers": {one.name: _server(one) for one in servers},
            "run": _last_run(session, lock), "values": {"salt": salt, "digest": _digest(held, salt)}}


def holdings(resource: Resource | None) -> dict[str, Any] | None:
    """All that a resource holds, secrets opened; None where there is none yet."""
    return None if resource is None else {"values": dict(resource.values), "secrets": secrets_of(resource)}


def roles(kind: str) -> dict[str, str]:
    """Digests of what decides what a run of this kind does: {"role django_app": "3f…", …}."""
    found = {f"role {path.name}": _of_folder(path) for path in sorted((ROOT / "roles").iterdir()) if path.is_dir()}
    found |= {name: _of_folder(ROOT / name) for name in ("plugins", "playbooks")}
    found["ansible.cfg"] = hashlib.sha256((ROOT / "ansible.cfg").read_bytes()).hexdigest()
    try:
        own = catalog().kind(kind)
    except NoSuchKind:
        return found
    if own.addon:
        found[f"add-on {own.addon}"] = _of_folder(own.playbook.parent)
    return found


def moved(session: Session, plan: Plan, run: Run | None = None) -> list[str]:
    """One sentence for each thing that is not any more as the plan saw it. `run`: the run that applies it, claimed."""
    return [*_moved_roles(plan), *_moved_values(session, plan, run), *_moved_servers(session, plan),
            *_done(session, plan, run)]


def _of_folder(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix != ".pyc" and "__pycache__" not in path.parts:
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            digest.update(f"{path.relative_to(folder)}\0{content}\n".encode())
    return digest.hexdigest()


def _server(server: Server) -> dict[str, Any]:
    return {"id": server.id, "address": f"{server.address} port {server.port}", "host_key": server.host_key.strip(),
            "facts": {name: server.facts[name] for name in _FACTS if name in server.facts}}


def _digest(held: Mapping[str, Any] | None, salt: str) -> str:
    # Keyed, because what is short could be found by trying; the values themselves lie sealed in the plan.
    return hmac.new(salt.encode(), json.dumps(held, sort_keys=True).encode(), hashlib.sha256).hexdigest()


def _moved_roles(plan: Plan) -> Iterator[str]:
    before, after = plan.fingerprint.get("roles", {}), roles(plan.kind)
    other = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    if other:
        verb = "has" if len(other) == 1 else "have"
        yield f"{listed([f'the {name}' if name.startswith('role') else name for name in other])} {verb} changed"


def _moved_values(session: Session, plan: Plan, run: Run | None) -> Iterator[str]:
    resource = session.scalar(select(Resource).where(Resource.name == plan.resource_name))
    try:
        sealed = opened(plan)
        now = holdings(resource)
    except SecretContextError as wrong:
        yield str(wrong)
        return
    expected = sealed["before"]
    if run is not None and plan.action == "main":
        # Applying has written them down by now.
        kept = {name: value for name, value in sealed["secrets"].items() if value not in ("", [])}
        expected = {"values": plan.values, "secrets": kept}
    elif _digest(expected, plan.fingerprint["values"]["salt"]) != plan.fingerprint["values"]["digest"]:
        yield "the values kept with the plan are not those that it was made with"
    if expected is None or now is None:
        if expected != now:
            yield f"{plan.resource_name} was {'made' if expected is None else 'removed'} meanwhile"
        return
    yield from _other_values(plan, expected, now)


def _other_values(plan: Plan, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    for name in sorted(before["values"].keys() | after["values"].keys()):
        old, new = before["values"].get(name), after["values"].get(name)
        if old != new:
            yield f"'{_key(plan, name)}' of {plan.resource_name} was changed{_from_to(old, new)}"
    for name in sorted(before["secrets"].keys() | after["secrets"].keys()):
        if before["secrets"].get(name) != after["secrets"].get(name):
            yield f"the secret '{_key(plan, name)}' of {plan.resource_name} was changed"


def _key(plan: Plan, name: str) -> str:
    return name.removeprefix(f"{plan.kind}_")


def _from_to(old: Any, new: Any) -> str:
    if isinstance(old, list | dict) or isinstance(new, list | dict):
        return ""
    return f" from {_short(old)} to {_short(new)}"


def _short(value: Any) -> str:
    if value is None:
        return "its default"
    text = {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
    return f"'{text}'" if len(text) <= _LONGEST else f"'{text[:_LONGEST]}…'"


def _moved_servers(session: Session, plan: Plan) -> Iterator[str]:
    seen = plan.fingerprint["servers"]
    for name, before in seen.items():
        server = session.get(Server, before["id"])
        if server is None or server.name != name:
            yield f"{name} was removed from WebOps"
        else:
            yield from _moved_server(name, before, _server(server))
    group = session.get(Group, plan.group_id) if plan.group_id else None
    if plan.group_id and group is None:
        yield f"the group {plan.server_name} was removed"
    elif group is not None and (other := {one.name for one in group.servers} ^ set(seen)):
        yield f"{listed(sorted(other))} came into {group.name} or left it"


def _moved_server(name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    if before["address"] != after["address"]:
        yield f"{name} has another address ({before['address']} became {after['address']})"
    if before["host_key"] != after["host_key"]:
        yield f"another host key was accepted for {name}"
    facts = {**before["facts"], **after["facts"]}
    for fact in facts:
        old, new = before["facts"].get(fact), after["facts"].get(fact)
        if old != new:
            yield f"{name} is not what it was: {fact.replace('_', ' ')} {_short(old)} became {_short(new)}"


def _last_run(session: Session, lock: str) -> int:
    return session.scalar(_changing(lock).order_by(Run.id.desc()).limit(1)) or 0


def _changing(lock: str) -> Any:
    """Runs that changed what a plan looked at, or may do so: those that never began are not among them."""
    return select(Run.id).where(Run.lock == lock, Run.mode == Mode.APPLY,
                                (Run.started_at.is_not(None)) | (Run.state == State.QUEUED))


def _done(session: Session, plan: Plan, run: Run | None) -> Iterator[str]:
    checked = plan.run
    if checked is None:
        yield "the check that it was made from is not kept any more"
        return
    lock = run.lock if run else checked.lock
    newer = _changing(lock).where(Run.id > plan.fingerprint["run"])
    if run is not None:
        newer = newer.where(Run.id < run.id)  # what waits behind it has changed nothing yet
    for number in session.scalars(newer.order_by(Run.id).limit(3)):
        other = session.get_one(Run, number)
        yield f"run {number} ({other.action} by {other.actor}) has changed {plan.resource_name} meanwhile"


def opened(plan: Plan) -> dict[str, Any]:
    """What lies sealed in a plan: "secrets" to be applied, "before" what the resource held. SecretContextError."""
    found: dict[str, Any] = unseal(f"plan:{plan.id}", plan.secrets or b"")
    return found
