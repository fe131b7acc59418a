"""/servers/<name>/sites and /adoptions: what is served there by hand, and taking it over."""

from __future__ import annotations

from typing import Any

from flask import jsonify
from werkzeug.wrappers import Response

from panel.adopt import propose, taking
from panel.catalog import catalog
from panel.web.api import api, shapes
from panel.web.api.asked import body, door, query, text
from panel.web.api.servers import find
from panel.web.auth import current_actor, token
from panel.web.database import database


def _shape(found: propose.Found) -> dict[str, Any]:
    return {
        "domain": found.site.domain, "names": found.site.names, "files": found.site.files, "serves": found.serves,
        "certificate": found.certificate or None, "cannot": found.refused,
        "kinds": [_proposal(one) for one in found.proposals]}


def _proposal(one: propose.Proposal) -> dict[str, Any]:
    return {"kind": one.kind, "name": one.name, "why": one.why, "left_out": one.left_out,
            "resources": [{"kind": wish.kind, "values": shown, "secrets": secrets}
                          for wish in one.wishes for shown, secrets in [_values(wish)]]}


def _values(wish: propose.Wish) -> tuple[dict[str, Any], dict[str, Any]]:
    """What may be shown, and of secrets their names alone."""
    secret = {one.key for one in catalog().kind(wish.kind).main.parameters if one.secret}
    names = {key: [item["name"] for item in value] if isinstance(value, list) else True
             for key, value in wish.given.items() if key in secret and value}
    return {key: value for key, value in wish.given.items() if key not in secret}, names


@api.get("/servers/<name>/sites")
@token
def list_sites(name: str) -> Response:
    """What the last look found. 409 not_looked: ask for a run of "survey" first."""
    query()
    at, found = taking.seen(database(), find(name))
    return jsonify(looked_at=shapes.moment(at), sites=[_shape(one) for one in found])


@api.post("/servers/<name>/adoptions")
@token
def adopt(name: str) -> tuple[Response, int]:
    """Write a site down as resources that were never applied, with a plan for each, in the order to apply them."""
    asked = body(("domain",), ("kind", "name"))
    made = taking.take(database(), find(name), domain=text(asked, "domain", longest=300),
                       kind=text(asked, "kind", longest=64), name=text(asked, "name", longest=64),
                       actor=current_actor().name, door=door())
    return jsonify(plans=[{"plan": shapes.plan(one), "run": shapes.run(one.run)} for one in made if one.run]), 202
