"""Desks: the sockets at which only webops-deploy may ask what runs here. Their figures, a chat, a measurement.

A record names its desk; what is asked there is what the clients of OpenAI's API ask, and /webops/figures.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from panel.link.remote.streams import Flow

#: Seconds for the figures of all desks together, and for an answer in a chat to begin.
_PATIENCE, _BEGIN = 4.0, 600.0
_MOST_BYTES = 1024 * 1024
_SMI = ["--query-gpu=index,name,memory.used,memory.total,utilization.gpu", "--format=csv,noheader,nounits"]
#: Desks that are being asked, so that one which never answers has one thread, not one per look.
_asking: dict[str, threading.Thread] = {}
_ROOT = Path("/srv/webops")


class Desk(http.client.HTTPConnection):
    """A connection to the desk of a record. OSError: there is nobody."""

    def __init__(self, path: str, patience: float) -> None:
        super().__init__("desk", timeout=patience)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def desk_of(record: dict[str, Any] | None) -> str:
    """Where its desk is; "": it has none."""
    found = (record or {}).get("desk")
    return found if isinstance(found, str) and found.startswith("/") else ""


class Looking:
    """Asks all desks at once, beside the other looks; `result()` waits for those that answer in time."""

    def __init__(self, found: dict[str, dict[str, Any]]) -> None:
        self._until = time.monotonic() + _PATIENCE
        self._seen: dict[str, dict[str, Any]] = {}
        desks = {name: desk for name, record in found.items() if (desk := desk_of(record))}
        self._threads = [self._aside(name, desk) for name, desk in desks.items()]
        if desks:
            self._threads.append(self._start(" gpus", lambda: self._seen.update({" gpus": {"gpus": gpus()}})))
        self._gpus = {name: serving_gpus(name) for name in desks}

    def result(self) -> dict[str, dict[str, Any]]:
        """By name: engine, keys, gpus. {}: it did not answer."""
        for thread in self._threads:
            thread.join(max(0.0, self._until - time.monotonic()))
        seen = dict(self._seen)
        cards = seen.pop(" gpus", {}).get("gpus")
        return {name: {**seen.get(name, {}), "gpus": _own(cards, own)} for name, own in self._gpus.items()}

    def _aside(self, name: str, desk: str) -> threading.Thread:
        def run() -> None:
            try:
                self._seen[name] = ask(desk, "/webops/figures")
            except (OSError, ValueError, http.client.HTTPException):
                return  # not known then, and shown so

        return self._start(name, run)

    def _start(self, key: str, run: Callable[[], None]) -> threading.Thread:
        before = _asking.get(key)
        if before and before.is_alive():
            return before
        thread = _asking[key] = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread


def serving_gpus(name: str) -> Any:
    """Numbers of the GPUs that a model serves from; another model may have taken others than the one before."""
    try:
        return json.loads((_ROOT / name / "live" / "serves").read_text()).get("gpus")
    except (OSError, ValueError, AttributeError):
        return None


def _own(cards: Any, own: Any) -> Any:
    """The cards that it serves from; all, where that is not known."""
    if not isinstance(cards, list) or not isinstance(own, list) or not own:
        return cards
    return [one for one in cards if one["index"] in own]


def gpus() -> list[dict[str, Any]] | None:
    """What nvidia-smi says; None: there is none, or it does not answer."""
    program = shutil.which("nvidia-smi", path="/usr/local/bin:/usr/bin:/bin:/usr/lib/nvidia/current")
    if program is None:
        return None
    try:
        done = subprocess.run([program, *_SMI], capture_output=True, text=True, timeout=_PATIENCE, check=True,
                              stdin=subprocess.DEVNULL, errors="replace", env={"PATH": os.defpath, "LC_ALL": "C.UTF-8"})
    except (OSError, subprocess.SubprocessError):
        return None
    return [_card(line.split(", ")) for line in done.stdout.splitlines() if line.count(", ") == 4]


def _card(parts: list[str]) -> dict[str, Any]:
    used, total, busy = (float(one) if one.strip().replace(".", "", 1).isdigit() else None for one in parts[2:])
    mib = 1024 * 1024
    return {"index": int(parts[0]), "name": parts[1], "memory_used": used and used * mib,
            "memory_total": total and total * mib, "busy": busy}


def ask(desk: str, path: str) -> dict[str, Any]:
    """An answer in JSON. OSError, ValueError, HTTPException: there is none."""
    connection = Desk(desk, _PATIENCE)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        found = json.loads(answer.read(_MOST_BYTES))
    finally:
        connection.close()
    if answer.status != 200 or not isinstance(found, dict):
        raise ValueError(f"the desk answered {answer.status}")
    return found


class Chat(Flow):
    """One question and its answer as it is written.

    `send` gets {"lines": [["text", words] | ["thought", words] | ["done", figures]]}, {"end": ""} or {"end": why}.
    """

    def __init__(self, desk: str, asked: dict[str, Any], send: Callable[[dict[str, Any]], None]) -> None:
        super().__init__(send)
        self.desk, self.asked = desk, asked
        self.connection = Desk(desk, _BEGIN)

    def stop(self) -> None:
        super().stop()
        try:
            # Wakes the thread that reads, too; the engine learns that nobody waits any more.
            if self.connection.sock:
                self.connection.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            return

    def _run(self) -> None:
        try:
            self.send({"lines": []})
            model = ask(self.desk, "/v1/models")["data"][0]["id"]
            body = {**self.asked, "model": model, "stream": True, "stream_options": {"include_usage": True}}
            self._began = time.monotonic()
            self.connection.request("POST", "/v1/chat/completions", json.dumps(body).encode(),
                                    {"Content-Type": "application/json"})
            self._pass_on(self.connection.getresponse())
            self.send({"end": ""})
        except (OSError, ValueError, KeyError, IndexError, TypeError, http.client.HTTPException) as wrong:
            self.send({"end": "" if self.ended else _why(wrong)})
        finally:
            self.stop()
            self.connection.close()

    def _pass_on(self, answer: http.client.HTTPResponse) -> None:
        if answer.status != 200:
            raise ValueError(_message(answer.read(_MOST_BYTES)))
        first, pieces, reason = 0.0, 0, ""
        usage: dict[str, Any] = {}
        for event in events(answer):
            usage = event.get("usage") or usage
            for choice in event.get("choices") or ():
                reason = choice.get("finish_reason") or reason
                delta = choice.get("delta") or {}
                for key, kind in (("reasoning_content", "thought"), ("reasoning", "thought"), ("content", "text")):
                    if delta.get(key):
                        first, pieces = first or time.monotonic(), pieces + 1
                        self._give([kind, delta[key]])
        self._give(["done", self._figures(first, pieces, usage, reason)])

    def _figures(self, first: float, pieces: int, usage: dict[str, Any], reason: str) -> dict[str, Any]:
        ended = time.monotonic()
        written = usage.get("completion_tokens") or pieces
        # From the first token on: how long that took is another figure.
        rate = (written - 1) / (ended - first) if first and written > 1 and ended > first else None
        return {"first_token": first - self._began if first else None, "seconds": ended - self._began,
                "tokens_in": usage.get("prompt_tokens"), "tokens_out": written, "tokens_per_second": rate,
                "reason": reason}

    def _give(self, piece: list[Any]) -> None:
        with self.changed:
            self.changed.wait_for(lambda: self.ended or self.credit > 0)
            self.credit -= 1
        if not self.ended:
            self.send({"lines": [piece]})


class Measurement(Chat):
    """A program of its own that asks as many clients would: {"lines": [["row", figures] | ["note", words]]}."""

    def __init__(self, desk: str, asked: dict[str, Any], program: str, send: Callable[[dict[str, Any]], None]) -> None:
        super().__init__(desk, asked, send)
        self.program = program
        self.child: subprocess.Popen[str] | None = None

    def stop(self) -> None:
        super().stop()
        if self.child and self.child.poll() is None:
            self.child.kill()

    def _run(self) -> None:
        try:
            self.send({"lines": []})
            self.child = subprocess.Popen(
                ["/usr/bin/env", "python3", "-I", "-c", self.program, json.dumps({**self.asked, "desk": self.desk})],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, env={"PATH": os.defpath})
            assert self.child.stdout
            for line in self.child.stdout:
                self._give(json.loads(line))
            self.send({"end": ""})
        except (OSError, ValueError) as wrong:
            self.send({"end": "" if self.ended else _why(wrong)})
        finally:
            self.stop()


def events(answer: http.client.HTTPResponse) -> Iterator[dict[str, Any]]:
    """The events of a stream. ValueError: it says that it cannot go on."""
    for raw in answer:
        line = raw.strip()
        if not line.startswith(b"data:") or line[5:].strip() == b"[DONE]":
            continue
        found = json.loads(line[5:])
        if "error" in found:
            raise ValueError(_message(line[5:]))
        yield found


def _message(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return body[:300].decode(errors="replace")


def _why(wrong: Exception) -> str:
    if isinstance(wrong, (FileNotFoundError, ConnectionRefusedError)):
        return "Nothing listens at its desk on this server. Apply it, or start it."
    if isinstance(wrong, OSError):
        return f"It does not answer: {(wrong.strerror or str(wrong) or type(wrong).__name__).lower()}."
    return str(wrong) or "It answered what cannot be understood."
