"""Rows as JSON. Never a secret, never an id of the database but a run's number."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from panel.catalog import Kind, NoSuchKind, catalog
from panel.runs import keys, variables
from panel.settings import settings
from panel.store.models import Event, Resource, Run, RunServer, Server, User
from panel.store.places import Group, Place
from panel.store.planned import Drift, Plan
from panel.web.ssh_keys import fingerprints


def moment(value: datetime | None) -> str | None:
    """RFC 3339 in UTC."""
    if value is None:
        return None
    aware = value if value.tzinfo else value.replace(tzinfo=UTC)
    return aware.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def user(row: User) -> dict[str, Any]:
    return {"name": row.name, "is_admin": row.is_admin}


def _host_keys(lines: str) -> list[dict[str, str]]:
    return [{"type": one.type, "fingerprint": one.text} for one in fingerprints(lines)]


def server(row: Server) -> dict[str, Any]:
    return {
        "name": row.name, "address": row.address, "port": row.port,
        "host_key": {"accepted": _host_keys(row.host_key), "offered": _host_keys(row.offered_host_key)},
        "public_key": row.public_key, "ready": row.ready_at is not None, "ready_at": moment(row.ready_at),
        "facts": row.facts, "observed": row.observed, "observed_text": row.observed_text,
        "observed_at": moment(row.observed_at), "created_at": moment(row.created_at),
        "url": f"{settings().base_url}/servers/{row.name}",
    }


def group(row: Group) -> dict[str, Any]:
    return {"name": row.name, "servers": [one.name for one in row.servers], "batch": row.batch,
            "resources": sorted(one.name for one in row.resources if one.parent_id is None),
            "created_at": moment(row.created_at), "url": f"{settings().base_url}/groups/{row.name}"}


def _place(row: Place) -> dict[str, Any]:
    return {"server": row.server.name, "address": row.server.address, "port": row.server.port,
            "applied_at": moment(row.applied_at), "observed": row.observed, "observed_text": row.observed_text,
            "observed_at": moment(row.observed_at), "observed_data": row.observed_data}


def _kind(name: str) -> Kind | None:
    """None: the role went away after it was used."""
    try:
        return catalog().kind(name)
    except NoSuchKind:
        return None


def resource(row: Resource, secrets: Mapping[str, Any]) -> dict[str, Any]:
    """`secrets`: which are stored, by parameter: true, or the names in a {name, value} list."""
    kind = _kind(row.kind)
    return {
        "name": row.name, "kind": row.kind, "kind_label": kind.label if kind else row.kind,
        # Of one server; what lives on a group has `group` instead, and `places` in both cases.
        "server": row.server.name if row.server else None, "group": row.group.name if row.group else None,
        "address": row.server.address if row.server else None, "port": row.server.port if row.server else None,
        "places": [_place(one) for server in row.servers if (one := row.place_on(server))],
        "parent": row.parent.name if row.parent else None, "parts": sorted(one.name for one in row.parts),
        "title": row.values.get(kind.title) if kind else None, "link": kind.url(row.values) if kind else None,
        "values": row.values, "secrets": dict(secrets), "public_keys": keys.public_of(row, kind),
        "actions": [name for name in kind.actions if name != "main"] if kind else [],
        "applied_at": moment(row.applied_at), "observed": row.observed, "observed_text": row.observed_text,
        "observed_at": moment(row.observed_at), "observed_data": row.observed_data, "drift": _drift_of(row),
        "created_at": moment(row.created_at), "url": f"{settings().base_url}/resources/{row.name}",
    }


def _drift_of(row: Resource) -> dict[str, Any] | None:
    """None: a part, which is looked at with the whole; or nobody has looked yet."""
    return drift(row.drift) if row.drift else None


def drift(row: Drift, is_whole: bool = False) -> dict[str, Any]:
    """`is_whole`: with the differences, which may be long."""
    found: dict[str, Any] = {
        "interval": row.interval, "state": row.state, "text": row.text, "at": moment(row.at), "run": row.run_id,
        "next": moment(row.due), "newer": row.facts.get("newer"),
    }
    return {**found, "changes": row.changes} if is_whole else found


def plan(row: Plan, is_whole: bool = True) -> dict[str, Any]:
    """`is_whole`: with the differences, which may be long."""
    kind = _kind(row.kind)
    action = kind.actions.get(row.action) if kind else None
    found: dict[str, Any] = {
        "id": row.id, "resource": row.resource_name, "kind": row.kind, "server": row.server_name, "action": row.action,
        "servers": sorted(row.fingerprint.get("servers") or [row.server_name]),
        "action_label": action.label if action else row.action, "state": row.state, "refusal": row.refusal,
        "actor": row.actor, "door": row.door, "created_at": moment(row.created_at), "run": row.run_id,
        "applied_run": row.applied_run_id, "approved_by": row.approved_by or None,
        "approved_at": moment(row.approved_at), "steps": row.steps,
        "changed": len({(one["host"], one["step"]) for one in row.changes}), "commit": row.facts.get("commit"),
        "from": row.facts.get("from"), "migrations": row.facts.get("migrations") or [],
        "url": f"{settings().base_url}/plans/{row.id}",
    }
    if not is_whole:
        return found
    resting = {name: row.fingerprint.get(name) for name in ("roles", "servers", "run", "commit")}
    named = [vars(one) for one in variables.named(row)]
    return {**found, "values": row.values, "changes": row.changes, "facts": row.facts, "variables": named,
            "fingerprint": {**resting, "values": row.fingerprint.get("values", {}).get("digest")}}


def run(row: Run) -> dict[str, Any]:
    kind = _kind(row.kind)
    action = kind.actions.get(row.action) if kind else None
    return {
        "id": row.id, "kind": row.kind, "resource": row.resource_name, "action": row.action,
        "action_label": action.label if action else row.action, "mode": row.mode, "state": row.state,
        "purpose": row.purpose, "batch": row.batch, "actor": row.actor, "door": row.door,
        "servers": [_part(one) for one in row.servers], "created_at": moment(row.created_at),
        "started_at": moment(row.started_at), "ended_at": moment(row.ended_at), "seconds": _seconds(row),
        "error": row.error, "next": row.next_step, "journal": row.journal, "waits_for": row.waits_for,
        "timeout": row.timeout, "last_event": row.last_event,
        "cancel_asked_by": row.cancel_asked_by, "roles_version": row.roles_version,
        "url": f"{settings().base_url}/runs/{row.id}",
    }


def _seconds(row: Run) -> float | None:
    if row.started_at is None or row.ended_at is None:
        return None
    return round((row.ended_at - row.started_at).total_seconds(), 3)


def _part(row: RunServer) -> dict[str, Any]:
    return {"server": row.server_name, "host": row.host, "state": row.state, "ok": row.ok, "changed": row.changed,
            "failed": row.failed, "skipped": row.skipped}


def event(row: Event) -> dict[str, Any]:
    return {"number": row.number, "type": row.type, "at": moment(row.at), "step": row.step, "host": row.host,
            "name": row.name, "role": row.role, "seconds": row.seconds, "data": row.data}
