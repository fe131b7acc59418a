"""Pages of what a resource offers beside its actions: the keys of its clients, a chat, figures over time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from flask import Blueprint, Response, flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from panel.link import apikeys, chats
from panel.link.client import LinkDown, LinkError
from panel.runs import figures, groups
from panel.store.db import now
from panel.store.models import Resource
from panel.store.places import Place
from panel.web import charts, offers, queries, snippets
from panel.web.auth import current_actor, signed_in
from panel.web.database import database
from panel.web.sse import event_stream
from panel.web.words import count

blueprint = Blueprint("desk", __name__)

_SPANS = ("1h", "6h", "48h")


def _resource(name: str, what: str) -> Resource:
    found = queries.resource(database(), name)
    offers.check(found, what)
    return found


def _place(resource: Resource) -> Place:
    """On which of its servers: the one that the page was asked for, or the first."""
    found = resource.place_on(groups.one_server(resource, request.values.get("server", "")))
    assert found
    return found


# Keys.

@blueprint.get("/resources/<name>/api-keys")
@signed_in
def keys(name: str) -> str:
    return _keys(_resource(name, "keys"))


def _keys(resource: Resource, new: str = "", wrong: LinkError | None = None,
          given: dict[str, str] | None = None) -> str:
    """`wrong`: why a change was not made."""
    found = away = None
    if not isinstance(wrong, LinkDown):  # nobody waits twice for a link that is not there
        try:
            found = offers.keys(database(), resource)
        except LinkError as one:
            away = one
    return render_template("api_keys.html", here="resources", resource=resource, found=found, away=away, new=new,
                           wrong=wrong, given=given or {},
                           snippet=snippets.curl(resource, snippets.HELLO, new) if new else "")


@blueprint.post("/resources/<name>/api-keys")
@signed_in
def add_key(name: str) -> str | tuple[str, int]:
    resource = _resource(name, "keys")
    given = {key: request.form.get(key, "").strip() for key in ("name", "requests_per_minute", "tokens_per_minute")}
    try:
        limits = {key: _whole(given[key]) for key in ("requests_per_minute", "tokens_per_minute")}
        text, _ = offers.add_key(resource, {"name": given["name"], **limits}, current_actor())
    except LinkError as wrong:
        return _keys(resource, wrong=wrong, given=given), 422
    return _keys(resource, new=text)


def _whole(text: str) -> int | None:
    """LinkError: no whole number."""
    if not text:
        return None
    if not text.isascii() or not text.isdecimal() or len(text) > 12:
        raise LinkError("A limit is a whole number; leave it empty for none.", "invalid_limit")
    return int(text)


@blueprint.get("/resources/<name>/api-keys/revocation")
@signed_in
def revocation(name: str) -> str | tuple[str, int]:
    resource = _resource(name, "keys")
    try:
        key = apikeys.name(request.args.get("key", ""))
    except LinkError as wrong:
        return _keys(resource, wrong=wrong), 404
    return render_template(
        "confirm.html", here="resources", heading=f"Revoke the key '{key}'", word="", button="Revoke it",
        lead=f"Who sends it to {name} is refused from the next request on; what is being answered comes to its end. It "
             "does not come back: another key has to be made and given to those who used this one.",
        back=url_for("desk.keys", name=name))


@blueprint.post("/resources/<name>/api-keys/revocation")
@signed_in
def revoke_key(name: str) -> AnyResponse | tuple[str, int]:
    resource, key = _resource(name, "keys"), request.args.get("key", "")
    try:
        offers.revoke_key(resource, key, current_actor())
    except LinkError as wrong:
        return _keys(resource, wrong=wrong), 409
    flash(f"The key '{key}' is refused from now on.", "ok")
    return redirect(url_for("desk.keys", name=name), 303)


@blueprint.post("/resources/<name>/api-keys/copies")
@signed_in
def spread_keys(name: str) -> AnyResponse | tuple[str, int]:
    resource = _resource(name, "keys")
    try:
        copied = offers.spread_keys(resource, current_actor())
    except LinkError as wrong:
        return _keys(resource, wrong=wrong), 409
    flash(f"{count(copied, 'key')} copied: each server has all of them now.", "ok")
    return redirect(url_for("desk.keys", name=name), 303)


# The chat.

@blueprint.get("/resources/<name>/chat")
@signed_in
def chat(name: str) -> str:
    return _chat(_resource(name, "chat"), {}, [])


def _chat(resource: Resource, given: dict[str, str], messages: list[dict[str, Any]], problem: str = "") -> str:
    asked = {**(_asked(given, messages, given.get("message", "")) if not problem else {}), "messages": [
        {"role": one["role"], "content": one["content"]} for one in messages]}
    return render_template(
        "chat.html", here="resources", resource=resource, there=_place(resource), given=given, messages=messages,
        history=json.dumps([{"role": one["role"], "content": one["content"]} for one in messages]), problem=problem,
        snippets=snippets.all_of(resource, asked if messages else snippets.HELLO))


@blueprint.post("/resources/<name>/chat")
@signed_in
def ask(name: str) -> str | tuple[str, int]:
    """Without a script: the whole answer at once, and the page anew."""
    resource, given = _resource(name, "chat"), _given()
    messages = _history(given)
    try:
        asked = _asked(given, messages, given["message"])
        pieces = [one for one in offers.chat(resource, asked, current_actor(), _place(resource).server_id) if one]
    except LinkError as wrong:
        return _chat(resource, given, messages, wrong.message), 422
    told: dict[str, Any] = next((value for kind, value in pieces if kind == "done"), {})
    answer = "".join(value for kind, value in pieces if kind == "text")
    messages += [{"role": "user", "content": given.pop("message")},
                 {"role": "assistant", "content": answer, "words": chats.in_words(told)}]
    return _chat(resource, given, messages)


@blueprint.post("/resources/<name>/chat/stream")
@signed_in
def stream(name: str) -> Response:
    """With one: the answer as it is written, after the same request in other words."""
    resource, given = _resource(name, "chat"), _given()
    try:
        asked = _asked(given, _history(given), given["message"])
        pieces = offers.chat(resource, asked, current_actor(), _place(resource).server_id)
    except LinkError as wrong:
        return event_stream(iter([_event("error", wrong.message)]), current_actor().id)
    lead = _event("snippets", snippets.all_of(resource, asked))
    return event_stream(_after(lead, offers.events(pieces)), current_actor().id)


def _event(name: str, data: Any) -> str:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"


def _after(lead: str, messages: Iterator[str]) -> Iterator[str]:
    yield lead
    yield from messages


def _given() -> dict[str, str]:
    names = ("message", "system", "temperature", "top_p", "max_tokens", "history")
    return {name: request.form.get(name, "").replace("\r\n", "\n") for name in names}


def _history(given: dict[str, str]) -> list[dict[str, Any]]:
    """What was said before, as the page carries it. LinkError: it was changed into something else."""
    try:
        found = json.loads(given.get("history") or "[]")
        return chats.question({"messages": found})["messages"] if found else []
    except (ValueError, RecursionError):
        raise LinkError("What was said before cannot be read. Begin a new chat.", "invalid_messages") from None


def _asked(given: dict[str, str], before: list[dict[str, Any]], message: str) -> dict[str, Any]:
    """The question as it is sent. LinkError: it cannot be asked so."""
    system = given.get("system", "").strip()
    lead = [{"role": "system", "content": system}] if system else []
    told = [{"role": one["role"], "content": one["content"]} for one in before]
    asked: dict[str, Any] = {"messages": [*lead, *told, *([{"role": "user", "content": message}] if message else [])]}
    for name in ("temperature", "top_p", "max_tokens"):
        if text := given.get(name, "").strip():
            asked[name] = _number(name, text, int if name == "max_tokens" else float)
    return chats.question(asked) if asked["messages"] else asked


def _number(name: str, text: str, kind: type[int] | type[float]) -> float:
    try:
        return kind(text)
    except ValueError:
        raise LinkError(f"{name} is a number, not '{text[:20]}'.", f"invalid_{name}") from None


# Figures.

@blueprint.get("/resources/<name>/figures")
@signed_in
def show_figures(name: str) -> str:
    resource = _resource(name, "figures")
    place = _place(resource)
    chosen = request.args.get("since", "") if request.args.get("since") in _SPANS else _SPANS[0]
    return render_template("figures.html", here="resources", resource=resource, there=place, chosen=chosen,
                           spans=_SPANS, charts=shown(place, chosen))


def shown(place: Place, since: str = _SPANS[0]) -> list[charts.Chart]:
    """The charts of a place."""
    span = offers.span(since)
    assert span
    return charts.of(figures.series(database(), place, span), span, now(database()))
