"""The first page: what needs somebody, what runs where, what happened last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from flask import Blueprint, render_template, url_for

from panel.store.models import Observed, Resource, Run, Server
from panel.store.planned import DriftState
from panel.web import queries, verbs
from panel.web.auth import signed_in
from panel.web.database import database
from panel.web.words import action_label, count, server_badge

blueprint = Blueprint("overview", __name__)

_MOST_RUNS = 8


class Need(NamedTuple):
    """Something that somebody should look at: what, why, and where to go."""

    tone: str
    thing: str
    text: str
    link: str
    button: str


def _server_needs(server: Server, last: Run | None) -> Need | None:
    page = url_for("servers.show", name=server.name)
    if server.offered_host_key and server.host_key:
        return Need("failed", server.name, "shows another host key than the one that was accepted. "
                    "Nothing runs there until somebody has looked at it.", page, "Look at it")
    if server.offered_host_key or not server.host_key:
        return Need("changed", server.name, "waits for its host key to be accepted.",
                    url_for("servers.ask_host_key", name=server.name), "See the key")
    if server.ready_at is None and (last is None or not last.state.is_active):
        return Need("changed", server.name, "is not ready yet: WebOps cannot sign in with its own key.",
                    url_for("servers.ask_login", name=server.name), "Make it ready")
    if server.ready_at and server_badge(server).tone == "failed":
        return Need("failed", server.name, server.observed_text, page, "See the server")
    return None


def _resource_needs(resource: Resource, last: Run | None) -> Need | None:
    page = url_for("resources.show", name=resource.name)
    if last is not None and queries.failed_runs([last]):
        said = f"{verbs.not_done(action_label(last.kind, last.action), '').strip()}: {last.error or 'the run failed.'}"
        serves = " What ran before still runs." if resource.observed is Observed.OK else ""
        return Need("failed", resource.name, said + serves, url_for("runs.show", number=last.id), "See why")
    if resource.drift is not None and resource.drift.state is DriftState.DRIFTED:
        return Need("changed", resource.name, f"is not as it was applied: {resource.drift.text}", f"{page}#drift",
                    "See what differs")
    if resource.applied_at and resource.observed in (Observed.FAILED, Observed.MISSING):
        return Need("failed", resource.name, resource.observed_text, page, "See it")
    return None


def _needs(servers: Sequence[Server], resources: Sequence[Resource], last: Mapping[int, Run],
           last_of_server: Mapping[int, Run]) -> list[Need]:
    found = [_server_needs(one, last_of_server.get(one.id)) for one in servers]
    found += [_resource_needs(one, last.get(one.id)) for one in resources]
    return sorted((one for one in found if one), key=lambda need: need.tone != "failed")


def _heading(needs: Sequence[Need], resources: Sequence[Resource], servers: Sequence[Server]) -> tuple[str, str]:
    have = f"{count(len(resources), 'resource')} on {count(len(servers), 'server')}."
    if needs:
        verb = "needs" if len(needs) == 1 else "need"
        others = "Everything else is as it should be." if len(resources) > len(needs) else ""
        return f"{count(len(needs), 'thing', begins=True)} {verb} you", f"{have} {others}".strip()
    if not servers:
        return "Welcome", "WebOps turns servers with nothing but SSH on them into a place where your sites run."
    if not resources:
        return "Your servers are ready", f"{count(len(servers), 'server', begins=True)}, and nothing runs there yet."
    return "Everything runs as it should", have


@blueprint.get("/")
@signed_in
def show() -> str:
    session = database()
    servers, everything = queries.servers(session), queries.resources(session)
    last, last_of_server = queries.last_runs(session, (one.id for one in everything)), queries.last_server_runs(session)
    resources = [one for one in everything if one.parent_id is None]
    needs = _needs(servers, everything, last, last_of_server)
    heading, lead = _heading(needs, resources, servers)
    return render_template(
        "overview.html", here="overview", heading=heading, lead=lead, needs=needs, resources=resources, last=last,
        servers=servers, last_of_server=last_of_server, runs=queries.runs(session, limit=_MOST_RUNS))
