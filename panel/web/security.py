"""What holds for every request: where forms may come from, what a browser may load, how large a body may be."""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import Flask, Response, request
from flask_wtf import CSRFProtect

from panel.settings import Settings, settings
from panel.web import tokens

csrf = CSRFProtect()

_POLICY = "; ".join((
    "default-src 'self'", "script-src 'self'", "style-src 'self'", "img-src 'self'", "connect-src 'self'",
    "object-src 'none'", "base-uri 'none'", "frame-ancestors 'none'", "form-action 'self'"))
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
_SAFE = ("GET", "HEAD", "OPTIONS")


class ForeignOrigin(Exception):
    """A form that was not sent by a page of this panel."""

    def __init__(self) -> None:
        self.message = ("This form was not sent from this panel, so nothing was done. "
                        f"Open {settings().base_url} and try it there.")
        super().__init__(self.message)


class TokenInAddress(Exception):
    """A token in a query string ends up in logs and histories."""

    message = "A token never belongs into an address. Send it as 'Authorization: Bearer wo_…', and revoke this one."


def _origin(address: str) -> str:
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc}".lower()


def _check_origin() -> None:
    """Beside the token in each form: browsers say where a request comes from, and pages cannot forge that."""
    if request.method in _SAFE:
        return
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        if site not in ("same-origin", "none"):
            raise ForeignOrigin
        return
    origin = request.headers.get("Origin")
    if origin is not None and origin.lower() not in (_origin(settings().base_url), _origin(request.host_url)):
        raise ForeignOrigin


def _check_address() -> None:
    for values in request.args.listvalues():
        if any(tokens.looks_like_one(value) for value in values):
            raise TokenInAddress


def _add_headers(response: Response) -> Response:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    if settings().base_url.startswith("https://"):
        response.headers.setdefault("Strict-Transport-Security", "max-age=31536000")
    response.headers.setdefault("Cache-Control", "no-store")
    return response


def init(app: Flask, _settings: Settings) -> None:
    app.config.update(MAX_CONTENT_LENGTH=1024 * 1024, MAX_FORM_MEMORY_SIZE=1024 * 1024, MAX_FORM_PARTS=2000,
                      WTF_CSRF_TIME_LIMIT=None, WTF_CSRF_SSL_STRICT=False)  # the origin is checked above
    app.before_request(_check_address)
    app.before_request(_check_origin)
    csrf.init_app(app)
    app.after_request(_add_headers)
