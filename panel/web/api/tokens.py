"""/tokens: a name and a password for a token; and away with it."""

from __future__ import annotations

from flask import g, jsonify, request
from werkzeug.wrappers import Response

from panel.web import tokens
from panel.web.api import api, shapes
from panel.web.api.asked import body, text
from panel.web.auth import anyone, check_password, token
from panel.web.database import database


@api.post("/tokens")
@anyone
def make_token() -> tuple[Response, int]:
    """The one moment at which the token is shown."""
    asked = body(("name", "password"), ("label",))
    user = check_password(text(asked, "name", longest=64), text(asked, "password"))
    label = text(asked, "label", f"API, from {request.remote_addr}", longest=100)
    return jsonify(token=tokens.make(database(), user, label), user=shapes.user(user)), 201


@api.get("/tokens/current")
@token
def show_token() -> Response:
    """Whose token this is."""
    return jsonify(name=g.token.name, user=shapes.user(g.actor))


@api.delete("/tokens/current")
@token
def revoke_token() -> tuple[str, int]:
    tokens.revoke(database(), g.token)
    return "", 204
