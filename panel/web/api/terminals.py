"""/terminals: a command on a resource's server, with its output as a stream and what is typed as requests.

Plain HTTP both ways: a proxy in between needs nothing special, a token guards each request as everywhere, and no
library for it is needed on either side. What is typed carries a number, so that a repeated request types nothing twice.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from typing import Any

from flask import Response as FlaskResponse
from flask import jsonify
from sqlalchemy import select
from werkzeug.wrappers import Response

from panel.catalog import Problem, Refused
from panel.link import client, screen, terminals
from panel.runs import groups, parts
from panel.store import db
from panel.store.models import Resource, User
from panel.store.terminals import Terminal
from panel.web.api import api
from panel.web.api.asked import body, count, door, query, text
from panel.web.api.resources import find
from panel.web.auth import current_actor, token
from panel.web.database import database
from panel.web.errors import Gone

_SHOWN = 50


def permit(actor: User, row: Resource) -> None:
    """The one place that decides who may open a terminal: whoever is signed in. NotAllowed: this person may not."""


@api.post("/resources/<name>/terminals")
@token
def open_terminal(name: str) -> tuple[Response, int]:
    """Start `command` (a list of words) as the app's user, with the live release's code and environment.

    `server`: which of its servers, where it is on several. `tty`: in a terminal of `columns` and `rows`, of the type
    `term`; without, in pipes. It ends when nobody reads its output any more, after 30 minutes without a key and a
    letter, and after 12 hours.
    """
    asked = body(("command",), ("tty", "columns", "rows", "term", "server"))
    row = find(name)
    server = groups.one_server(row, text(asked, "server", longest=64))
    permit(current_actor(), row)
    wanted = terminals.wanted({**asked, "argv": asked["command"]})
    kept = Terminal(resource_id=row.id, resource_name=row.name, server_name=server.name,
                    command=parts.redactor(row).value(wanted["argv"]), actor=current_actor().name, door=door())
    database().add(kept)
    database().commit()
    stream = uuid.uuid4().hex
    try:
        screen.opened(stream, current_actor().id, row.id, kept.id, server_id=server.id, **{
            key: wanted[key] for key in ("argv", "tty", "columns", "rows", "term")})
    except client.LinkError as wrong:
        kept.why, kept.ended_at = wrong.message, db.now(database())
        database().commit()
        raise
    return jsonify(terminal=stream, number=kept.id), 201


@api.get("/resources/<name>/terminals")
@token
def list_terminals(name: str) -> Response:
    """Who ran what, newest first."""
    limit = count(query("limit"), "limit", _SHOWN)
    found = select(Terminal).where(Terminal.resource_name == find(name).name).order_by(Terminal.id.desc())
    return jsonify(terminals=[_shown(one) for one in database().scalars(found.limit(limit))])


@api.get("/terminals/<stream>/output")
@token
def show_output(stream: str) -> Response:
    """One JSON array per line: ["out", base64], ["note", words], at last ["exit", code]. Empty lines: still here."""
    query()
    return FlaskResponse(_lines(_own(stream)), mimetype="application/x-ndjson",
                         headers={"X-Accel-Buffering": "no", "Cache-Control": "no-store"})


@api.post("/terminals/<stream>/input")
@token
def take_input(stream: str) -> tuple[str, int]:
    """`data` (base64), a new size (`columns`, `rows`), or neither: nothing more comes. `number` counts from 1."""
    asked = body(("number",), ("data", "columns", "rows"))
    number = asked.pop("number")
    if isinstance(number, bool) or not isinstance(number, int) or not 0 < number < 2 ** 53:
        raise Refused([Problem("number", "invalid_number", "'number' counts what is sent, from 1.")])
    if "data" in asked and not (isinstance(asked["data"], str) and re.fullmatch(r"[A-Za-z0-9+/]*={0,2}", asked["data"])
                                and len(asked["data"]) % 4 == 0 and len(asked["data"]) < 2 ** 17):
        raise Refused([Problem("data", "invalid_data", "'data' must be base64, up to 96 KiB.")])
    screen.typed(_own(stream), number, asked)
    return "", 204


@api.delete("/terminals/<stream>")
@token
def close_terminal(stream: str) -> tuple[str, int]:
    screen.closed(_own(stream))
    return "", 204


def _own(stream: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{32}", stream) or not screen.is_of(stream, current_actor().id):
        raise Gone("This terminal is not open any more. Open another one: webops exec NAME -- COMMAND")
    return stream


def _lines(stream: str) -> Iterator[str]:
    try:
        for piece in screen.shown(stream):
            yield f"{json.dumps(piece)}\n" if piece else "\n"
    except client.LinkError as wrong:
        yield f"{json.dumps(['note', wrong.message])}\n"


def _shown(row: Terminal) -> dict[str, Any]:
    def at(moment: Any) -> str | None:
        return moment.isoformat() if moment else None

    return {"number": row.id, "command": row.command, "actor": row.actor, "door": row.door, "server": row.server_name,
            "started_at": at(row.started_at), "ended_at": at(row.ended_at), "exit_code": row.exit_code, "why": row.why}
