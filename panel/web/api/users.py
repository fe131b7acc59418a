"""/users: who may sign in; for administrators."""

from __future__ import annotations

import re

from flask import jsonify
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from werkzeug.wrappers import Response

from panel.catalog import Problem, Refused
from panel.store.models import User
from panel.web import passwords
from panel.web.api import api, shapes
from panel.web.api.asked import Unreadable, body, query, text
from panel.web.auth import NotAllowed, current_actor, token
from panel.web.database import database


@api.get("/users")
@token
def list_users() -> Response:
    _only_admins()
    query()
    return jsonify(users=[shapes.user(one) for one in database().scalars(select(User).order_by(User.name))])


@api.post("/users")
@token
def add_user() -> tuple[Response, int]:
    """With a password of one's own, or one made here and shown in this answer alone."""
    _only_admins()
    asked = body(("name",), ("password", "is_admin"))
    name, password = text(asked, "name", longest=64), text(asked, "password") or passwords.random_password()
    _check(name, password, asked.get("is_admin", False))
    user = User(name=name, password_hash=passwords.hashed(password), is_admin=asked.get("is_admin", False))
    database().add(user)
    try:
        database().commit()
    except IntegrityError:
        raise Unreadable("name_taken", f"There is a user '{name}' already.", 409, "This name is taken") from None
    shown = {} if asked.get("password") else {"password": password}
    return jsonify(user=shapes.user(user), **shown), 201


def _only_admins() -> None:
    if not current_actor().is_admin:
        raise NotAllowed


def _check(name: str, password: str, is_admin: object) -> None:
    problems = []
    if not re.fullmatch(r"[a-z0-9](?:[a-z0-9._@-]{0,62}[a-z0-9])?", name):
        problems.append(Problem("name", "invalid_user", "Use 1-64 characters: a-z, 0-9 and . _ @ - inside."))
    if found := passwords.problem(password):
        problems.append(Problem("password", "weak_password", found))
    if not isinstance(is_admin, bool):
        problems.append(Problem("is_admin", "invalid_type", "'is_admin' must be true or false."))
    if problems:
        raise Refused(problems)
