"""A package cache on the bridge, for apt, pip and uv of the servers: what one server fetched, all get at once.

It is a forward proxy for apt (http only) and a mirror of this host's Python index. Only files that can never change
are kept: Debian packages, lists by hash, and Python files, whose addresses hold their hash or version. Index pages
are kept for ten minutes, and served when old rather than not at all.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import socket
import ssl
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from email.message import Message
from http.client import HTTPException, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from pathlib import Path
from typing import IO

from sandbox import host
from sandbox.errors import SandboxError
from sandbox.shelf import Shelf

PORT = 3142
ROLE = "packages"
PAGE_AGE = 600
PASSED_ON = ("Content-Type", "Last-Modified", "ETag", "Cache-Control")
# Where neither pip nor uv on this host is set to another index.
PYPI = "https://pypi.org/simple/"


def never_changes(url: str) -> bool:
    """Whether what lies at this address can be kept for ever."""
    path = urllib.parse.urlsplit(url).path
    return path.endswith((".deb", ".whl", ".whl.metadata", ".tar.gz", ".zip")) or "/by-hash/" in path


def mirrored_index(settings: Mapping[str, str]) -> str | None:
    """The Python index to mirror for servers; None where it needs a password and pip must ask it itself."""
    index = settings.get("index-url", PYPI)
    parts = urllib.parse.urlsplit(index)
    if parts.scheme not in ("http", "https") or "@" in parts.netloc or "no-index" in settings:
        return None
    return index.rstrip("/") + "/"


def file_path(url: str) -> str:
    """The path under which this cache offers a file of another site; real_url() is its inverse."""
    parts = urllib.parse.urlsplit(url)
    rest = urllib.parse.urlunsplit(("", "", parts.path, parts.query, parts.fragment))
    return f"/file/{parts.scheme}/{parts.netloc}{rest}"


def real_url(path: str) -> str | None:
    found = re.fullmatch(r"/file/(https?)/([^/]+)(/.*)", path)
    return f"{found[1]}://{found[2]}{found[3]}" if found else None


def localise(page: bytes, kind: str, base: str) -> bytes:
    """An index page whose files are fetched through this cache; `base` is where the page came from."""
    if "json" in kind:
        project = json.loads(page)
        for file in project.get("files", []):
            file["url"] = file_path(urllib.parse.urljoin(base, file["url"]))
        return json.dumps(project).encode()
    return re.sub(rb'href="([^"]+)"', lambda found: b'href="' + file_path(
        urllib.parse.urljoin(base, found[1].decode())).encode() + b'"', page)


class Handler(BaseHTTPRequestHandler):
    """One request of a server: from the shelf, else from where it lies."""

    protocol_version = "HTTP/1.1"
    shelf: Shelf
    index: str | None

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        if self.path.startswith("http://"):
            self.give(self.path)
        elif url := real_url(self.path):
            self.give(url)
        elif self.index and (found := re.fullmatch(r"/simple/([A-Za-z0-9._-]+)/?", self.path)):
            self.give_page(f"{self.index}{found[1]}/")
        else:
            self.send_error(404, "This cache serves apt as a proxy, and Python projects under /simple/")

    def give(self, url: str) -> None:
        if never_changes(url) and (path := self.shelf.find(url)):
            self.send_file(path)
        else:
            self.fetch(url)

    def fetch(self, url: str) -> None:
        asked = {name: self.headers[name] for name in ("If-Modified-Since", "Range", "If-Range", "Accept")
                 if name in self.headers}
        try:
            with open_url(url, asked, self.command) as answer:
                self.pass_on(url, answer)
        except urllib.error.HTTPError as refusal:
            self.answer(refusal.code, kept(refusal.headers), b"")
        except (OSError, HTTPException) as error:
            self.fail(url, error)

    def pass_on(self, url: str, answer: HTTPResponse) -> None:
        """Send what arrives while it arrives, and keep it if it came whole and never changes."""
        headers = kept(answer.headers)
        length = answer.headers["Content-Length"]
        self.send_response(answer.status)
        for name, value in headers.items():
            self.send_header(name, value)
        for name in ("Content-Length", "Content-Range"):
            if answer.headers[name]:
                self.send_header(name, answer.headers[name])
        if length is None:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command == "GET":
            self.pass_body(url, answer, headers, None if length is None else int(length))

    def pass_body(self, url: str, answer: HTTPResponse, headers: dict[str, str], length: int | None) -> None:
        with tempfile.NamedTemporaryFile(dir=self.shelf.directory, suffix=".half", delete=False) as half:
            try:
                last = b""
                while block := answer.read(1 << 17):
                    half.write(block)
                    self.wfile.write(last)
                    last = block
                half.flush()
                whole = half.tell() == length
                if whole and answer.status == 200 and never_changes(url):
                    self.shelf.keep(url, Path(half.name), headers)
                # Only now: whoever has all of it finds it kept.
                self.wfile.write(last)
                self.close_connection |= not whole
            except (OSError, HTTPException) as error:
                # The answer has begun, so there is no other way to say that it is cut short.
                self.log_message("%s: %s", url, error)
                self.close_connection = True
            finally:
                Path(half.name).unlink(missing_ok=True)

    def give_page(self, url: str) -> None:
        accept = self.headers.get("Accept", "text/html")
        key = f"{url} {accept}"
        try:
            self.send_file(self.shelf.find(key, PAGE_AGE) or self.fetch_page(url, accept, key))
        except urllib.error.HTTPError as refusal:
            self.answer(refusal.code, {}, b"")
        except (OSError, HTTPException, ValueError) as error:
            if old := self.shelf.find(key):
                self.send_file(old)
            else:
                self.fail(url, error)

    def fetch_page(self, url: str, accept: str, key: str) -> Path:
        with open_url(url, {"Accept": accept}) as answer:
            page = localise(answer.read(), answer.headers["Content-Type"] or "", answer.url)
            headers = {"Content-Type": answer.headers["Content-Type"] or "text/html"}
        with tempfile.NamedTemporaryFile(dir=self.shelf.directory, suffix=".half", delete=False) as half:
            half.write(page)
        return self.shelf.keep(key, Path(half.name), headers)

    def send_file(self, path: Path) -> None:
        headers = self.shelf.headers(path)
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            first, last = wanted_range(self.headers["Range"], size) or (0, size - 1)
            self.send_response(206 if last - first + 1 < size else 200)
            for name, value in {**headers, "Accept-Ranges": "bytes", "Content-Length": str(last - first + 1)}.items():
                self.send_header(name, value)
            if last - first + 1 < size:
                self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
            self.end_headers()
            if self.command == "GET":
                file.seek(first)
                send(file, self.wfile, last - first + 1)

    def fail(self, url: str, error: Exception) -> None:
        self.log_message("%s: %s", url, error)
        self.answer(502, {"Content-Type": "text/plain"}, f"{url} cannot be reached: {error}\n".encode())

    def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Only failures are worth a line."""


def kept(headers: Message) -> dict[str, str]:
    return {name: headers[name] for name in PASSED_ON if headers[name]}


def wanted_range(header: str | None, size: int) -> tuple[int, int] | None:
    """The first and last byte that a Range header asks for; None where the whole file may be sent instead."""
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", header or "")
    if not found or not (found[1] or found[2]):
        return None
    if not found[1]:
        return max(0, size - int(found[2])), size - 1
    first, last = int(found[1]), min(int(found[2] or size - 1), size - 1)
    return (first, last) if first <= last else None


def send(source: IO[bytes], target: BufferedIOBase, length: int) -> None:
    while length > 0 and (block := source.read(min(length, 1 << 18))):
        target.write(block)
        length -= len(block)


def open_url(url: str, headers: dict[str, str], method: str = "GET") -> HTTPResponse:
    """Ask another site; callers give http and https addresses only. Raises OSError, HTTPError, HTTPException."""
    trust = ssl.create_default_context(cafile=str(host.BUNDLE) if host.BUNDLE.exists() else None)
    asked = urllib.request.Request(url, headers=headers, method=method)  # noqa: S310
    answer: HTTPResponse = urllib.request.urlopen(asked, timeout=60, context=trust)  # noqa: S310
    return answer


def main() -> None:
    parser = argparse.ArgumentParser(prog="python3 -m sandbox.packages", description=__doc__)
    parser.add_argument("address")
    parser.add_argument("directory", type=Path)
    options = parser.parse_args()
    Handler.shelf = Shelf(options.directory)
    Handler.shelf.clear_unused()
    Handler.index = mirrored_index(host.pip_settings())
    try:
        ThreadingHTTPServer((options.address, PORT), Handler).serve_forever()
    except (OSError, socket.gaierror) as error:
        raise SandboxError(f"The package cache cannot listen at {options.address}:{PORT}: {error}") from error


if __name__ == "__main__":
    main()
