"""/resources: what is wanted and what is there."""

from __future__ import annotations

import time
from collections.abc import Iterator

from flask import Response as FlaskResponse
from flask import jsonify
from sqlalchemy import select
from sqlalchemy.orm import selectinload
from werkzeug.wrappers import Response

from panel.catalog import Problem, Refused, catalog
from panel.link import client
from panel.runs import groups, keys, parts, resources
from panel.runs.submit import NOTHING, Extra
from panel.store.models import Mode, Resource
from panel.store.places import Place
from panel.store.seal import SecretContextError
from panel.web.api import api, shapes
from panel.web.api.asked import body, count, door, mapping, names, number, one_of, query, text, yes
from panel.web.api.groups import where
from panel.web.api.paging import page
from panel.web.auth import current_actor, token
from panel.web.database import database
from panel.web.errors import Gone

#: Seconds without a line after which an empty one is sent, so that a reader who went away is noticed.
PULSE = 15


def find(name: str) -> Resource:
    """The resource of this name. Gone: there is none."""
    found = database().scalar(select(Resource).where(Resource.name == name))
    if found is None:
        raise Gone(f"There is no resource '{name}'. `webops list` shows those there are.")
    return found


def _shown(row: Resource) -> dict[str, object]:
    return shapes.resource(row, _secret_names(row))


def _secret_names(row: Resource) -> dict[str, object]:
    """Which secrets are stored, by parameter: true, or the names in a {name, value} list."""
    try:
        found = parts.secrets_of(row)
    except SecretContextError:
        return {}  # sealed with another key: they count as not there; whoever runs it is told so
    return {name: [item["name"] for item in value] if isinstance(value, list) else True
            for name, value in found.items()}


@api.get("/resources")
@token
def list_resources() -> Response:
    """By name; `after` the name of the last one seen."""
    asked = query("after", "limit", "kind", "server", "group")
    limit = count(asked, "limit", 100)
    found = select(Resource).options(selectinload(Resource.parts), selectinload(Resource.parent))
    found = found.order_by(Resource.name).where(Resource.name > asked.get("after", ""))
    if "kind" in asked:
        found = found.where(Resource.kind == asked["kind"])
    if "server" in asked:
        found = found.where(Resource.places.any(Place.server.has(name=asked["server"])))
    if "group" in asked:
        found = found.where(Resource.group.has(name=asked["group"]))
    rows, last = page(found, limit)
    return jsonify(resources=[_shown(one) for one in rows], next=last and last.name)


@api.get("/resources/<name>")
@token
def show_resource(name: str) -> Response:
    query()
    return jsonify(_shown(find(name)))


@api.put("/resources/<name>")
@token
def apply_resource(name: str) -> tuple[Response, int]:
    """All values that it shall have; secrets that are left out stay. The run that does it is queued.

    It lives on a `server`, or on a `group`, where `batch` servers at a time are worked on ("1", "3", "25%"). A `preset`
    of its kind gives the values that are not given.
    """
    asked = body(("kind",), ("server", "group", "preset", "values", "mode", "timeout", "batch"))
    there = database().scalar(select(Resource).where(Resource.name == name))
    run = resources.ask(
        database(), kind=text(asked, "kind", longest=64), name=name,
        where=where(asked, there), given=_values(asked), actor=current_actor().name, door=door(),
        mode=_mode(asked), timeout=_timeout(asked), extra=_batch(asked))
    return jsonify(run=shapes.run(run)), 202


def _values(asked: dict[str, object]) -> dict[str, object]:
    given, chosen = mapping(asked, "values"), text(asked, "preset", longest=64)
    if not chosen:
        return given
    kind = catalog().kind(text(asked, "kind", longest=64))
    if (preset := kind.presets.find(chosen)) is None:
        named = ", ".join(one.name for one in kind.presets.all) or "none"
        raise Refused([Problem("preset", "unknown",
                               f"There is no preset '{chosen}' of {kind.label}; there are: {named}.")])
    short = f"{kind.name}_"
    return {**{name: value for name, value in preset.values.items() if name.removeprefix(short) not in given}, **given}


@api.post("/resources/<name>/runs")
@token
def run_action(name: str) -> tuple[Response, int]:
    """Any action but apply, with its own values; `on`: on these of its servers alone."""
    asked = body(("action",), ("values", "mode", "timeout", "on", "batch"))
    row, action = find(name), text(asked, "action", longest=64)
    on = groups.servers_named(row, names(asked, "on"))
    if on and action == "main":
        raise Refused([Problem("on", "not_possible", "Values are those of all its servers, so Apply is for all.")])
    run = resources.act(
        database(), resource=row, action=action, given=mapping(asked, "values"), actor=current_actor().name,
        door=door(), mode=_mode(asked), timeout=_timeout(asked), on=on, extra=_batch(asked))
    return jsonify(run=shapes.run(run)), 202


def _mode(asked: dict[str, object]) -> Mode:
    return Mode(one_of(asked, "mode", ("apply", "check")))


def _batch(asked: dict[str, object]) -> Extra:
    given = text(asked, "batch", longest=8)
    return Extra(batch=groups.checked_batch(given)) if given else NOTHING


def _timeout(asked: dict[str, object]) -> int | None:
    return number(asked, "timeout", 10, 7 * 24 * 3600)


@api.post("/resources/<name>/keys")
@token
def make_key(name: str) -> tuple[Response, int]:
    """Make its deploy key, of which the public half is told. It need not be applied yet: with kind and server then."""
    asked = body((), ("kind", "server", "group", "parameter", "values"))
    made = keys.make(
        database(), name=name, kind=text(asked, "kind", longest=64),
        where=text(asked, "server", longest=64) or text(asked, "group", longest=64),
        parameter=text(asked, "parameter", longest=64), given=mapping(asked, "values") if "values" in asked else None)
    return jsonify(resource=made.resource.name, parameter=made.parameter, public_key=made.public), 201


@api.get("/resources/<name>/values")
@token
def show_values(name: str) -> Response:
    """What a run by hand needs, by full parameter name; with secrets only when asked for."""
    asked = query("secrets")
    row = find(name)
    return jsonify(name=row.name, kind=row.kind, server=row.where.name, hosts=[f"{row.name}@{one.name}" for one in
                                                                              row.servers],
                   values=resources.values_file(database(), row, yes(asked, "secrets")))


@api.get("/resources/<name>/logs")
@token
def show_logs(name: str) -> Response:
    """Its journal as text, line by line; `follow=1` goes on until the reader goes away.

    `server`: which of its servers, where it is on several. `process` (web, worker, build …), `since` and `until` (1h,
    2026-11-22T10:00), `grep` (a text, not a pattern).
    """
    asked = query("lines", "follow", "since", "until", "grep", "process", "server")
    row = find(name)
    lines = client.journal(row.id, lines=count(asked, "lines", 100, 1, 10000), follow=yes(asked, "follow"),
                           since=asked.get("since", ""), until=asked.get("until", ""), grep=asked.get("grep", ""),
                           process=asked.get("process", ""),
                           server_id=groups.one_server(row, asked.get("server", "")).id)
    shown = map(parts.redactor(row).text, lines)
    return FlaskResponse(_paced(shown), mimetype="text/plain",
                         headers={"X-Accel-Buffering": "no"})


def _paced(lines: Iterator[str]) -> Iterator[str]:
    said = time.monotonic()
    for line in lines:
        if line or time.monotonic() - said > PULSE:
            said = time.monotonic()
            yield f"{line}\n"
