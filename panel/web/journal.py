"""The journal of a resource: its last lines at once, then live."""

from __future__ import annotations

import json
from collections.abc import Iterator

from flask import Blueprint, Response, render_template

from panel.link import client
from panel.runs import parts
from panel.runs.redact import Redactor
from panel.web import queries
from panel.web.auth import current_actor, signed_in
from panel.web.database import database
from panel.web.sse import event_stream
from panel.web.words import plain

blueprint = Blueprint("journal", __name__)

_LINES = 200


@blueprint.get("/resources/<name>/journal")
@signed_in
def show(name: str) -> str:
    resource = queries.resource(database(), name)
    try:
        found = client.journal(resource.id, lines=_LINES)
        lines, trouble = [plain(line) for line in map(parts.redactor(resource).text, found)], ""
    except client.LinkError as wrong:
        lines, trouble = [], wrong.message
    return render_template("journal.html", here="resources", resource=resource, lines=lines, trouble=trouble)


def _messages(resource_id: int, hide: Redactor) -> Iterator[str]:
    """Lines in batches as they come; what ends the journal is said in words."""
    try:
        for line in map(hide.text, client.journal(resource_id, lines=_LINES, follow=True)):
            yield f"data: {json.dumps(plain(line))}\n\n" if line else ": nothing new\n\n"
        yield "event: end\ndata: \"The journal ended.\"\n\n"
    except client.LinkError as wrong:
        yield f"event: end\ndata: {json.dumps(wrong.message)}\n\n"


@blueprint.get("/resources/<name>/journal/stream")
@signed_in
def stream(name: str) -> Response:
    resource = queries.resource(database(), name)
    return event_stream(_messages(resource.id, parts.redactor(resource)), current_actor().id)
