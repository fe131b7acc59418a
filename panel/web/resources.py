"""Resources: the list, and one resource with everything that belongs to it."""

from __future__ import annotations

from flask import Blueprint, render_template, request

from panel.catalog import Action, Kind, catalog
from panel.runs import releases
from panel.store.models import Resource
from panel.store.places import Place
from panel.web import byhand, desk, plans, queries
from panel.web.auth import signed_in
from panel.web.database import database
from panel.web.shown import shown_values
from panel.web.words import kind_of

blueprint = Blueprint("resources", __name__)


@blueprint.get("/resources")
@signed_in
def listed() -> str:
    session = database()
    wanted = {key: request.args.get(key, "").strip()[:100] for key in ("server", "kind", "text")}
    found = queries.resources(session, **wanted)
    return render_template(
        "resources.html", here="resources", resources=found, wanted=wanted, is_filtered=any(wanted.values()),
        last=queries.last_runs(session, (one.id for one in found)), servers=queries.servers(session),
        server_groups=queries.groups(session),
        kinds=sorted(catalog().kinds.values(), key=lambda kind: kind.label))


def _live(place: Place) -> str:
    """What serves on a server: the commit and its first line."""
    told = next((one for one in place.observed_data.get("releases") or [] if isinstance(one, dict) and one.get("live")),
                {})
    return f"{str(told.get('commit') or '')[:7]} {told.get('subject') or ''}".strip()


def day_to_day(kind: Kind | None, resource: Resource) -> list[Action]:
    """What can be done beside changing the values: first what is used every day, last what is dangerous."""
    if kind is None:
        return []
    actions = [one for one in kind.actions.values() if one.name != "main"]
    if resource.parent_id is not None:
        actions = [one for one in actions if one.name != "remove"]  # a part goes with its parent
    return sorted(actions, key=lambda one: (one.dangerous, one.privilege != "deploy"))


def _tells_figures(resource: Resource, kind: Kind | None) -> bool:
    return kind is not None and "figures" in kind.offers and resource.applied_at is not None and bool(resource.places)


@blueprint.get("/resources/<name>")
@signed_in
def show(name: str) -> str:
    session = database()
    resource = queries.resource(session, name)
    kind = kind_of(resource.kind)
    place = resource.worst
    kept = releases.of(session, place) if place else []
    family = [resource, *resource.parts]
    return render_template(
        "resource.html", here="resources", resource=resource, kind=kind, actions=day_to_day(kind, resource),
        last=queries.last_runs(session, (one.id for one in family)),
        runs=queries.runs(session, resource=resource, limit=10), values=shown_values(resource, kind),
        places=[one for server in resource.servers if (one := resource.place_on(server))],
        releases=kept, went_back=releases.went_back(kept),
        commands=byhand.of_resource(resource, kind),
        charts=desk.shown(resource.places[0]) if _tells_figures(resource, kind) else [],
        drift_lines=plans.lines(resource.drift.changes) if resource.drift else [],
        live={one.server_id: _live(one) for one in resource.places} if resource.group else {})
