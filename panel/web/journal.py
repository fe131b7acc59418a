"""The journal of a resource: its last lines at once, then live."""

from __future__ import annotations

import json
from collections.abc import Iterator

from flask import Blueprint, Response, render_template, request
from sqlalchemy import select

from panel.link import client
from panel.runs import groups, parts
from panel.runs.redact import Redactor
from panel.store.models import Resource
from panel.store.terminals import Terminal
from panel.web import queries
from panel.web.auth import current_actor, signed_in
from panel.web.database import database
from panel.web.sse import event_stream
from panel.web.words import plain

blueprint = Blueprint("journal", __name__)

_LINES = 200
_SEARCHED = 1000
_TERMINALS = 10


@blueprint.get("/resources/<name>/journal")
@signed_in
def show(name: str) -> str:
    """Its last lines, or those that a person looks for: of one process, of some time, with a text."""
    resource = queries.resource(database(), name)
    wanted = _wanted()
    try:
        found = _lines(resource, wanted)
        lines, trouble = [plain(line) for line in map(parts.redactor(resource).text, found)], ""
    except client.LinkError as wrong:
        lines, trouble = [], wrong.message
    processes = (resource.observed_data or {}).get("processes") or []
    return render_template("journal.html", here="resources", resource=resource, lines=lines, trouble=trouble,
                           wanted=wanted, processes=processes, is_narrow=_narrow(wanted),
                           terminals=_terminals(resource.name))


def _terminals(name: str) -> list[Terminal]:
    """The last commands that people ran in terminals: who, when, what, how it ended."""
    found = select(Terminal).where(Terminal.resource_name == name).order_by(Terminal.id.desc()).limit(_TERMINALS)
    return list(database().scalars(found))


def _wanted() -> dict[str, str]:
    """What the form above the lines asks for."""
    return {name: request.args.get(name, "").strip()[:200] for name in ("process", "since", "until", "grep", "server")}


def _lines(resource: Resource, wanted: dict[str, str], follow: bool = False) -> Iterator[str]:
    server = groups.one_server(resource, wanted["server"])
    return client.journal(resource.id, server_id=server.id, lines=_SEARCHED if _narrow(wanted) else _LINES,
                          follow=follow, since=wanted["since"], until=wanted["until"], grep=wanted["grep"],
                          process=wanted["process"])


def _narrow(wanted: dict[str, str]) -> bool:
    return any(wanted[name] for name in ("process", "since", "until", "grep"))


def _messages(resource: Resource, hide: Redactor, wanted: dict[str, str]) -> Iterator[str]:
    """Lines in batches as they come; what ends the journal is said in words."""
    try:
        for line in map(hide.text, _lines(resource, wanted, follow=True)):
            yield f"data: {json.dumps(plain(line))}\n\n" if line else ": nothing new\n\n"
        yield "event: end\ndata: \"The journal ended.\"\n\n"
    except client.LinkError as wrong:
        yield f"event: end\ndata: {json.dumps(wrong.message)}\n\n"


@blueprint.get("/resources/<name>/journal/stream")
@signed_in
def stream(name: str) -> Response:
    resource = queries.resource(database(), name)
    return event_stream(_messages(resource, parts.redactor(resource), _wanted()), current_actor().id)
