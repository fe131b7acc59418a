"""/kinds: what can be asked for."""

from __future__ import annotations

from flask import jsonify
from werkzeug.wrappers import Response

from panel.catalog import catalog
from panel.catalog.described import described
from panel.web.api import api
from panel.web.api.asked import query
from panel.web.auth import token


@api.get("/kinds")
@token
def list_kinds() -> Response:
    query()
    found = catalog()
    return jsonify(kinds=[described(one) for one in found.kinds.values()], broken=dict(found.broken))


@api.get("/kinds/<kind>")
@token
def show_kind(kind: str) -> Response:
    query()
    return jsonify(described(catalog().kind(kind)))
