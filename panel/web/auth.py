"""Who is asking, and who may: sessions of browsers, tokens of programs, and the guard that every route declares.

A view says who may call it with `@anyone`, `@signed_in`, `@admin` (browser) or `@token` (API, `Authorization: Bearer`).
`current_actor()` is the person behind the request in all of them.
"""

from __future__ import annotations

import enum
import hashlib
import secrets
from collections.abc import Callable
from datetime import timedelta
from functools import wraps
from typing import Any, TypeVar, cast

from flask import Flask, g, request, session
from flask_login import LoginManager, UserMixin, current_user, login_user
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from panel.settings import Settings
from panel.store import db
from panel.store.models import SignIn, User
from panel.web import limits, passwords, tokens
from panel.web.clock import aware
from panel.web.database import database

IDLE = timedelta(hours=12)
ABSOLUTE = timedelta(days=7)
_NOTE_EVERY = timedelta(minutes=1)

View = TypeVar("View", bound=Callable[..., Any])


class Guard(enum.StrEnum):
    """Who may call a route."""

    ANYONE = "anyone"
    SIGNED_IN = "signed in"
    ADMIN = "admin"
    TOKEN = "token"  # noqa: S105  a word, no secret


class SignInNeeded(Exception):
    """Nobody is signed in; `message` says what to do."""

    def __init__(self, message: str = "Sign in to see this.") -> None:
        super().__init__(message)
        self.message = message


class NotAllowed(Exception):
    """This person may not do this; `message` says who may."""

    def __init__(self, message: str = "Only an administrator can do this.") -> None:
        super().__init__(message)
        self.message = message


class WrongPassword(Exception):
    """Name and password do not fit together; which of them is wrong is not told."""

    message = "This name and password do not fit together."


class _Person(UserMixin):  # type: ignore[misc]  # flask-login brings no types
    """What Flask-Login carries: the user and the browser they are signed in with."""

    def __init__(self, sign_in: SignIn) -> None:
        self.id = sign_in.user_id
        self.sign_in = sign_in
        self.user = sign_in.user


_login = LoginManager()
_login.session_protection = None  # a session ends by its own rules below; addresses of phones change


def current_actor() -> User:
    """The person behind this request. SignInNeeded: nobody."""
    if "actor" in g:
        return cast(User, g.actor)
    if current_user.is_authenticated:
        return cast(User, current_user.user)
    raise SignInNeeded


def current_sign_in() -> SignIn:
    """The browser session of this request. SignInNeeded: nobody is signed in."""
    if not current_user.is_authenticated:
        raise SignInNeeded
    return cast(SignIn, current_user.sign_in)


def _guarded(guard: Guard, check: Callable[[], None]) -> Callable[[View], View]:
    def declare(view: View) -> View:
        @wraps(view)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            check()
            return view(*args, **kwargs)

        guarded.guard = guard  # type: ignore[attr-defined]  # read by unguarded() and by the tests
        return cast(View, guarded)
    return declare


def _check_admin() -> None:
    if not current_actor().is_admin:
        raise NotAllowed


def _check_token() -> None:
    scheme, _, text = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not text:
        raise SignInNeeded("Send a token: 'Authorization: Bearer wo_…'. `webops login` makes one, and so does the page "
                           "'Your account'.")
    found = tokens.find(database(), text.strip())
    if found is None:
        raise SignInNeeded("This token is unknown or was revoked. `webops login` makes a new one.")
    tokens.note_use(database(), found)
    g.actor, g.token = found.user, found


anyone = _guarded(Guard.ANYONE, lambda: None)
signed_in = _guarded(Guard.SIGNED_IN, lambda: (current_actor(), None)[1])
admin = _guarded(Guard.ADMIN, _check_admin)
token = _guarded(Guard.TOKEN, _check_token)


def check_password(name: str, password: str) -> User:
    """The user with this name and password. WrongPassword; TooManyTries, CannotCount (limits)."""
    limits.take_a_try(name)
    user = database().scalar(select(User).where(User.name == name))
    if not passwords.matches(password, user.password_hash if user else None) or user is None:
        raise WrongPassword(WrongPassword.message)
    limits.forget_tries(name)
    return user


def sign_in(user: User) -> None:
    """Begin a new session in this browser, under a new id. Commits."""
    session.clear()
    identity = secrets.token_urlsafe(32)
    moment = db.now(database())
    row = SignIn(digest=_digest(identity), user_id=user.id, epoch=user.session_epoch, created_at=moment,
                 seen_at=moment, address=request.remote_addr or "", user=user)
    database().add(row)
    database().commit()
    login_user(_Person(row))
    session["browser"] = identity


def sign_out() -> None:
    """End this browser's session, so that a copy of its cookie is refused too. Commits."""
    if current_user.is_authenticated:
        database().delete(current_user.sign_in)
        database().commit()
    session.clear()


def end_access(session: Session, user: User, *, keep: SignIn | None = None) -> None:
    """End every way in that this person has: browsers, `keep` excepted, and API tokens. Does not commit."""
    user.session_epoch += 1
    others = delete(SignIn).where(SignIn.user_id == user.id)
    session.execute(others.where(SignIn.digest != keep.digest) if keep else others)
    if keep:
        keep.epoch = user.session_epoch
    tokens.revoke_all(session, user)


def _digest(identity: str) -> str:
    return hashlib.sha256(identity.encode()).hexdigest()


@_login.user_loader  # type: ignore[untyped-decorator]  # flask-login brings no types
def _load(user_id: str) -> _Person | None:
    row = database().get(SignIn, _digest(str(session.get("browser", ""))))
    if row is None or str(row.user_id) != user_id or row.epoch != row.user.session_epoch:
        return None
    moment = db.now(database())
    if moment - aware(row.seen_at) > IDLE or moment - aware(row.created_at) > ABSOLUTE:
        return None
    if moment - aware(row.seen_at) > _NOTE_EVERY:
        row.seen_at = moment
        database().commit()
    return _Person(row)


def unguarded(app: Flask) -> list[str]:
    """Endpoints whose view declares no guard; create_app refuses to start with one."""
    return [rule.endpoint for rule in app.url_map.iter_rules()
            if not isinstance(getattr(app.view_functions[rule.endpoint], "guard", None), Guard)]


def init(app: Flask, settings: Settings) -> None:
    is_https = settings.base_url.startswith("https://")
    app.config.update(
        SESSION_COOKIE_NAME="__Host-webops" if is_https else "webops", SESSION_COOKIE_SECURE=is_https,
        SESSION_COOKIE_HTTPONLY=True, SESSION_COOKIE_SAMESITE="Lax", SESSION_COOKIE_PATH="/",
        PERMANENT_SESSION_LIFETIME=ABSOLUTE)
    _login.init_app(app)
