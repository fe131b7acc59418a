"""Git repositories of this machine, served to the sandbox's servers over https.

Repositories are read only. One with a user and a password is private, as with a deploy token.
Run as a program, this module is that server: git http-backend behind TLS. What a repository keeps in Git LFS (in its
lfs/objects) is given out as well.
"""

from __future__ import annotations

import argparse
import base64
import hmac
import json
import os
import re
import socket
import ssl
import subprocess
import sys
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from sandbox import authority, network, process
from sandbox.errors import SandboxError
from sandbox.place import REPOSITORY, Place

NAME = "git.sandbox.test"
ROLE = "git"
# The usual port makes usual addresses; the second serves where this machine has a web server of its own.
PORTS = (443, 8443)
LARGE = re.compile(r"/(?P<repository>[^/]+\.git)/(?:info/lfs/objects/batch|lfs/(?P<object>[0-9a-f]{64}))")


def start(place: Place) -> str:
    """Start the git server of this sandbox, or find it running; returns its address, https://git.sandbox.test.

    Its certificate is from authority.root(): a server must trust that. Raises SandboxError if it does not listen.
    """
    gateway = network.ensure(place).gateway
    directory = place.state / "git"
    (directory / "repositories").mkdir(parents=True, exist_ok=True)
    if not process.find(place, ROLE):
        certificate, key = authority.certificate(place, (NAME, gateway))
        port = next((port for port in PORTS if is_free(gateway, port)), PORTS[-1])
        (directory / "port").write_text(str(port))
        process.start(place, ROLE, [sys.executable, "-m", "sandbox.gitserver", gateway, str(port), str(directory),
                                    str(certificate), str(key)], directory / "log", cwd=REPOSITORY)
    port = int((directory / "port").read_text())
    wait_listening(place, gateway, port)
    return f"https://{NAME}" + ("" if port == PORTS[0] else f":{port}")


def is_free(address: str, port: int) -> bool:
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((address, port))
        except OSError:
            return False
    return True


def wait_listening(place: Place, address: str, port: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.find(place, ROLE):
        try:
            socket.create_connection((address, port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise SandboxError(f"The git server does not listen at {address}:{port}; see {place.state / 'git' / 'log'}.")


def publish(place: Place, repository: Path, name: str, user: str = "", password: str = "") -> str:
    """Serve a local repository (bare or with a work tree) under this name; returns its https address.

    With a user and a password only they may read it. Raises SandboxError where there is no repository.
    """
    found = next((path for path in (repository / ".git", repository) if (path / "HEAD").is_file()), None)
    if not found:
        raise SandboxError(f"{repository} is no git repository: `git init` it first.")
    address = start(place)
    directory = place.state / "git" / "repositories"
    secret = directory / f"{name}.secret"
    secret.unlink(missing_ok=True)
    if user:
        secret.touch(mode=0o600)
        secret.write_text(f"{user}:{password}")
    link = directory / f"{name}.git"
    link.unlink(missing_ok=True)
    link.symlink_to(found.resolve())
    return f"{address}/{name}.git"


def stop(place: Place) -> None:
    """Stop the git server. Nothing happens where it does not run."""
    process.stop(place, ROLE)


class Handler(BaseHTTPRequestHandler):
    """One request of a git client, answered by git http-backend."""

    protocol_version = "HTTP/1.1"
    repositories: Path

    def do_GET(self) -> None:
        self.serve(b"")

    def do_POST(self) -> None:
        self.serve(self.body())

    def serve(self, body: bytes) -> None:
        parts = urllib.parse.urlsplit(self.path)
        if ".." in parts.path:
            self.send_error(400)
        elif not self.allowed(parts.path.split("/")[1]):
            self.refuse()
        elif large := LARGE.fullmatch(parts.path):
            self.answer_large(large["repository"], large["object"], body)
        else:
            self.answer(parts, body)

    def answer(self, parts: urllib.parse.SplitResult, body: bytes) -> None:
        done = subprocess.run(["git", "http-backend"], input=body, capture_output=True, check=False,
                              env=self.environment(parts.path, parts.query))
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line)
        self.send_response(int(headers.pop("Status", "200").split()[0]))
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def answer_large(self, repository: str, wanted: str | None, body: bytes) -> None:
        """Where large files are to be had, or one of them."""
        if wanted:
            objects = self.repositories / repository / "lfs" / "objects"
            self.say("application/octet-stream", (objects / wanted[:2] / wanted[2:4] / wanted).read_bytes())
            return
        place = f"https://{self.headers['Host']}/{repository}/lfs"
        told = [{**one, "actions": {"download": {"href": f"{place}/{one['oid']}"}}}
                for one in json.loads(body)["objects"]]
        self.say("application/vnd.git-lfs+json", json.dumps({"transfer": "basic", "objects": told}).encode())

    def say(self, sort: str, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", sort)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def allowed(self, repository: str) -> bool:
        secret = self.repositories / f"{repository.removesuffix('.git')}.secret"
        if not secret.exists():
            return True
        wanted = "Basic " + base64.b64encode(secret.read_bytes()).decode()
        return hmac.compare_digest(wanted, self.headers.get("Authorization", ""))

    def refuse(self) -> None:
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="sandbox"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def environment(self, path: str, query: str) -> dict[str, str]:
        # The repositories may belong to whoever works on them, not to root: git must be told that this is meant.
        given = {"GIT_PROJECT_ROOT": str(self.repositories), "GIT_HTTP_EXPORT_ALL": "1", "PATH_INFO": path,
                 "QUERY_STRING": query, "REQUEST_METHOD": self.command, "REMOTE_ADDR": self.client_address[0],
                 "CONTENT_TYPE": self.headers.get("Content-Type", ""), "PATH": os.environ.get("PATH", ""),
                 "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*",
                 process.MARK: os.environ.get(process.MARK, "")}
        for header, variable in (("Content-Encoding", "HTTP_CONTENT_ENCODING"), ("Git-Protocol", "GIT_PROTOCOL")):
            if header in self.headers:
                given[variable] = self.headers[header]
        return given

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Only failures are worth a line."""


class Server(ThreadingHTTPServer):
    """TLS is agreed on in the connection's own thread: a silent client keeps nobody waiting."""

    daemon_threads = True
    context: ssl.SSLContext

    def finish_request(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
        assert isinstance(request, socket.socket)
        request.settimeout(60)
        try:
            with self.context.wrap_socket(request, server_side=True) as secured:
                super().finish_request(secured, client_address)
        except (ssl.SSLError, ConnectionError, TimeoutError) as error:
            sys.stderr.write(f"{client_address}: {error}\n")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python3 -m sandbox.gitserver", description=__doc__)
    parser.add_argument("address")
    parser.add_argument("port", type=int)
    parser.add_argument("directory", type=Path)
    parser.add_argument("certificate")
    parser.add_argument("key")
    options = parser.parse_args()
    Handler.repositories = options.directory / "repositories"
    Server.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    Server.context.load_cert_chain(options.certificate, options.key)
    Server((options.address, options.port), Handler).serve_forever()


if __name__ == "__main__":
    main()
