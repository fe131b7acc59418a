"""Servers: from an address over its host key and a first login to a machine that things run on."""

from __future__ import annotations

import re
from collections.abc import Sequence

from flask import Blueprint, flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from panel.catalog import Problem, Refused
from panel.link import client
from panel.runs import servers as machines
from panel.runs.errors import RunsError
from panel.store.models import Mode, Server
from panel.web import fields, machine, queries, ssh_keys
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
                           groups=queries.groups(session), last=queries.last_server_runs(session))


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
        groups=[one for one in queries.groups(session) if server in one.servers],
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
    was_another = bool(server.host_key)
    machines.accept(database(), server, request.form.get("fingerprint", ""), current_actor().name)
    if was_another and server.ready_at:
        flash("The new key is accepted. If the server was installed anew, make it ready once more: with the login of "
              "somebody there, for WebOps' own accounts are gone with the old system.", "changed")
    target = "servers.show" if server.ready_at else "servers.ask_login"
    return redirect(url_for(target, name=server.name), 303)


@blueprint.post("/servers/<name>/scan")
@signed_in
def scan(name: str) -> Response:
    server = queries.server(database(), name)
    machines.look_again(database(), server)
    return redirect(url_for("servers.ask_host_key", name=server.name), 303)


def _login_page(server: Server, problems: Sequence[Problem] = (), words: str = "") -> str:
    given = {"user": request.form.get("user", "root"),
             "way": request.form.get("way", "account" if server.ready_at else "password")}
    settings = machines.settings()
    return render_template(
        "login.html", here="servers", server=server, trouble=words, given=given,
        beside={one.parameter.removeprefix("login."): one.message for one in problems},
        groups=fields.groups(settings, fields.from_form(settings, request.form), {}, problems))


def _login(server: Server) -> machines.Login | None:
    """What was typed, and only for the way that was chosen. None: by the account that WebOps has there already.

    Refused: the password or the key of the chosen way is missing.
    """
    way = request.form.get("way", "")
    if way == "account" and server.ready_at:
        return None
    given = {key: request.form.get(key, "").replace("\r\n", "\n") for key in _FIRST_LOGIN}
    for field, its_way, words in (("password", "password", "Give the password of this user."),
                                  ("private_key", "key", "Give the private key of this user.")):
        if way != its_way:
            given[field] = ""
        elif not given[field].strip():
            raise Refused([Problem(f"login.{field}", "required", words)])
    return machines.Login(**{**given, "user": given["user"].strip()})


@blueprint.get("/servers/<name>/ready")
@signed_in
def ask_login(name: str) -> str:
    return _login_page(queries.server(database(), name))


@blueprint.post("/servers/<name>/ready")
@signed_in
def make_ready(name: str) -> Response | tuple[str, int]:
    server, settings = queries.server(database(), name), machines.settings()
    try:
        said = fields.given(settings, fields.from_form(settings, request.form))
        run = machines.ready(database(), server, _login(server), current_actor().name, "browser", given=said)
    except Refused as wrong:
        return _login_page(server, wrong.problems), 422
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


def _removal_page(server: Server, problem: str = "", words: str = "") -> str:
    resources = [one.name for one in queries.resources(database(), server=server.name) if one.parent_id is None]
    return render_template("server_removal.html", here="servers", server=server, resources=resources, problem=problem,
                           trouble=words)


@blueprint.get("/servers/<name>/removal")
@signed_in
def ask_removal(name: str) -> str:
    return _removal_page(queries.server(database(), name))


@blueprint.post("/servers/<name>/removal")
@signed_in
def remove(name: str) -> Response | tuple[str, int]:
    server = queries.server(database(), name)
    is_check = request.form.get("mode") == "check"
    if not is_check and request.form.get("confirm", "").strip() != server.name:
        return _removal_page(server, f"This is not '{server.name}'."), 422
    try:
        run = machines.remove(database(), server, current_actor().name, "browser",
                              mode=Mode.CHECK if is_check else Mode.APPLY)
    except RunsError as wrong:
        return _removal_page(server, words=wrong.message), trouble(wrong).status
    return redirect(url_for("runs.show", number=run.id), 303)


def _forgetting_page(server: Server, problem: str = "") -> str:
    return render_template(
        "confirm.html", here="servers", heading=f"Forget {server.name} here only", word=server.name, button="Forget it",
        lead="For a server that is gone, or that goes on without WebOps: nothing is changed there. Accounts, programs "
             "and what runs there stay as they are, and WebOps' key for it is deleted here.",
        back=url_for("servers.show", name=server.name), problem=problem)


@blueprint.get("/servers/<name>/forgetting")
@signed_in
def ask_forgetting(name: str) -> str:
    return _forgetting_page(queries.server(database(), name))


@blueprint.post("/servers/<name>/forgetting")
@signed_in
def forget(name: str) -> Response | tuple[str, int]:
    server = queries.server(database(), name)
    if request.form.get("confirm", "").strip() != server.name:
        return _forgetting_page(server, f"This is not '{server.name}'."), 422
    try:
        machines.forget(database(), server, current_actor().name)
    except RunsError as wrong:
        return _forgetting_page(server, wrong.message), trouble(wrong).status
    flash(f"{name} was forgotten. On the server itself nothing was changed.", "ok")
    return redirect(url_for("servers.listed"), 303)
