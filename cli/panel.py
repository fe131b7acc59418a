"""The panel as the command line sees it: its API, with refusals turned into words and exit codes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from cli import config
from cli.exits import Exit, Stop

if TYPE_CHECKING:
    import requests

#: Connect quickly or say so; a stream is silent for at most 15 s (its ping), so 60 s of silence is a lost line.
TIMEOUT = (10, 60)


class Gone(Exception):
    """The line to the panel broke in the middle of a stream; asking again from the last event is right."""


class Panel:
    """One panel, by its address and a token. Every method raises Stop with words for a person."""

    def __init__(self, url: str, token: str = "", ca: str = "") -> None:
        self.url = url.rstrip("/")
        self._token = token
        self._ca = ca
        self._session: requests.Session | None = None

    def another(self) -> Panel:
        """The same panel by a connection of its own, for another thread."""
        return Panel(self.url, self._token, self._ca)

    def get(self, path: str, **query: Any) -> Any:
        return self._json("GET", path, query=query)

    def post(self, path: str, body: Any = None) -> Any:
        return self._json("POST", path, body={} if body is None else body)

    def put(self, path: str, body: Any) -> Any:
        return self._json("PUT", path, body=body)

    def patch(self, path: str, body: Any) -> Any:
        return self._json("PATCH", path, body=body)

    def delete(self, path: str) -> Any:
        return self._json("DELETE", path)

    def lines(self, path: str, **query: Any) -> Iterator[str]:
        """A text stream, line by line, until the panel ends it."""
        with self._answer("GET", path, query=query, stream=True) as answer:
            for line in _read(answer):
                yield line.decode("utf-8", "replace")

    def events(self, path: str, after: int = 0, body: Any = None) -> Iterator[tuple[str, Any]]:
        """A stream of server-sent events as (event, data), or the answer to `body` as one. Gone: the line broke."""
        headers = {"Last-Event-ID": str(after), "Accept": "text/event-stream"}
        method = "GET" if body is None else "POST"
        with self._answer(method, path, body=body, headers=headers, stream=True) as answer:
            name, data = "message", ""
            for raw in _read(answer):
                line = raw.decode()
                if not line and data:
                    yield name, json.loads(data)
                if not line:
                    name, data = "message", ""
                elif line.startswith("event:"):
                    name = line[6:].strip()
                elif line.startswith("data:"):
                    data += line[5:].lstrip()

    def _json(self, method: str, path: str, *, query: Any = None, body: Any = None) -> Any:
        answer = self._answer(method, path, query=query, body=body)
        return answer.json() if answer.content else None

    def _answer(self, method: str, path: str, *, query: Any = None, body: Any = None,
                headers: dict[str, str] | None = None, stream: bool = False) -> requests.Response:
        import requests

        asked = {key: value for key, value in (query or {}).items() if value not in (None, False)}
        try:
            answer = self._connection().request(
                method, f"{self.url}/api/v1{path}", params=asked, json=body, headers=headers, stream=stream,
                timeout=TIMEOUT, allow_redirects=False)
        except requests.exceptions.SSLError as wrong:
            raise Stop(f"The certificate of {self.url} is not trusted: {_reason(wrong)}.", Exit.UNREACHABLE,
                       next_step="webops login URL --ca FILE trusts a certificate of your own") from None
        except requests.exceptions.RequestException as wrong:
            raise Stop(f"The panel at {self.url} does not answer: {_reason(wrong)}.", Exit.UNREACHABLE,
                       next_step="see whether it runs (webops doctor on its machine), then try again") from None
        if answer.status_code >= 300:
            raise _refusal(answer, self.url)
        return answer

    def _connection(self) -> requests.Session:
        import requests

        if self._session is None:
            self._session = requests.Session()
            # A proxy of the environment cannot reach this machine's own loopback.
            self._session.trust_env = urlsplit(self.url).hostname not in ("127.0.0.1", "::1", "localhost")
            self._session.headers["User-Agent"] = "webops/1"
            self._session.auth = self._sign  # also keeps a .netrc from replacing the token
            if self._ca:
                self._session.verify = self._ca
        return self._session

    def _sign(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def _read(answer: requests.Response) -> Iterator[bytes]:
    """Lines as they come. One byte at a time would wait for nothing, but read1 of the raw stream is cheaper."""
    import requests
    import urllib3

    rest = b""
    try:
        for chunk in answer.raw.stream(amt=None, decode_content=True) if answer.raw.chunked else answer.iter_content(1):
            *whole, rest = (rest + chunk).split(b"\n")
            yield from (line.rstrip(b"\r") for line in whole)
    except (urllib3.exceptions.HTTPError, requests.exceptions.RequestException, OSError) as wrong:
        raise Gone(str(wrong)) from None
    if rest:
        yield rest


def _reason(wrong: Exception) -> str:
    """The last words of a chain of exceptions, without the addresses of Python objects."""
    root: BaseException = wrong
    while root.__context__ is not None or root.__cause__ is not None:
        root = root.__cause__ or root.__context__ or root
    return str(getattr(root, "strerror", None) or root).split(": ", 1)[-1].rstrip(".") or type(root).__name__


def _refusal(answer: requests.Response, url: str) -> Stop:
    """What the panel said, for a person."""
    try:
        problem = answer.json()
        title, detail = str(problem.get("title", "")), str(problem.get("detail", ""))
        problems = [(str(one.get("field", "")), str(one.get("message", ""))) for one in problem.get("errors", [])]
        code, next_step = str(problem.get("code", "")), str(problem.get("next", ""))
    except (ValueError, AttributeError):
        return Stop(f"{url} answered {answer.status_code} in words that WebOps does not speak.", Exit.UNREACHABLE,
                    next_step="check that this is the address of a WebOps panel")
    return Stop(title if problems else detail or title, _exit_of(answer.status_code), problems=problems, code=code,
                next_step=next_step)


def _exit_of(status: int) -> Exit:
    if status == 401:
        return Exit.SIGNED_OUT
    return Exit.REFUSED if status < 500 else Exit.UNREACHABLE


@cache
def panel() -> Panel:
    """The panel that this person is signed in to."""
    login = config.load()
    return Panel(login.url, login.token, login.ca)


def part(name: str) -> str:
    """A name as one part of a path. Stop: no name is made so, and the path would be another one."""
    if name in ("", ".", "..") or "/" in name:
        raise Stop(f"'{name}' cannot be a name: no name is empty, has a slash or is made of dots alone.", Exit.REFUSED,
                   next_step="`webops list` and `webops server list` show those there are", code="invalid_name")
    return quote(name, safe="")
