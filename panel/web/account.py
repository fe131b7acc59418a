"""Signing in and out; one's own password, tokens and browsers."""

from __future__ import annotations

import re

from flask import Blueprint, flash, redirect, render_template, request, url_for
from sqlalchemy import exists, select
from werkzeug.wrappers import Response

from panel.store.models import SignIn, Token, User
from panel.web import auth, passwords, tokens
from panel.web.auth import anyone, current_actor, current_sign_in, signed_in
from panel.web.database import database
from panel.web.errors import Gone, trouble
from panel.web.limits import CannotCount, TooManyTries

blueprint = Blueprint("account", __name__)

_SIGNED_OUT = "Every other browser was signed out, and your API tokens are refused from now on."


def safe_next(wanted: str) -> str:
    """Where to go after signing in: a path of this panel, nothing that a browser could read as another host."""
    is_path = re.match(r"/(?![/\\])", wanted) and not re.search(r"[\\\x00-\x20\x7f]", wanted)
    return wanted if is_path else url_for("overview.show")


def _nobody_yet() -> bool:
    return not database().scalar(select(exists(select(User.id))))


@blueprint.get("/sign-in")
@anyone
def sign_in() -> str:
    return render_template("sign_in.html", nobody_yet=_nobody_yet(), name="", problem="")


@blueprint.post("/sign-in")
@anyone
def begin_session() -> Response | tuple[str, int, dict[str, str]]:
    name = request.form.get("name", "").strip()
    try:
        user = auth.check_password(name, request.form.get("password", ""))
    except (auth.WrongPassword, TooManyTries, CannotCount) as wrong:
        what = trouble(wrong)
        page = render_template("sign_in.html", nobody_yet=_nobody_yet(), name=name, problem=what.detail)
        return page, what.status, what.headers
    auth.sign_in(user)
    return redirect(safe_next(request.args.get("next", "")), 303)


@blueprint.post("/sign-out")
@signed_in
def sign_out() -> Response:
    auth.sign_out()
    return redirect(url_for("account.sign_in"), 303)


def _page(new_token: str = "", problems: dict[str, str] | None = None) -> str:
    mine = current_actor().id
    shown = select(Token).where(Token.user_id == mine, Token.revoked_at.is_(None)).order_by(Token.id)
    browsers = select(SignIn).where(SignIn.user_id == mine).order_by(SignIn.seen_at.desc())
    return render_template(
        "account.html", here="you", new_token=new_token, problems=problems or {},
        tokens=database().scalars(shown).all(), browsers=database().scalars(browsers).all(),
        this_browser=current_sign_in().digest)


@blueprint.get("/account")
@signed_in
def show() -> str:
    return _page()


@blueprint.post("/account/password")
@signed_in
def set_password() -> Response | tuple[str, int]:
    actor, new = current_actor(), request.form.get("new", "")
    problems = {}
    try:
        auth.check_password(actor.name, request.form.get("old", ""))
    except (auth.WrongPassword, TooManyTries, CannotCount) as wrong:
        is_wrong = isinstance(wrong, auth.WrongPassword)
        problems["old"] = "This is not your password." if is_wrong else trouble(wrong).detail
    if refused := passwords.problem(new):
        problems["new"] = refused
    if problems:
        return _page(problems=problems), 422
    actor.password_hash = passwords.hashed(new)
    auth.end_access(database(), actor, keep=current_sign_in())
    database().commit()
    flash(f"Your password was changed. {_SIGNED_OUT}", "ok")
    return redirect(url_for("account.show"), 303)


@blueprint.post("/account/tokens")
@signed_in
def add_token() -> str:
    name = request.form.get("token_name", "").strip()[:100] or "unnamed"
    return _page(new_token=tokens.make(database(), current_actor(), name))


@blueprint.post("/account/tokens/<int:token_id>/revocation")
@signed_in
def revoke_token(token_id: int) -> Response:
    found = database().get(Token, token_id)
    if found is None or found.user_id != current_actor().id:
        raise Gone("You have no such token.")
    tokens.revoke(database(), found)
    flash(f"The token '{found.name}' is refused from now on.", "ok")
    return redirect(url_for("account.show"), 303)


@blueprint.post("/account/browsers/end")
@signed_in
def end_others() -> Response:
    auth.end_access(database(), current_actor(), keep=current_sign_in())
    database().commit()
    flash(_SIGNED_OUT, "ok")
    return redirect(url_for("account.show"), 303)
