"""Our own CSS, JavaScript and icons, under an address that changes when one of them does."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from flask import Blueprint, Flask, Response, send_from_directory, url_for

from panel.web.auth import anyone

_FOLDER = Path(__file__).parent / "static"
_A_YEAR = 365 * 24 * 3600

blueprint = Blueprint("assets", __name__)


@cache
def version() -> str:
    """One for all files: modules and style sheets name each other by relative address and so stay together."""
    digest = hashlib.sha256()
    for path in sorted(one for one in _FOLDER.rglob("*") if one.is_file()):
        digest.update(path.relative_to(_FOLDER).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


@blueprint.get("/static/<tag>/<path:name>")
@anyone
def file(tag: str, name: str) -> Response:
    response = send_from_directory(_FOLDER, name, max_age=_A_YEAR if tag == version() else 0)
    if tag == version():
        response.cache_control.immutable = True
    return response


def asset(name: str) -> str:
    """The address of a file, for templates."""
    return url_for("assets.file", tag=version(), name=name)


def init(app: Flask) -> None:
    app.register_blueprint(blueprint)
    app.jinja_env.globals["asset"] = asset
