"""/runs: what was done and what is being done, live."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from flask import jsonify
from sqlalchemy import select
from sqlalchemy.orm import selectinload
from werkzeug.wrappers import Response

from panel.catalog import Problem
from panel.runs import retry, stream, submit, variables
from panel.runs.errors import AlreadyOver
from panel.store import db
from panel.store.models import Event, Run, State
from panel.web import sse
from panel.web.api import api, shapes
from panel.web.api.asked import MAX_ID, bad_query, body, count, door, event_number, query
from panel.web.api.paging import page
from panel.web.auth import current_actor, token
from panel.web.database import database
from panel.web.errors import Gone


def find(number: str) -> Run:
    """The run with this number. Gone: there is none."""
    run = database().get(Run, int(number)) if re.fullmatch(r"[0-9]{1,10}", number) and int(number) <= MAX_ID else None
    if run is None:
        raise Gone("There is no such run. `webops run list` shows those there are.")
    return run


@api.get("/runs")
@token
def list_runs() -> Response:
    """Newest first; `after` the number of the last one seen, `next` is what to ask for then.

    Looks at drift come by the hour and are left out, unless `purpose=drift` asks for them.
    """
    asked = query("after", "limit", "state", "resource", "server", "purpose")
    limit = count(asked, "limit", 50)
    found = select(Run).options(selectinload(Run.servers)).order_by(Run.id.desc())
    if "after" in asked:
        found = found.where(Run.id < count(asked, "after", 0, 1, MAX_ID))
    wanted = asked.get("purpose")
    found = found.where(Run.purpose != "drift" if wanted is None else Run.purpose == wanted)
    if "state" in asked:
        found = found.where(Run.state == _state(asked["state"]))
    if "resource" in asked:
        found = found.where(Run.resource_name == asked["resource"])
    if "server" in asked:
        found = found.where(Run.servers.any(server_name=asked["server"]))
    rows, last = page(found, limit)
    return jsonify(runs=[shapes.run(one) for one in rows], next=last and last.id)


def _state(text: str) -> State:
    try:
        return State(text)
    except ValueError:
        raise bad_query([Problem("state", "invalid_query", f"'state' is one of: {', '.join(State)}.")]) from None


@api.get("/runs/<number>")
@token
def show_run(number: str) -> Response:
    query()
    return jsonify(shapes.run(find(number)))


@api.get("/runs/<number>/events")
@token
def list_events(number: str) -> Response:
    """Events after number `after`, in order; `next` is where to go on, None when these are all so far."""
    asked = query("after", "limit")
    run = find(number)
    after, limit = count(asked, "after", 0, 0, MAX_ID), count(asked, "limit", 500)
    rows, last = page(select(Event).where(Event.run_id == run.id, Event.number > after).order_by(Event.number), limit)
    return jsonify(events=[shapes.event(one) for one in rows], next=last and last.number)


@api.get("/runs/<number>/variables")
@token
def list_variables(number: str) -> Response:
    """Those that the repository names and that have no value, as a check of an app's Apply has found them."""
    query()
    return jsonify(variables=[vars(one) for one in variables.found_by(database(), find(number))])


@api.get("/runs/<number>/stream")
@token
def follow_run(number: str) -> Response:
    """Server-sent events: `run` at the start, `event` for each after Last-Event-ID, `end` with the run as it ended."""
    query("after")
    run, after = find(number), event_number()
    return sse.event_stream(_told(run.id, shapes.run(run), after, run.last_event), current_actor().id)


def _told(run_id: int, run: dict[str, Any], after: int, last: int) -> Iterator[str]:
    yield _message("run", run)
    if after > last:
        # A number of the future: another run's, or of a database that was restored. All of it, then.
        yield _message("reset", {"last_event": last})
        after = 0
    for event in stream.follow(run_id, after):
        yield _message("event", shapes.event(event), event.number) if event else ": still here\n\n"
    with db.session() as session:
        ended = session.get(Run, run_id)
        yield _message("end", shapes.run(ended) if ended else run)


def _message(name: str, data: dict[str, Any], number: int | None = None) -> str:
    return sse.message(name, json.dumps(data, separators=(",", ":")), number)


@api.post("/runs/<number>/cancellation")
@token
def cancel_run(number: str) -> tuple[Response, int]:
    """Ask for its end. A run that has ended stays as it is, so asking twice does no harm."""
    query()
    run = find(number)
    with suppress(AlreadyOver):
        submit.cancel(database(), run, current_actor().name)
    return jsonify(run=shapes.run(run)), 202


@api.post("/runs/<number>/retry")
@token
def retry_run(number: str) -> tuple[Response, int]:
    """The same action where it did not succeed, on those of its servers alone. 409 nothing_to_retry."""
    body()
    run = retry.retry(database(), find(number), current_actor().name, door())
    return jsonify(run=shapes.run(run)), 202
