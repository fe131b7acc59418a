"""The gate as a process, in front of fake engines, with two sockets as systemd would pass them."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PROGRAM = ROOT / "roles" / "vllm_model" / "files" / "gate"
_START = """
import asyncio, importlib, json, socket, sys
sys.path.insert(0, sys.argv[1])
from service import serve
for module, given in json.loads(sys.argv[5]).items():
    vars(importlib.import_module(module)).update(given)
sockets = {name: socket.socket(fileno=int(number)) for name, number in zip(("gate", "desk"), sys.argv[3:5])}
asyncio.run(serve("chat", sockets, home=sys.argv[2], run=sys.argv[2], state=sys.argv[2]))
"""


class Gate:
    """`place` holds what is below /srv/webops/chat on a server. Short: a socket's path may have 107 letters.

    `constants` are other values for names of the gate's modules: {"health": {"_HUNG": 1}}.
    """

    def __init__(self, place: Path, **constants: dict[str, Any]) -> None:
        self.place, self._constants = place, constants
        for part in ("live", "env", *(f"webops-chat-{slot}" for slot in "ab")):
            (place / part).mkdir()
        self.front, self.desk = place / "gate.sock", place / "desk.sock"
        self._listening = [self._listen(self.front), self._listen(self.desk)]
        self._engines: dict[str, subprocess.Popen[bytes]] = {}
        self.process: subprocess.Popen[bytes] | None = None
        self.keys: list[dict[str, Any]] = []
        self.log = place / "gate.log"

    def _listen(self, path: Path) -> socket.socket:
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(str(path))
        listening.listen(128)
        return listening

    def start(self) -> None:
        numbers = [one.fileno() for one in self._listening]
        argv = [sys.executable, "-c", _START, str(PROGRAM), str(self.place), *map(str, numbers)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([*argv, json.dumps(self._constants)], pass_fds=numbers, stderr=log)

    def stop(self) -> None:
        if self.process:
            self.process.terminate()
            self.process.wait()

    def engine(self, slot: str = "a") -> None:
        path = self.engine_socket(slot)
        path.unlink(missing_ok=True)
        self._engines[slot] = subprocess.Popen([sys.executable, "-m", "tests.fake_engine", str(path)], cwd=ROOT)
        while not path.exists():
            assert self._engines[slot].poll() is None
            time.sleep(0.02)

    def kill_engine(self, slot: str = "a") -> None:
        self._engines[slot].kill()
        self._engines[slot].wait()

    def engine_socket(self, slot: str) -> Path:
        return self.place / f"webops-chat-{slot}" / "engine.sock"

    def point_to(self, slot: str) -> None:
        new = self.place / "live" / "sock.new"
        new.symlink_to(self.engine_socket(slot))
        new.replace(self.place / "live" / "sock")

    def key(self, name: str, **limits: int) -> str:
        """A new key, in the file from now on."""
        text = f"sk-wo-{name}{os.urandom(12).hex()}"
        self.keys.append({"name": name, "sha256": hashlib.sha256(text.encode()).hexdigest(), **limits})
        self.write_keys()
        return text

    def revoke(self, name: str) -> None:
        self.keys = [one for one in self.keys if one["name"] != name]
        self.write_keys()

    def write_keys(self) -> None:
        self.write("keys.json", {"keys": self.keys})

    def write(self, name: str, value: Any) -> None:
        new = self.place / "env" / f"{name}.new"
        new.write_text(json.dumps(value))
        new.replace(self.place / "env" / name)

    def close(self) -> None:
        self.stop()
        for slot in list(self._engines):
            self.kill_engine(slot)
        for one in self._listening:
            one.close()

    def ask(self, path: str, key: str = "", body: Any = None, *, method: str = "", door: str = "front",
            headers: dict[str, str] | None = None) -> Answer:
        """One request. At the desk without a key."""
        connection = Unix(self.desk if door == "desk" else self.front)
        sent = {"Authorization": f"Bearer {key}"} if key else {}
        if body is not None:
            sent["Content-Type"] = "application/json"
            body = body if isinstance(body, bytes) else json.dumps(body).encode()
        connection.request(method or ("GET" if body is None else "POST"), path, body, {**sent, **(headers or {})})
        return Answer(connection)

    def chat(self, key: str, words: str = "one two", **more: Any) -> Answer:
        return self.ask("/v1/chat/completions", key, {
            "model": "tiny", "messages": [{"role": "user", "content": words}], **more})

    def control(self, slot: str = "a", **wanted: Any) -> dict[str, Any]:
        """What the fake engine was told, and what it saw."""
        connection = Unix(self.engine_socket(slot))
        if wanted:
            connection.request("POST", "/control", json.dumps(wanted), {"Content-Type": "application/json"})
            return {"status": connection.getresponse().status}
        connection.request("GET", "/control")
        return dict(json.loads(connection.getresponse().read()))


class Unix(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("gate", timeout=30)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Answer:
    def __init__(self, connection: http.client.HTTPConnection) -> None:
        self.connection = connection
        self._answer = connection.getresponse()
        self.status, self.headers = self._answer.status, self._answer.headers

    def text(self) -> str:
        return self._answer.read().decode()

    def json(self) -> Any:
        return json.loads(self._answer.read())

    @property
    def code(self) -> str:
        return str(self.json()["error"]["code"])

    def events(self) -> Iterator[Any]:
        """Each event as it comes; "[DONE]" is the last of a whole stream."""
        for line in self._answer:
            if line.startswith(b"data: "):
                data = line[6:].strip()
                yield "[DONE]" if data == b"[DONE]" else json.loads(data)

    def leave(self) -> None:
        self._answer.close()
        self.connection.close()
