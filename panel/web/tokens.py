"""API tokens: `wo_<id>_<secret>`, shown once, kept as SHA-256."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from datetime import timedelta

from sqlalchemy import update
from sqlalchemy.orm import Session

from panel.store import db
from panel.store.models import Token, User
from panel.web.clock import aware

_FORM = re.compile(r"wo_(?P<id>[0-9]{1,15})_[A-Za-z0-9_-]{43}")
#: `used_at` is for people; it need not cost a write per request.
_NOTE_USE_EVERY = timedelta(minutes=1)


def looks_like_one(text: str) -> bool:
    """Whether this text is meant to be a token, well made or not."""
    return re.match(r"wo_[0-9]+_", text) is not None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def make(session: Session, user: User, name: str) -> str:
    """Store a new token of this user and return its text, which is never to be seen again. Commits."""
    token = Token(user_id=user.id, name=name, digest=_digest(secrets.token_hex(32)))
    session.add(token)
    session.flush()
    text = f"wo_{token.id}_{secrets.token_urlsafe(32)}"
    token.digest = _digest(text)
    session.commit()
    return text


def find(session: Session, text: str) -> Token | None:
    """The token, where it is known and not revoked."""
    form = _FORM.fullmatch(text)
    token = session.get(Token, int(form["id"])) if form else None
    if token is None or token.revoked_at is not None or not hmac.compare_digest(token.digest, _digest(text)):
        return None
    return token


def note_use(session: Session, token: Token) -> None:
    """Remember that it was used just now. Commits, at most once a minute."""
    now = db.now(session)
    if token.used_at is None or now - aware(token.used_at) > _NOTE_USE_EVERY:
        token.used_at = now
        session.commit()


def revoke(session: Session, token: Token) -> None:
    """From now on it is refused. Commits."""
    token.revoked_at = token.revoked_at or db.now(session)
    session.commit()


def revoke_all(session: Session, user: User) -> None:
    """From now on every token of this person is refused. Does not commit."""
    session.execute(update(Token).where(Token.user_id == user.id, Token.revoked_at.is_(None))
                    .values(revoked_at=db.now(session)))
