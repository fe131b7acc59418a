"""/api/v1: the same doors as the pages, for programs. JSON in, JSON out, problem+json for every error.

One module per noun. A view reads what was asked (`asked`), calls the layer below, and shows rows (`shapes`).
"""

from __future__ import annotations

from flask import Blueprint
from werkzeug.wrappers import Response

from panel.web.api.asked import Unreadable
from panel.web.errors import problem_json
from panel.web.security import csrf

api = Blueprint("api", __name__, url_prefix="/api/v1")
# A token is sent by a program on purpose; a browser never adds it by itself, so there is nothing to forge.
csrf.exempt(api)

from panel.web.api import drift, plans  # noqa: E402  they add their routes to `api`

assert drift and plans


@api.errorhandler(Unreadable)
def _unreadable(wrong: Unreadable) -> Response:
    return problem_json(wrong.trouble)


from panel.web.api import (  # noqa: E402  they add routes
    desk,
    groups,
    kinds,
    releases,
    resources,
    runs,
    servers,
    sites,
    terminals,
    tokens,
    users,
)

__all__ = ["api", "desk", "groups", "kinds", "releases", "resources", "runs", "servers", "sites", "terminals", "tokens",
           "users"]
