"""Who can sign in: made, given a new password and removed by administrators."""

from __future__ import annotations

import re
from datetime import datetime
from typing import NamedTuple

from flask import Blueprint, flash, redirect, render_template, request, url_for
from sqlalchemy import func, select
from werkzeug.wrappers import Response

from panel.store.models import SignIn, User
from panel.web import auth, passwords
from panel.web.auth import admin, current_actor
from panel.web.database import database
from panel.web.errors import Gone

blueprint = Blueprint("people", __name__)

_SIGNED_OUT = "{name} was signed out everywhere, and their API tokens are refused from now on."


class Row(NamedTuple):
    """A person in the list, with where they are signed in."""

    user: User
    browsers: int
    seen_at: datetime | None


class Shown(NamedTuple):
    """A password that is shown once."""

    name: str
    password: str


def add(name: str, is_admin: bool) -> tuple[str, str]:
    """Store a new person: (password, ""), or ("", why not). Commits."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
        return "", "Use up to 64 letters, digits and . _ - and begin with a letter or a digit."
    if database().scalar(select(User.id).where(func.lower(User.name) == name.lower())):
        return "", f"There is a person named '{name}' already."
    password = passwords.random_password()
    database().add(User(name=name, password_hash=passwords.hashed(password), is_admin=is_admin))
    database().commit()
    return password, ""


def _page(shown: Shown | None = None, problem: str = "") -> str:
    seen = (select(SignIn.user_id, func.count().label("browsers"), func.max(SignIn.seen_at).label("seen_at"))
            .group_by(SignIn.user_id).subquery())
    rows = database().execute(
        select(User, func.coalesce(seen.c.browsers, 0), seen.c.seen_at)
        .outerjoin(seen, seen.c.user_id == User.id).order_by(func.lower(User.name)))
    given = request.form if problem else {}
    return render_template("people.html", here="people", people=[Row(*row) for row in rows], shown=shown,
                           problem=problem, given=given)


def _person(name: str) -> User:
    found = database().scalar(select(User).where(User.name == name))
    if found is None:
        raise Gone(f"There is no person named '{name}'.")
    if found.id == current_actor().id:
        raise auth.NotAllowed("Your own account is changed on the page 'Your account'.")
    return found


@blueprint.get("/people")
@admin
def listed() -> str:
    return _page()


@blueprint.post("/people")
@admin
def create() -> str | tuple[str, int]:
    name = request.form.get("name", "").strip()
    password, problem = add(name, request.form.get("is_admin") == "1")
    return (_page(problem=problem), 422) if problem else _page(shown=Shown(name, password))


@blueprint.post("/people/<name>/password")
@admin
def set_password(name: str) -> str:
    person, password = _person(name), passwords.random_password()
    person.password_hash = passwords.hashed(password)
    auth.end_access(database(), person)
    database().commit()
    flash(_SIGNED_OUT.format(name=person.name), "ok")
    return _page(shown=Shown(person.name, password))


@blueprint.post("/people/<name>/sessions/end")
@admin
def end_sessions(name: str) -> Response:
    auth.end_access(database(), _person(name))
    database().commit()
    flash(_SIGNED_OUT.format(name=name), "ok")
    return redirect(url_for("people.listed"), 303)


def _confirmation(person: User, problem: str = "") -> str:
    return render_template(
        "confirm.html", here="people", heading=f"Remove {person.name}", word=person.name, button="Remove for good",
        lead="Their sessions and tokens end at once. Runs that they asked for keep their name.",
        back=url_for("people.listed"), problem=problem)


@blueprint.get("/people/<name>/removal")
@admin
def ask_removal(name: str) -> str:
    return _confirmation(_person(name))


@blueprint.post("/people/<name>/removal")
@admin
def remove(name: str) -> Response | tuple[str, int]:
    person = _person(name)
    if request.form.get("confirm", "").strip() != person.name:
        return _confirmation(person, f"This is not '{person.name}'."), 422
    database().delete(person)
    database().commit()
    flash(f"{name} was removed.", "ok")
    return redirect(url_for("people.listed"), 303)
