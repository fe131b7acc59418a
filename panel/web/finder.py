"""Find anything: everything that has a page, as a small index for the palette, and as a page without JavaScript."""

from __future__ import annotations

from typing import NamedTuple

from flask import Blueprint, Response, jsonify, render_template, request, url_for

from panel.catalog import catalog
from panel.web import queries
from panel.web.auth import current_actor, signed_in
from panel.web.database import database
from panel.web.words import kind_label, run_title, title_of

blueprint = Blueprint("finder", __name__)


class Entry(NamedTuple):
    """A thing, a word on what it is, and its page."""

    label: str
    what: str
    url: str


def _entries() -> list[Entry]:
    session = database()
    pages = [("Overview", "overview.show"), ("Resources", "resources.listed"), ("Servers", "servers.listed"),
             ("Runs", "runs.listed"), ("Your account", "account.show")]
    if current_actor().is_admin:
        pages.append(("People", "people.listed"))
    found = [Entry(f"{one.name} {title_of(one)}".strip(), f"{kind_label(one.kind)} on {one.where.name}",
                   url_for("resources.show", name=one.name)) for one in queries.resources(session)]
    found += [Entry(f"{one.name} {one.address}", "Server", url_for("servers.show", name=one.name))
              for one in queries.servers(session)]
    found += [Entry(one.name, "Group of servers", url_for("groups.show", name=one.name))
              for one in queries.groups(session)]
    found += [Entry(f"New {kind.label}", "Make", url_for("new.fill", kind_name=kind.name))
              for kind in catalog().kinds.values()]
    found += [Entry("Add a server", "Make", url_for("servers.new"))]
    found += [Entry(label, "Page", url_for(endpoint)) for label, endpoint in pages]
    found += [Entry(f"{run_title(one)} · run {one.id}", "Run", url_for("runs.show", number=one.id))
              for one in queries.runs(session, limit=20)]
    return found


@blueprint.get("/find")
@signed_in
def show() -> str:
    text = request.args.get("text", "").strip()[:100]
    found = [one for one in _entries() if all(word in one.label.lower() for word in text.lower().split())]
    return render_template("find.html", here="find", text=text, found=found[:60] if text else [])


@blueprint.get("/find.json")
@signed_in
def index() -> Response:
    return jsonify([one._asdict() for one in _entries()])
