"""What the gate itself says, in the form that clients of OpenAI's API read, and for pages of other sites (CORS)."""

from __future__ import annotations

import json
import re
from typing import Any

from aiohttp import web

_TYPES = {400: "invalid_request_error", 401: "invalid_request_error", 404: "invalid_request_error",
          405: "invalid_request_error", 408: "invalid_request_error", 413: "invalid_request_error",
          415: "invalid_request_error", 429: "rate_limit_error"}
_HEADER_NAMES = re.compile(r"[A-Za-z0-9-]{1,64}(?:\s*,\s*[A-Za-z0-9-]{1,64}){0,30}")


class Refused(Exception):
    """A request that goes no further; `status` and the rest are the answer."""

    def __init__(self, status: int, code: str, message: str, retry_after: int = 0) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.retry_after = status, code, message, retry_after


def error(code: str, message: str, status: int) -> dict[str, Any]:
    return {"error": {"message": message, "type": _TYPES.get(status, "server_error"), "param": None, "code": code}}


def refusal(wrong: Refused) -> web.Response:
    headers = {"Cache-Control": "no-store"}
    if wrong.retry_after:
        headers["Retry-After"] = str(wrong.retry_after)
    if wrong.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return web.json_response(error(wrong.code, wrong.message, wrong.status), status=wrong.status, headers=headers)


def broken_off(wrong: Refused) -> bytes:
    """The last event of a stream that cannot go on."""
    return b"data: " + json.dumps(error(wrong.code, wrong.message, wrong.status)).encode() + b"\n\n"


def preflight(request: web.Request) -> web.Response:
    """May a page of another site ask? What it may is in the headers that `let_in` adds."""
    wanted = request.headers.get("Access-Control-Request-Headers", "")
    names = wanted if _HEADER_NAMES.fullmatch(wanted) else "Authorization, Content-Type"
    return web.Response(status=204, headers={"Access-Control-Allow-Methods": "GET, POST",
                                             "Access-Control-Allow-Headers": names,
                                             "Access-Control-Max-Age": "600"})


def let_in(request: web.Request, origins: list[str], headers: Any) -> None:
    """Pages of these origins may read the answer."""
    if not origins:
        return
    headers["Vary"] = "Origin"
    origin = request.headers.get("Origin", "")
    if "*" in origins:
        headers["Access-Control-Allow-Origin"] = "*"
    elif origin in origins:
        headers["Access-Control-Allow-Origin"] = origin
    if "Access-Control-Allow-Origin" in headers:
        headers["Access-Control-Expose-Headers"] = "Retry-After, X-Request-Id"
