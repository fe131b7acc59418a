"""What a resource offers beside its actions, where its kind says so: keys for clients, a chat, figures."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from sqlalchemy.orm import Session

from panel.link import apikeys, chats, client, keyring, talk
from panel.link.keyring import Keyring, Where
from panel.runs import figures
from panel.store.models import Resource, User
from panel.web.errors import Gone
from panel.web.words import kind_label, kind_of

log = logging.getLogger("webops.web")

_WORDS = {"keys": "API keys", "figures": "figures", "chat": "chat"}
_SPAN = re.compile(r"([1-9][0-9]{0,3})(m|h)")
_UNIT = {"m": timedelta(minutes=1), "h": timedelta(hours=1)}


def permit(actor: User, row: Resource) -> None:
    """The one place that decides who may ask a model and change its keys: whoever is signed in. NotAllowed."""


def check(row: Resource, what: str) -> None:
    """Gone: resources of this kind have no such thing."""
    kind = kind_of(row.kind)
    if kind is None or what not in kind.offers:
        raise Gone(f"{row.name} is a {kind_label(row.kind)}, which has no {_WORDS[what]}.")


def _places(row: Resource) -> list[Where]:
    return keyring.through_link(row.id, [(one.id, one.name) for one in row.servers])


def keys(session: Session, row: Resource) -> Keyring:
    """Those of all its servers, each with `use`: its figures, where they are known. LinkError."""
    check(row, "keys")
    found = keyring.listed(_places(row))
    looks = [figures.latest(session, place) for place in row.places]
    told = [one.data.get("keys") or {} for one in looks if one]
    for key in found.keys:
        del key["sha256"]
        key["use"] = _together([one[key["name"]] for one in told if key["name"] in one])
    return found


def _together(told: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The figures of one key over several servers; None: nobody told any."""
    if not told:
        return None
    use = {name: sum(one.get(name) or 0 for one in told) for name in ("requests", "refused", "tokens_in", "tokens_out")}
    return {**use, "last_used": max((one.get("last_used") or 0 for one in told), default=0) or None}


def add_key(row: Resource, given: dict[str, Any], actor: User) -> tuple[str, dict[str, Any]]:
    """Its text, which is shown this once, and what is kept of it. LinkError."""
    check(row, "keys")
    permit(actor, row)
    text, key = apikeys.make(given.get("name"), given.get("requests_per_minute"), given.get("tokens_per_minute"),
                             actor.name)
    keyring.add(_places(row), key)
    log.info("%s added the API key '%s' to %s.", actor.name, key["name"], row.name)
    return text, key


def spread_keys(row: Resource, actor: User) -> int:
    """How many keys servers were given that others have. LinkError."""
    check(row, "keys")
    permit(actor, row)
    copied = keyring.spread(_places(row))
    log.info("%s copied API keys of %s to servers that lacked them: %d.", actor.name, row.name, copied)
    return copied


def revoke_key(row: Resource, name: str, actor: User) -> None:
    """LinkError; keyring.Half: it still works on a server that could not be reached."""
    check(row, "keys")
    permit(actor, row)
    try:
        keyring.revoke(_places(row), apikeys.name(name))
    except keyring.Half as wrong:
        log.info("%s revoked the API key '%s' of %s, not everywhere: %s", actor.name, name, row.name, wrong.message)
        raise
    log.info("%s revoked the API key '%s' of %s.", actor.name, name, row.name)


def chat(row: Resource, asked: dict[str, Any], actor: User, server_id: int) -> Iterator[list[Any] | None]:
    """The pieces of an answer, as `panel.link.talk`. LinkError."""
    check(row, "chat")
    permit(actor, row)
    return talk.chat(row.id, asked, server_id)


def measure(row: Resource, wanted: dict[str, Any], actor: User, server_id: int) -> Iterator[list[Any] | None]:
    check(row, "chat")
    permit(actor, row)
    return talk.measure(row.id, wanted, server_id)


def events(pieces: Iterator[list[Any] | None]) -> Iterator[str]:
    """As server-sent events: text, thought, row, note, done; `error` says why nothing more comes."""
    try:
        for piece in pieces:
            if piece and piece[0] == "done":
                piece = ["done", {**piece[1], "words": chats.in_words(piece[1])}]
            yield f"event: {piece[0]}\ndata: {json.dumps(piece[1])}\n\n" if piece else ": still here\n\n"
    except client.LinkError as wrong:
        yield f"event: error\ndata: {json.dumps(wrong.message)}\n\n"


def span(text: str) -> timedelta | None:
    """30m, 6h; None: it is none."""
    found = _SPAN.fullmatch(text)
    return int(found[1]) * _UNIT[found[2]] if found else None
