"""The conversation: requests as JSON lines on stdin, answers as JSON lines on stdout.

    {"do": "observe", "id": 1}                           -> {"id": 1, "seen": {"records", "answers", "figures",
                                                                     "releases", "desks"}}
    {"do": "compare", "id": 1, "name": "guestbook", "a": …, "b": …}
                                                         -> {"id": 1, "seen": {"commits", "environment", …}}
    {"do": "keys", "id": 1, "name": "chat", "change": {}} -> {"id": 1, "seen": {"keys": [...]} or {"error", "code"}}
    {"do": "journal", "id": 2, "name": "guestbook", …}   -> {"id": 2, "lines": [[at, unit, text, priority], …]}, …,
                                                            {"id": 2, "end": ""}, or {"id": 2, "end": why}
    {"do": "terminal", "id": 3, "name": "guestbook", "argv": ["manage.py", "shell"], …}
                                                         -> {"id": 3, "lines": [["out", base64]]}, …, [["exit", 0]]
    {"do": "chat", "id": 4, "name": "chat", "asked": {"messages": …}}
                                                         -> {"id": 4, "lines": [["text", words]]}, …, [["done", {…}]]
    {"do": "measure", "id": 5, "name": "chat", "asked": {"levels": [1, 8], …}}
                                                         -> {"id": 5, "lines": [["row", {…}]]}, …
    {"do": "type", "id": 3, "data": base64}                 what was typed; without data: nothing more will be
    {"do": "resize", "id": 3, "columns": 80, "rows": 24}    the window has another size now
    {"do": "more", "id": 2, "lines": 100}                   the reader took 100 lines
    {"do": "stop", "id": 2}                                 nobody reads any more
Everything ends when stdin does, or when nothing was heard for a while: then the other side is gone.
"""

from __future__ import annotations

import base64
import json
import os
import platform
import pwd
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from panel.link.remote import clients, desks, figures, names, probes, records, releases, streams, terminal
from panel.link.remote.sources import Wanted

#: The link looks every few seconds; a silence this long means that the network is gone.
_SILENCE = 90.0


Send = Callable[[dict[str, Any]], None]


class Conversation:
    def __init__(self, directory: str, keeper: str, measure: str) -> None:
        self.directory = directory
        self.keeper = keeper
        self.measure = measure
        self.streams: dict[int, streams.Flow] = {}
        self.heard = time.monotonic()
        self.speaking = threading.Lock()
        self.looking = threading.Lock()

    def run(self) -> None:
        self.say({"hello": {"python": platform.python_version(), "user": pwd.getpwuid(os.getuid()).pw_name}})
        threading.Thread(target=self._watch, daemon=True).start()
        for line in sys.stdin.buffer:
            self.heard = time.monotonic()
            self.hear(json.loads(line))
        self.end()

    def hear(self, message: dict[str, Any]) -> None:
        number = int(message["id"])
        if message["do"] == "observe":
            threading.Thread(target=self._observe, args=(number,), daemon=True).start()
        elif message["do"] == "compare":
            threading.Thread(target=self._compare, args=(number, message), daemon=True).start()
        elif message["do"] == "keys":
            threading.Thread(target=self._keys, args=(number, message), daemon=True).start()
        elif message["do"] in ("chat", "measure"):
            self._ask(number, message)
        elif message["do"] == "journal":
            self._journal(number, message)
        elif message["do"] == "terminal":
            self._open(number, lambda send: terminal.Terminal(message, self.keeper, send))
        elif message["do"] in ("type", "resize"):
            self._typed(self.streams.get(number), message)
        elif message["do"] == "more" and number in self.streams:
            self.streams[number].more(int(message["lines"]))
        elif message["do"] == "stop" and number in self.streams:
            self.streams.pop(number).stop()

    def say(self, message: dict[str, Any]) -> None:
        try:
            with self.speaking:
                sys.stdout.buffer.write(json.dumps(message, separators=(",", ":")).encode() + b"\n")
                sys.stdout.buffer.flush()
        except OSError:
            self.end()

    def end(self) -> None:
        for stream in list(self.streams.values()):
            stream.stop()
        # At once: threads may be waiting for an app that never answers.
        os._exit(0)

    def _watch(self) -> None:
        while time.monotonic() - self.heard < _SILENCE:
            time.sleep(5)
        self.end()

    def _observe(self, number: int) -> None:
        with self.looking:
            found = records.records(self.directory)
            looking = desks.Looking(found)
            self.say({"id": number, "seen": {"records": {name: _shown(one) for name, one in found.items()},
                                             "answers": probes.look(found), "figures": figures.figures(),
                                             "releases": {name: releases.releases(name) for name in found},
                                             "desks": looking.result()}})

    def _compare(self, number: int, message: dict[str, Any]) -> None:
        self.say({"id": number, "seen": releases.compare(*(str(message[key]) for key in ("name", "a", "b")))})

    def _keys(self, number: int, message: dict[str, Any]) -> None:
        record = records.record(self.directory, str(message["name"]))
        self.say({"id": number, "seen": clients.keys(record, dict(message["change"]))})

    def _ask(self, number: int, message: dict[str, Any]) -> None:
        desk = desks.desk_of(records.record(self.directory, str(message["name"])))
        if not desk:
            return self.say({"id": number, "end": f"{message['name']} has no desk on this server. Apply it first."})
        asked = dict(message["asked"])
        return self._open(number, lambda send: desks.Chat(desk, asked, send) if message["do"] == "chat"
                          else desks.Measurement(desk, asked, self.measure, send))

    def _journal(self, number: int, message: dict[str, Any]) -> None:
        record = records.record(self.directory, str(message["name"])) or {}
        units, files = records.units(record.get("journal")), record.get("files")
        paths = [one for one in files if isinstance(one, str) and one.startswith("/")][:10] if isinstance(
            files, list) else []
        if not units and not paths:
            return self.say({"id": number, "end": _no_journal(message["name"], record)})
        wanted = Wanted(int(message["lines"]), str(message["since"]), bool(message["follow"]), str(message["grep"]),
                        str(message.get("until", "")), str(message.get("process", "")))
        known = names.processes([*units, *(Path(one).name for one in paths)])
        units = [one for one in units if wanted.names(one)]
        paths = [one for one in paths if wanted.names(Path(one).name)]
        if not units and not paths:
            return self.say({"id": number, "end": f"{message['name']} has no process '{wanted.process}'; "
                                                  f"it has: {', '.join(known)}."})
        return self._open(number, lambda send: streams.Stream(str(message["name"]), wanted, units, paths, send))

    def _open(self, number: int, made: Callable[[Send], streams.Flow]) -> None:
        if len(self.streams) >= streams.MOST_STREAMS:
            return self.say({"id": number, "end": "Too many logs of this server are open. Close one, and try again."})

        def send(part: dict[str, Any]) -> None:
            if "end" in part:
                self.streams.pop(number, None)
            self.say({"id": number, **part})

        self.streams[number] = made(send)
        return self.streams[number].start()

    def _typed(self, stream: streams.Flow | None, message: dict[str, Any]) -> None:
        if not isinstance(stream, terminal.Terminal):
            return  # it has just ended
        if message["do"] == "resize":
            stream.resize(int(message["columns"]), int(message["rows"]))
        else:
            stream.type(base64.b64decode(message["data"]) if "data" in message else None)


def _shown(record: dict[str, Any]) -> dict[str, Any]:
    """The parts of a record that the other side needs."""
    shown: dict[str, Any] = {key: record[key] for key in ("kind", "name", "url", "model", "broken") if key in record}
    files = [Path(one).name for one in record.get("files") or () if isinstance(one, str)]
    return {**shown, "processes": names.processes([*records.units(record.get("journal")), *files])}


def _no_journal(name: str, record: dict[str, Any]) -> str:
    if not record:
        return f"Nothing of {name} is on this server, so there is no log to show."
    if "broken" in record:
        return f"The record of {name} on this server cannot be used: {record['broken']}. Apply it again."
    return f"{name} keeps no log of its own."


def main(directory: str, keeper: str, measure: str) -> None:
    Conversation(directory, keeper, measure).run()
