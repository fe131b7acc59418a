"""/resources/<name>/releases: those that its server keeps, and what differs between two of them."""

from __future__ import annotations

from typing import Any

from flask import jsonify
from werkzeug.wrappers import Response

from panel.catalog import Problem
from panel.runs import groups, releases
from panel.store.places import Place
from panel.web.api import api, shapes
from panel.web.api.asked import bad_query, query
from panel.web.api.resources import find
from panel.web.auth import token
from panel.web.database import database
from panel.web.releases import compare


@api.get("/resources/<name>/releases")
@token
def list_releases(name: str) -> Response:
    """As the server was seen last, newest first; `server`: which one, where it is on several.

    Names of variables are told, what they hold is not.
    """
    place = _place(name)
    found = releases.of(database(), place)
    back = releases.went_back(found)
    return jsonify(
        name=name, server=place.server.name, seen_at=shapes.moment(place.observed_at),
        releases=[_shown(one) for one in found],
        rolled_back={"to": back.live.id, "from": back.newest.id, "commits": back.commits, "variables": back.variables,
                     "text": releases.in_words(back)} if back else None)


@api.get("/resources/<name>/releases/<pair>")
@token
def compare_releases(name: str, pair: str) -> Response:
    """`pair` is A..B: two ids, or beginnings of commits. What B has that A has not, and what is gone."""
    place = _place(name)
    a, dots, b = pair.partition("..")
    if not (a and dots and b):
        raise bad_query([Problem("pair", "invalid_query", f"'{pair[:80]}' does not name two releases; write A..B.")])
    found = releases.of(database(), place)
    return jsonify(name=name, server=place.server.name,
                   **compare(place, releases.named(found, a), releases.named(found, b)))


def _place(name: str) -> Place:
    """The resource on the server that is asked for, or on its first."""
    wanted = query("server").get("server", "")
    row = find(name)
    place = row.place_on(groups.one_server(row, wanted))
    assert place
    return place


def _shown(one: releases.Release) -> dict[str, Any]:
    return {"id": one.id, "commit": one.commit, "subject": one.subject, "author": one.author,
            "committed": one.committed, "served": one.served, "live": one.live, "before": one.before or None,
            "is_same_build": one.is_same_build,
            "went_live": shapes.moment(one.turn.at), "actor": one.turn.actor if one.served else None,
            "run": one.turn.run, "seconds": one.seconds,
            "back": {"at": shapes.moment(one.back.at), "actor": one.back.actor, "run": one.back.run}
            if one.back else None}
