"""/servers: the machines, their host keys, and making them ready."""

from __future__ import annotations

from typing import Any

from flask import jsonify
from sqlalchemy import select
from werkzeug.wrappers import Response

from panel.catalog import Problem, Refused
from panel.link import client
from panel.runs import servers, surveys
from panel.store.models import Mode, Server
from panel.web.api import api, shapes
from panel.web.api.asked import body, count, door, mapping, number, one_of, query, text
from panel.web.api.paging import page
from panel.web.auth import current_actor, token
from panel.web.database import database
from panel.web.errors import Gone


def find(name: str) -> Server:
    """The server of this name. Gone: there is none."""
    found = database().scalar(select(Server).where(Server.name == name))
    if found is None:
        raise Gone(f"There is no server '{name}'. `webops server list` shows those there are.")
    return found


@api.get("/servers")
@token
def list_servers() -> Response:
    """By name; `after` the name of the last one seen."""
    asked = query("after", "limit")
    rows, last = page(select(Server).where(Server.name > asked.get("after", "")).order_by(Server.name),
                      count(asked, "limit", 100))
    return jsonify(servers=[shapes.server(one) for one in rows], next=last and last.name)


@api.post("/servers")
@token
def add_server() -> tuple[Response, int]:
    """Its host key is asked for and offered; nothing is done there before that was accepted."""
    asked = body(("name", "address"), ("port",))
    row = servers.add(database(), name=text(asked, "name", longest=1000), address=text(asked, "address", longest=1000),
                      port=asked.get("port") or 22, actor=current_actor().name)
    return jsonify(shapes.server(row)), 201


@api.get("/servers/<name>")
@token
def show_server(name: str) -> Response:
    query()
    return jsonify(shapes.server(find(name)))


@api.delete("/servers/<name>")
@token
def forget_server(name: str) -> tuple[str, int]:
    """WebOps forgets it; on the machine nothing changes. The action "remove" takes WebOps off the machine."""
    query()
    servers.forget(database(), find(name), current_actor().name)
    return "", 204


@api.post("/servers/<name>/host-key")
@token
def accept_host_key(name: str) -> Response:
    """The fingerprint that the person compared. Accepting it twice does no harm."""
    row = find(name)
    servers.accept(database(), row, text(body(("fingerprint",)), "fingerprint", longest=200), current_actor().name)
    return jsonify(shapes.server(row))


@api.post("/servers/<name>/runs")
@token
def run_on_server(name: str) -> tuple[Response, int]:
    """"main" makes it ready, "survey" looks at what is served there, "remove" takes WebOps off it.

    `login`: for the first contact; used once, never stored beyond the run. With a `user` alone, WebOps signs in with
    its own key for this server, whose `public_key` that user has among its authorized keys. `values`: what else the
    kind `server` takes; what is not given stays on the server as it is.
    """
    asked = body((), ("action", "login", "values", "mode", "timeout"))
    action = one_of(asked, "action", ("main", "survey", "remove"))
    more: dict[str, Any] = {"mode": Mode(one_of(asked, "mode", ("apply", "check"))),
                            "timeout": number(asked, "timeout", 10, 7 * 24 * 3600)}
    server, actor = find(name), current_actor().name
    if action != "main" and asked.get("login") is not None:
        raise Refused([Problem("login", "not_possible", "WebOps' own account does this.")])
    if action != "main" and asked.get("values") is not None:
        raise Refused([Problem("values", "not_possible", "Values are given when the server is made ready.")])
    if action == "survey":
        run = surveys.look(database(), server, actor, door())
    elif action == "remove":
        run = servers.remove(database(), server, actor, door(), **more)
    else:
        run = servers.ready(database(), server, _login(asked), actor, door(), given=mapping(asked, "values"), **more)
    return jsonify(run=shapes.run(run)), 202


def _login(asked: dict[str, Any]) -> servers.Login | None:
    if asked.get("login") is None:
        return None
    login = mapping(asked, "login")
    unknown = set(login) - {"user", "password", "private_key", "sudo_password"}
    if unknown:
        words = ("A login has user, password or private_key (neither, where it has WebOps' public key), and "
                 "sudo_password.")
        raise Refused([Problem(f"login.{one}", "unknown_field", words) for one in sorted(unknown)])
    return servers.Login(user=text(login, "user", longest=64), password=text(login, "password"),
                         private_key=text(login, "private_key", longest=16384),
                         sudo_password=text(login, "sudo_password"))


@api.post("/servers/<name>/test")
@token
def test_server(name: str) -> Response:
    """Whether it can be reached and used, check by check."""
    query()
    return jsonify(client.ask("test", server_id=find(name).id, timeout=30))
