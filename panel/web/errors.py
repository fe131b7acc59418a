"""The one place where what went wrong becomes an answer: a page for people, problem+json (RFC 9457) for programs."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from flask import Flask, Response, jsonify, redirect, render_template, request, url_for
from flask_wtf.csrf import CSRFError
from sqlalchemy.exc import OperationalError
from werkzeug.exceptions import HTTPException, NotFound
from werkzeug.wrappers import Response as AnyResponse

from panel.catalog import NoSuchKind, Problem, Refused
from panel.link.client import LinkDown, LinkError
from panel.runs.errors import RunsError
from panel.store.seal import SecretContextError
from panel.web.auth import NotAllowed, SignInNeeded, WrongPassword
from panel.web.limits import CannotCount, TooManyTries
from panel.web.security import ForeignOrigin, TokenInAddress
from panel.web.sse import InvalidEventId, TooManyStreams

_log = logging.getLogger("webops.web")


@dataclass(frozen=True)
class Trouble:
    """What the answer says."""

    status: int
    code: str
    title: str
    detail: str
    errors: Sequence[Problem] = field(default_factory=tuple)
    headers: dict[str, str] = field(default_factory=dict)


class Gone(Exception):
    """There is no such thing (any more); `message` names it."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


def _of_runs(wrong: RunsError) -> Trouble:
    status = {"not_found": 404, "unknown": 404, "unknown_server": 404, "unknown_resource": 404}.get(wrong.code, 409)
    return Trouble(getattr(wrong, "status", status), wrong.code, "This cannot be done now", wrong.message)


def _of_refused(wrong: Refused) -> Trouble:
    many = f"{len(wrong.problems)} values" if len(wrong.problems) != 1 else "One value"
    return Trouble(422, "invalid_values", f"{many} cannot be used", str(wrong), wrong.problems)


def _of_http(wrong: HTTPException) -> Trouble:
    words = {404: ("not_found", "There is nothing here", "The address is wrong, or what it named was removed."),
             405: ("method_not_allowed", "This cannot be asked here", "The address exists, but not for this request."),
             413: ("body_too_large", "This is too large", "At most 1 MiB can be sent at once.")}
    status = wrong.code or 500
    code, title, detail = words.get(status, ("http_error", wrong.name, wrong.description or wrong.name))
    return Trouble(status, code, title, detail)


_CLOSED = ("The database does not answer. Nothing was changed. Try again in a moment; "
           "see the panel's log if it stays so.")
_WORDS: dict[type[Exception], tuple[int, str, str]] = {
    Gone: (404, "not_found", "There is nothing here"),
    NotAllowed: (403, "not_allowed", "This is not yours to do"),
    WrongPassword: (401, "wrong_password", "Not signed in"),
    TooManyTries: (429, "too_many_tries", "Too many tries"),
    CannotCount: (503, "queue_down", "Signing in is closed"),
    ForeignOrigin: (403, "foreign_origin", "This form came from elsewhere"),
    TokenInAddress: (400, "token_in_url", "A token in the address"),
    InvalidEventId: (400, "invalid_event_id", "This stream cannot begin there"),
    TooManyStreams: (429, "too_many_streams", "Too many live pages"),
    LinkDown: (503, "link_down", "The link does not answer"),
    LinkError: (502, "link_error", "The server could not be asked"),
    NoSuchKind: (404, "unknown_kind", "There is no such kind"),
    SecretContextError: (409, "sealed", "A secret cannot be opened"),
}


_OF_LINK = {
    "unknown_release": (404, "unknown_release", "There is no such release"),
    "unknown_key": (404, "unknown_key", "There is no such key"),
    "key_taken": (409, "key_taken", "This key is there already"),
    "no_keys": (409, "no_keys", "Nothing has keys there yet"),
    "keys_damaged": (409, "keys_damaged", "The keys cannot be changed now"),
}


def trouble(wrong: Exception) -> Trouble:
    """The answer to this exception; what nobody foresaw is logged and answered without its details."""
    if isinstance(wrong, RunsError):
        return _of_runs(wrong)
    if isinstance(wrong, Refused):
        return _of_refused(wrong)
    if isinstance(wrong, LinkError) and wrong.code.startswith("invalid_"):
        return Trouble(422, wrong.code, "This cannot be asked so", wrong.message)
    if isinstance(wrong, LinkError) and wrong.code in _OF_LINK:
        return Trouble(*_OF_LINK[wrong.code], wrong.message)
    if isinstance(wrong, CSRFError):
        return Trouble(400, "form_expired", "This form is out of date",
                       "Your session ended, or the page was open for long. Go back, reload it and send it again.")
    if isinstance(wrong, HTTPException):
        return _of_http(wrong)
    if isinstance(wrong, OperationalError):
        _log.exception("database")
        return Trouble(503, "database_down", "The database does not answer", _CLOSED)
    for kind, (status, code, title) in _WORDS.items():
        if isinstance(wrong, kind):
            return Trouble(status, code, title, getattr(wrong, "message", str(wrong)), headers=_headers(wrong))
    _log.exception("not foreseen")
    return Trouble(500, "internal", "Something went wrong here", "It was written to the panel's log. Nothing more is "
                   "known on this page; try again, and tell whoever runs this panel if it stays so.")


def _headers(wrong: Exception) -> dict[str, str]:
    return {"Retry-After": str(wrong.wait)} if isinstance(wrong, TooManyTries) else {}


def problem_json(what: Trouble) -> Response:
    """RFC 9457, as every error of the API looks."""
    body: dict[str, Any] = {"type": "about:blank", "title": what.title, "status": what.status, "detail": what.detail,
                            "code": what.code}
    if what.errors:
        body["errors"] = [{"field": one.parameter, "code": one.code, "message": one.message} for one in what.errors]
    answer = jsonify(body)
    answer.status_code = what.status
    answer.headers.update(what.headers)
    answer.content_type = "application/problem+json"
    return answer


def wants_json() -> bool:
    return request.path.startswith("/api/")


def _answer(wrong: Exception) -> AnyResponse | tuple[str, int, dict[str, str]]:
    what = trouble(wrong)
    if wants_json():
        return problem_json(what)
    return render_template("error.html", trouble=what), what.status, what.headers


def _ask_to_sign_in(wrong: SignInNeeded) -> AnyResponse:
    if wants_json():
        return problem_json(Trouble(401, "sign_in_needed", "Not signed in", wrong.message,
                                    headers={"WWW-Authenticate": 'Bearer realm="webops"'}))
    if request.headers.get("Sec-Fetch-Dest") == "empty" or request.accept_mimetypes.best == "text/event-stream":
        return Response(wrong.message, 401, mimetype="text/plain")  # a script asked; it says so on its page
    if request.method != "GET":
        return redirect(url_for("account.sign_in"), 303)
    return redirect(url_for("account.sign_in", next=request.full_path.rstrip("?")), 303)


def init(app: Flask) -> None:
    app.register_error_handler(SignInNeeded, _ask_to_sign_in)
    app.register_error_handler(Exception, _answer)


__all__ = ["Gone", "NotFound", "Trouble", "init", "problem_json", "trouble"]
