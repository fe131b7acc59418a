"""Releases of a resource: those that its server keeps, what differs between two, and the way back to one."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, render_template, request

from panel.link import client
from panel.runs import groups, releases
from panel.runs.errors import RunsError
from panel.store.places import Place
from panel.web import queries
from panel.web.auth import signed_in
from panel.web.database import database
from panel.web.errors import Gone
from panel.web.words import kind_of

blueprint = Blueprint("releases", __name__)


def compare(place: Place, a: releases.Release, b: releases.Release) -> dict[str, Any]:
    """What `b` has that `a` has not. LinkError: the server cannot say, and why."""
    return client.ask("compare", resource_id=place.resource_id, server_id=place.server_id, a=a.id, b=b.id)


@blueprint.get("/resources/<name>/releases")
@signed_in
def listed(name: str) -> str | tuple[str, int]:
    """With `a` and `b`, what differs between the two."""
    session = database()
    resource = queries.resource(session, name)
    place = resource.place_on(groups.one_server(resource, request.args.get("server", "")))
    assert place
    kind, found = kind_of(resource.kind), releases.of(session, place)
    if resource.parent is not None:
        raise Gone(f"{name} is a part of {resource.parent.name}, which has the releases.")
    a, b = (request.args.get(key, "").strip()[:80] for key in ("a", "b"))
    difference, trouble = None, ""
    if a and b:
        try:
            difference = compare(place, releases.named(found, a), releases.named(found, b))
        except (RunsError, client.LinkError) as wrong:
            trouble = wrong.message
    kept = [releases.of(session, one) for one in resource.places] if resource.group else []
    page = render_template(
        "releases.html", here="resources", resource=resource, there=place, releases=found,
        went_back=releases.went_back(found), can_go_back=kind is not None and "rollback" in kind.actions,
        goes_by={one.id: releases.on_all(one, kept) if resource.group else one.id for one in found},
        difference=difference, trouble=trouble, chosen=_chosen(found, a, b))
    return (page, 409) if trouble else page


def _chosen(found: list[releases.Release], a: str, b: str) -> tuple[str, str]:
    """The two that are marked: those asked for, else the live one and the one before it."""
    live = next((one for one in found if one.live), None)
    if live is None:
        return a, b
    older = [one.id for one in found if one.id == live.before] or [
        one.id for one in found if one.served and one.id < live.id]
    newer = [one.id for one in found if one.id > live.id]
    usual = (older[0], live.id) if older else (live.id, newer[0] if newer else "")
    return a or usual[0], b or usual[1]
