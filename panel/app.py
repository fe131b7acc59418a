"""The panel as a WSGI application: `create_app` wires its parts and does nothing else."""

from __future__ import annotations

import logging
import secrets

from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix

from panel.settings import Settings, SettingsError
from panel.settings import settings as current_settings
from panel.store.seal import key_file
from panel.web import (
    account,
    actions,
    assets,
    auth,
    context,
    database,
    desk,
    drift,
    errors,
    finder,
    groups,
    health,
    journal,
    limits,
    new,
    overview,
    people,
    plans,
    releases,
    resources,
    runs,
    security,
    servers,
    sites,
)
from panel.web.api import api

_PAGES = (account, actions, desk, drift, plans, finder, groups, health, journal, new, overview, people, releases,
          resources, runs, servers, sites)


def create_app(settings: Settings | None = None) -> Flask:
    """The application. SettingsError: a setting cannot be used, or a route lacks its guard."""
    settings = settings or current_settings()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    app = Flask("panel", static_folder=None, template_folder="web/templates")
    app.secret_key = settings.secret_key or key_file(settings.state / "secret.key", secrets.token_urlsafe(48))
    for part in (auth, security, limits):
        part.init(app, settings)
    for part in (database, errors, context, assets):
        part.init(app)
    for page in _PAGES:
        app.register_blueprint(page.blueprint)
    app.register_blueprint(api)
    if settings.proxies:
        hops = settings.proxies
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops, x_host=hops)  # type: ignore[method-assign]
    if open_routes := auth.unguarded(app):
        raise SettingsError(f"Declare who may call these routes (panel.web.auth): {', '.join(open_routes)}.")
    return app
