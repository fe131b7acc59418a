"""The link's own program on a server, spoken to over ssh without a link: logs and terminals for --local."""

from __future__ import annotations

import json
import shlex
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cli.exits import Exit, Stop
from cli.local.inventory import DEPLOY, Server, environment, key_file, known_hosts
from panel.link import remote
from panel.link.session import RECORDS

_GREETING_LINES = 50


class Conversation:
    """One request at a time, as webops-deploy; `close()` ends it and all that it started there."""

    def __init__(self, folder: Path, server: Server) -> None:
        argv = ["ssh", "-T", "-i", str(key_file()), "-o", "IdentitiesOnly=yes", "-o",
                f"UserKnownHostsFile={known_hosts(folder)}", "-o", "ServerAliveInterval=15", "-p", str(server.port),
                f"{DEPLOY}@{server.address}", f"exec python3 -I -S -c {shlex.quote(remote.BOOT)}"]
        self._name = server.name
        # Ctrl-C is for what runs there, or for us, who then end it in order.
        self._process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment(),
                                         start_new_session=True)
        self._speaking = threading.Lock()
        self._write(remote.bundle(RECORDS))
        if not any(line.startswith(b'{"hello":') for line in self._greeting()):
            self.close()
            raise Stop(f"{server.name} does not answer as {DEPLOY}.", Exit.UNREACHABLE,
                       next_step=f"webops server ready {server.name} --local")
        threading.Thread(target=self._stay, daemon=True).start()

    def ask(self, what: str, **wanted: Any) -> Iterator[list[Any]]:
        """The lines of a log or the pieces of a terminal. Stop: there are none, and why."""
        self.say(what, **wanted)
        assert self._process.stdout
        for raw in self._process.stdout:
            message = json.loads(raw)
            if message.get("end"):
                raise Stop(str(message["end"]), Exit.REFUSED)
            if "end" in message:
                return
            if lines := message.get("lines"):
                yield from lines
                self.say("more", lines=len(lines))

    def answer(self, what: str, **wanted: Any) -> dict[str, Any]:
        """The answer to a question that has one. Stop: the line broke."""
        self.say(what, **wanted)
        assert self._process.stdout
        for raw in self._process.stdout:
            message = json.loads(raw)
            if "seen" in message:
                return dict(message["seen"])
        raise Stop(f"The line to {self._name} broke.", Exit.UNREACHABLE, next_step="ask again")

    def say(self, what: str, **more: Any) -> None:
        self._write(json.dumps({"do": what, "id": 1, **more}).encode() + b"\n")

    def close(self) -> None:
        """The other side ends when nothing more can come."""
        try:
            if self._process.stdin:
                self._process.stdin.close()
            self._process.wait(5)
        except (OSError, subprocess.TimeoutExpired):
            self._process.kill()

    def _greeting(self) -> Iterator[bytes]:
        assert self._process.stdout
        for _ in range(_GREETING_LINES):
            line = self._process.stdout.readline()
            yield line
            if not line or line.startswith(b'{"hello":'):
                return

    def _stay(self) -> None:
        """The other side leaves when it hears nothing for a while."""
        while self._process.poll() is None:
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self.say("more", id=0, lines=0)

    def _write(self, line: bytes) -> None:
        assert self._process.stdin
        try:
            with self._speaking:
                self._process.stdin.write(line)
                self._process.stdin.flush()
        except (OSError, ValueError):
            return  # it is over; whoever reads learns it
