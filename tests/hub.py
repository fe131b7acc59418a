"""A small hub of models on loopback, because no real one is asked in tests. It speaks the hub's own paths: what is
known of a model and its files, each file at a commit, ranges, digests, redirects of large files to another address,
tokens, gated and private models, and the codes of its refusals (X-Error-Code)."""

from __future__ import annotations

import hashlib
import json
import re
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LARGE = (".safetensors", ".bin")


@dataclass
class Repository:
    files: dict[str, bytes]
    commit: str = COMMIT
    gated: bool = False
    private: bool = False
    revisions: tuple[str, ...] = ("main",)
    #: Files of earlier commits.
    before: dict[str, dict[str, bytes]] = field(default_factory=dict)


@dataclass
class Hub:
    """What it holds, and what it was asked."""

    repositories: dict[str, Repository] = field(default_factory=dict)
    #: Token -> whether its owner was let in to gated models.
    tokens: dict[str, bool] = field(default_factory=dict)
    #: Method, path, headers by names in lower case.
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    #: After so many bytes of a large file the connection breaks, as often as said.
    breaks_after: int = 0
    breaks: int = 0
    #: Bytes per second of large files; 0 is as fast as it goes.
    slow: int = 0
    address: str = ""
    #: Where large files come from: another name, as they come from another host.
    large: str = ""


class _Refusal(Exception):
    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_GET(self) -> None:
        self._serve(whole=True)

    def do_HEAD(self) -> None:
        self._serve(whole=False)

    def _serve(self, whole: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append((self.command, path, {name.lower(): value for name, value in self.headers.items()}))
        try:
            if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/revision/(.+)", path):
                self._json(self._about(found[1], found[2]))
            elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/([^/]+)/?", path):
                self._json(self._tree(found[1], found[2]))
            elif found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
                self._file(found[1], found[2], found[3], whole)
            elif found := re.fullmatch(r"/large/([^/]+/[^/]+)/(.+)", path):
                self._bytes(self.hub.repositories[found[1]].files[found[2]], whole, {})
            else:
                raise _Refusal(404, "", "Not found")
        except _Refusal as wrong:
            self._answer(wrong.status, b"" if not whole else json.dumps({"error": str(wrong)}).encode(),
                         {"X-Error-Message": str(wrong), **({"X-Error-Code": wrong.code} if wrong.code else {})})
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _token(self) -> str:
        return self.headers.get("Authorization", "").removeprefix("Bearer ")

    def _repository(self, name: str, revision: str) -> Repository:
        token = self._token()
        if token and token not in self.hub.tokens:
            raise _Refusal(401, "", "Invalid credentials in Authorization header")
        one = self.hub.repositories.get(name)
        if one is None or (one.private and not token):
            # Who may not see a model is not told whether there is one.
            raise _Refusal(404 if token else 401, "RepoNotFound", "Repository not found")
        if revision in one.before:
            return replace(one, files=one.before[revision], commit=revision)
        if revision not in (*one.revisions, one.commit):
            raise _Refusal(404, "RevisionNotFound", "Invalid rev id: " + revision)
        return one

    def _about(self, name: str, revision: str) -> dict[str, Any]:
        one = self._repository(name, revision)
        return {"id": name, "modelId": name, "sha": one.commit, "gated": "manual" if one.gated else False,
                "private": one.private, "tags": [], "downloads": 0,
                "siblings": [_sibling(path, content) for path, content in one.files.items()]}

    def _tree(self, name: str, revision: str) -> list[dict[str, Any]]:
        one = self._repository(name, revision)
        return [{"type": "file", "path": path, "oid": _digest(content)[:40], "size": len(content)}
                for path, content in one.files.items()]

    def _file(self, name: str, revision: str, path: str, whole: bool) -> None:
        one = self._repository(name, revision)
        if one.gated and not self.hub.tokens.get(self._token()):
            raise _Refusal(403 if self._token() else 401, "GatedRepo", f"Access to model {name} is restricted.")
        if path not in one.files:
            raise _Refusal(404, "EntryNotFound", "Entry not found")
        content = one.files[path]
        headers = {"X-Repo-Commit": one.commit, "ETag": f'"{_digest(content)}"', "Accept-Ranges": "bytes"}
        if path.endswith(LARGE):
            # The token has no business there.
            self._answer(302, b"", {**headers, "X-Linked-Etag": f'"{_digest(content)}"',
                                    "X-Linked-Size": str(len(content)),
                                    "Location": f"{self.hub.large}/large/{name}/{path}"})
        else:
            self._bytes(content, whole, headers)

    def _bytes(self, content: bytes, whole: bool, headers: dict[str, str]) -> None:
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        start = int(wanted[1]) if wanted else 0
        end = int(wanted[2]) + 1 if wanted and wanted[2] else len(content)
        part = content[start:end]
        more = {"Content-Range": f"bytes {start}-{start + len(part) - 1}/{len(content)}"} if wanted else {}
        self._answer(206 if wanted else 200, part if whole else b"", {
            "ETag": f'"{_digest(content)}"', "Accept-Ranges": "bytes", **headers, **more,
            "Content-Length": str(len(part))})

    def _json(self, said: Any) -> None:
        self._answer(200, json.dumps(said).encode(), {"Content-Type": "application/json"})

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        large = "/large/" in self.path
        if large and self.hub.breaks and len(body) > self.hub.breaks_after:
            self.hub.breaks -= 1
            self.wfile.write(body[:self.hub.breaks_after])
            self.wfile.flush()
            self.close_connection = True
            return
        step = max(1, self.hub.slow // 10) if large and self.hub.slow else len(body) or 1
        for place in range(0, len(body), step):
            self.wfile.write(body[place:place + step])
            if step < len(body):
                self.wfile.flush()
                threading.Event().wait(0.1)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the name is the library's
        pass


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _sibling(path: str, content: bytes) -> dict[str, Any]:
    found: dict[str, Any] = {"rfilename": path, "size": len(content), "blobId": _digest(content)[:40]}
    if path.endswith(LARGE):
        found["lfs"] = {"sha256": _digest(content), "size": len(content), "pointerSize": 135}
    return found


@contextmanager
def running(host: str = "127.0.0.1", names: tuple[str, str] = ("127.0.0.1", "localhost"),
            certificate: tuple[Path, Path] | None = None) -> Iterator[Hub]:
    """On this address, with these two names; with a certificate and its key over TLS."""
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    with ThreadingHTTPServer((host, 0), handler) as server:
        server.daemon_threads = True
        if certificate:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(*certificate)
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        hub.address, hub.large = (f"http{'s' if certificate else ''}://{name}:{server.server_address[1]}"
                                  for name in names)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()
