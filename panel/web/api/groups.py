"""/groups: servers that a resource can live on together."""

from __future__ import annotations

from typing import Any

from flask import jsonify
from sqlalchemy import select
from werkzeug.wrappers import Response

from panel.catalog import Problem, Refused
from panel.runs import groups
from panel.store.models import Resource, Server
from panel.store.places import Group
from panel.web.api import api, shapes
from panel.web.api.asked import body, count, names, query, text
from panel.web.api.paging import page
from panel.web.api.servers import find as find_server
from panel.web.auth import token
from panel.web.database import database
from panel.web.errors import Gone


def find(name: str) -> Group:
    """The group of this name. Gone: there is none."""
    found = groups.find(database(), name)
    if found is None:
        raise Gone(f"There is no group '{name}'. `webops group list` shows those there are.")
    return found


def where(asked: dict[str, Any], row: Resource | None = None) -> Server | Group:
    """What `server` or `group` names; where neither does, what the resource lives on. Gone, Refused."""
    server, group = text(asked, "server", longest=64), text(asked, "group", longest=64)
    if server and group:
        raise Refused([Problem("group", "one_of_two", "A resource lives on a server or on a group: give one of both.")])
    if server or group:
        return find_server(server) if server else find(group)
    if row is None:
        raise Refused([Problem("server", "required", "'server' or 'group' is needed for a name that is not there "
                                                     "yet.")])
    return row.where


@api.get("/groups")
@token
def list_groups() -> Response:
    """By name; `after` the name of the last one seen."""
    asked = query("after", "limit")
    rows, last = page(select(Group).where(Group.name > asked.get("after", "")).order_by(Group.name),
                      count(asked, "limit", 100))
    return jsonify(groups=[shapes.group(one) for one in rows], next=last and last.name)


@api.post("/groups")
@token
def add_group() -> tuple[Response, int]:
    """`servers` in the order in which they shall be worked on, `batch` of them at a time: "1", "3", "25%"."""
    asked = body(("name",), ("servers", "batch"))
    row = groups.add(database(), text(asked, "name", longest=1000), names(asked, "servers"),
                     text(asked, "batch", longest=8))
    return jsonify(shapes.group(row)), 201


@api.get("/groups/<name>")
@token
def show_group(name: str) -> Response:
    query()
    return jsonify(shapes.group(find(name)))


@api.patch("/groups/<name>")
@token
def change_group(name: str) -> Response:
    """`add` and `remove`: servers that come and go; `batch`."""
    asked = body((), ("add", "remove", "batch"))
    row = groups.change(database(), find(name), put_in=names(asked, "add"), take_out=names(asked, "remove"),
                        batch=text(asked, "batch", longest=8))
    return jsonify(shapes.group(row))


@api.delete("/groups/<name>")
@token
def remove_group(name: str) -> tuple[str, int]:
    """Its servers stay as they are. 409 while something lives on it."""
    query()
    groups.remove(database(), find(name))
    return "", 204
