"""Servers: from an address over its host key and a first login to a machine that things run on."""

from __future__ import annotations

import re

from flask import Blueprint, flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from panel.catalog import Refused
from panel.link import client
from panel.runs import servers as machines
from panel.runs.errors import RunsError
from panel.store.models import Server
from panel.web import machine, queries, ssh_keys
from panel.web.auth import current_actor, signed_in
from panel.web.database import database
from panel.web.errors import trouble

blueprint = Blueprint("servers", __name__)

_FIRST_LOGIN = ("user", "password", "private_key", "sudo_password")


@blueprint.get("/servers")
@signed_in
def listed() -> str:
    session = database()
    return render_template("servers.html", here="servers", servers=queries.servers(session),
                           last=queries.last_server_runs(session))


def _new(beside: dict[str, str] | None = None, words: str = "") -> str:
    given = {key: request.form.get(key, "") for key in ("name", "address", "port")}
    return render_template("server_new.html", here="servers", given=given, beside=beside or {}, trouble=words)


@blueprint.get("/new/server")
@signed_in
def new() -> str:
    return _new()


@blueprint.post("/new/server")
@signed_in
def create() -> Response | tuple[str, int]:
    name, address, port = (request.form.get(key, "").strip() for key in ("name", "address", "port"))
    try:
        number = int(port or 22) if re.fullmatch(r"[0-9]{0,9}", port, re.ASCII) else 0  # 0 is refused in words
        server = machines.add(database(), name, address, number, current_actor().name)
    except Refused as wrong:
        return _new({one.parameter: one.message for one in wrong.problems}), 422
    except (RunsError, client.LinkError) as wrong:
        place = "name" if getattr(wrong, "code", "") == "name_taken" else ""
        return _new({place: wrong.message} if place else {}, "" if place else wrong.message), trouble(wrong).status
    return redirect(url_for("servers.ask_host_key", name=server.name), 303)


@blueprint.get("/servers/<name>")
@signed_in
def show(name: str) -> str:
    session = database()
    server = queries.server(session, name)
    resources = queries.resources(session, server=server.name)
    return render_template(
        "server.html", here="servers", server=server, resources=resources, facts=machine.facts(server),
        fingerprints=ssh_keys.fingerprints(server.host_key),
        last=queries.last_runs(session, (one.id for one in resources)),
        last_run=queries.last_server_runs(session).get(server.id), runs=queries.runs(session, server=server, limit=8))


@blueprint.get("/servers/<name>/host-key")
@signed_in
def ask_host_key(name: str) -> str:
    server = queries.server(database(), name)
    return render_template(
        "host_key.html", here="servers", server=server, offered=ssh_keys.fingerprints(server.offered_host_key),
        accepted=ssh_keys.fingerprints(server.host_key))


@blueprint.post("/servers/<name>/host-key")
@signed_in
def accept_host_key(name: str) -> Response:
    server = queries.server(database(), name)
    machines.accept(database(), server, request.form.get("fingerprint", ""), current_actor().name)
    target = "servers.show" if server.ready_at else "servers.ask_login"
    return redirect(url_for(target, name=server.name), 303)


@blueprint.post("/servers/<name>/scan")
@signed_in
def scan(name: str) -> Response:
    server = queries.server(database(), name)
    machines.look_again(database(), server)
    return redirect(url_for("servers.ask_host_key", name=server.name), 303)


def _login_page(server: Server, beside: dict[str, str] | None = None, words: str = "") -> str:
    return render_template("login.html", here="servers", server=server, beside=beside or {}, trouble=words,
                           given={"user": request.form.get("user", "root"), "way": request.form.get("way", "password")})


def _login(server: Server) -> machines.Login | None:
    """What was typed; a server that is ready needs none, for WebOps has its own key there."""
    given = {key: request.form.get(key, "").replace("\r\n", "\n") for key in _FIRST_LOGIN}
    unused = "private_key" if request.form.get("way") != "key" else "password"
    given[unused] = ""
    if server.ready_at and not given["password"] and not given["private_key"]:
        return None
    return machines.Login(**{**given, "user": given["user"].strip()})


@blueprint.get("/servers/<name>/ready")
@signed_in
def ask_login(name: str) -> str:
    return _login_page(queries.server(database(), name))


@blueprint.post("/servers/<name>/ready")
@signed_in
def make_ready(name: str) -> Response | tuple[str, int]:
    server = queries.server(database(), name)
    try:
        run = machines.ready(database(), server, _login(server), current_actor().name, "browser")
    except Refused as wrong:
        return _login_page(server, {one.parameter.removeprefix("login."): one.message for one in wrong.problems}), 422
    except RunsError as wrong:
        return _login_page(server, words=wrong.message), trouble(wrong).status
    return redirect(url_for("runs.show", number=run.id), 303)


@blueprint.post("/servers/<name>/test")
@signed_in
def test(name: str) -> Response:
    server = queries.server(database(), name)
    answer = client.ask("test", server_id=server.id)
    flash(str(answer.get("text", "")), "ok" if answer.get("ok") else "failed")
    return redirect(url_for("servers.show", name=server.name), 303)


def _confirmation(server: Server, problem: str = "") -> str:
    return render_template(
        "confirm.html", here="servers", heading=f"Forget {server.name}", word=server.name, button="Forget it",
        lead="WebOps forgets it and its key. The server itself, its accounts and what runs there stay as they are.",
        back=url_for("servers.show", name=server.name), problem=problem)


@blueprint.get("/servers/<name>/removal")
@signed_in
def ask_removal(name: str) -> str:
    return _confirmation(queries.server(database(), name))


@blueprint.post("/servers/<name>/removal")
@signed_in
def remove(name: str) -> Response | tuple[str, int]:
    server = queries.server(database(), name)
    if request.form.get("confirm", "").strip() != server.name:
        return _confirmation(server, f"This is not '{server.name}'."), 422
    machines.remove(database(), server, current_actor().name)
    flash(f"{name} was forgotten.", "ok")
    return redirect(url_for("servers.listed"), 303)
