"""/resources/<name>/api-keys, chat, measurements, figures, metrics: what kinds offer that say so in their kind.yml."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flask import Response as FlaskResponse
from flask import jsonify
from werkzeug.wrappers import Response

from panel.catalog import Problem
from panel.runs import exposition, figures, groups
from panel.store.models import Resource
from panel.web import offers
from panel.web.api import api, shapes
from panel.web.api.asked import bad_query, body, query, text
from panel.web.api.resources import find
from panel.web.auth import current_actor, token
from panel.web.database import database


@api.get("/resources/<name>/api-keys")
@token
def list_api_keys(name: str) -> Response:
    """The keys of its clients, with their limits and use; `trouble`: servers that could not be asked, and why."""
    query()
    found = offers.keys(database(), find(name))
    return jsonify(name=name, keys=found.keys, trouble=found.trouble)


@api.post("/resources/<name>/api-keys")
@token
def add_api_key(name: str) -> tuple[Response, int]:
    """Make a key. `key` in the answer is its text, shown this once; limits that are left out are none."""
    asked = body(("name",), ("requests_per_minute", "tokens_per_minute"))
    made, kept = offers.add_key(find(name), asked, current_actor())
    return jsonify(key=made, **{field: value for field, value in kept.items() if field != "sha256"}), 201


@api.post("/resources/<name>/api-keys/copies")
@token
def spread_api_keys(name: str) -> Response:
    """Give each of its servers the keys that others have: to one that came to the group later."""
    body()
    return jsonify(copied=offers.spread_keys(find(name), current_actor()))


@api.delete("/resources/<name>/api-keys/<key>")
@token
def revoke_api_key(name: str, key: str) -> tuple[str, int]:
    """From the next request on nobody is let in with it."""
    offers.revoke_key(find(name), key, current_actor())
    return "", 204


@api.post("/resources/<name>/chat")
@token
def chat(name: str) -> FlaskResponse:
    """Ask, and get the answer as server-sent events: `text` and `thought` (words), at last `done` (figures) or `error`.

    `messages` as in OpenAI's API, `temperature`, `top_p`, `max_tokens`; `server`: which one, where it is on several.
    """
    asked = body(("messages",), ("temperature", "top_p", "max_tokens", "server"))
    row = find(name)
    return _stream(offers.chat(row, asked, current_actor(), _server(row, asked)))


@api.post("/resources/<name>/measurements")
@token
def measure(name: str) -> FlaskResponse:
    """Let as many clients as each of `levels` says ask at a time, `seconds` long, on the server itself.

    `tokens_in`, `tokens_out`: words of a question, tokens of an answer. Server-sent events: a `row` per level.
    """
    asked = body((), ("levels", "seconds", "tokens_in", "tokens_out", "server"))
    row = find(name)
    wanted = {key: value for key, value in asked.items() if key != "server"}
    return _stream(offers.measure(row, wanted, current_actor(), _server(row, asked)))


@api.get("/resources/<name>/figures")
@token
def show_figures(name: str) -> Response:
    """Per server, oldest first; `since`: 30m, 6h, up to 48h. What is not known is null."""
    span = offers.span(query("since").get("since", "1h"))
    if span is None or span > figures.KEPT:
        raise bad_query([Problem("since", "invalid_query", "'since' is how far to look back: 30m, 6h, up to 48h.")])
    row = find(name)
    offers.check(row, "figures")
    return jsonify(name=name, servers=[
        {"server": place.server.name,
         "points": [{**one._asdict(), "at": shapes.moment(one.at)} for one in figures.series(database(), place, span)]}
        for place in row.places])


@api.get("/resources/<name>/metrics")
@token
def show_metrics(name: str) -> FlaskResponse:
    """The last figures in Prometheus' text format."""
    query()
    row = find(name)
    offers.check(row, "figures")
    return FlaskResponse(exposition.text(database(), row), content_type="text/plain; version=0.0.4; charset=utf-8")


def _server(row: Resource, asked: dict[str, Any]) -> int:
    return groups.one_server(row, text(asked, "server", longest=64)).id


def _stream(pieces: Iterator[list[Any] | None]) -> FlaskResponse:
    return FlaskResponse(offers.events(pieces), mimetype="text/event-stream",
                         headers={"X-Accel-Buffering": "no", "Cache-Control": "no-store"})
