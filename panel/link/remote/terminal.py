"""One command as an app's user, with its live release's code and variables, in a terminal of its own (or in pipes)."""

from __future__ import annotations

import base64
import errno
import fcntl
import json
import os
import queue
import re
import select
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from panel.link.remote.streams import Flow

_ROOT = Path("/srv/webops")
_PIECE = 8192
#: What is typed may be secret: where programs let themselves be told, they write no history into the app's home.
_NO_HISTORY = {"HISTFILE": "/dev/null", "LESSHISTFILE": "-", "PYTHON_HISTORY": "/dev/null"}
#: Pieces that were typed and not yet read by the program; whoever types more has to wait for it.
_MOST_TYPED = 2000


class Refused(Exception):
    """There is nothing to start; the text says why."""


class Terminal(Flow):
    """The life of one command. When it is stopped, the program learns it from its terminal, which closes.

    `send` gets {"lines": [["out", base64] | ["exit", code] | ["note", words]]}, {"end"}.
    """

    def __init__(self, wanted: dict[str, Any], keeper: str, send: Callable[[dict[str, Any]], None]) -> None:
        super().__init__(send)
        self.wanted = wanted
        self.keeper = keeper
        self.typed: queue.Queue[bytes | None] = queue.Queue(_MOST_TYPED)
        self.heard = self.began = time.monotonic()

    def type(self, data: bytes | None) -> None:
        """What was typed; None: nothing more will be."""
        self.heard = time.monotonic()
        try:
            self.typed.put_nowait(data)
        except queue.Full:
            self.stop()

    def resize(self, columns: int, rows: int) -> None:
        if self.wanted["tty"] and not self.ended:
            fcntl.ioctl(self.ends[1], termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def _run(self) -> None:
        try:
            argv = command(self.wanted, self.keeper)
            # (what we read, what we write): both are ours alone.
            self.ends, child = self._in_a_terminal(argv) if self.wanted["tty"] else _in_pipes(argv)
            self.send({"lines": []})
            threading.Thread(target=self._feed, daemon=True).start()
            note = self._pass_on()
            self._close()
            last: list[Any] = [["note", note]] if note else []
            self.send({"lines": [*last, ["exit", _code(child)]]})
            self.send({"end": ""})
        except (Refused, OSError, ValueError) as wrong:
            self.send({"end": str(wrong)})
        finally:
            self.stop()

    def _in_a_terminal(self, argv: list[str]) -> tuple[tuple[int, int], subprocess.Popen[bytes]]:
        ours, theirs = os.openpty()
        self.ends = (ours, ours)
        self.resize(int(self.wanted["columns"]), int(self.wanted["rows"]))
        # It gets a session of its own, whose terminal this is: Ctrl-C and the size go to what runs in it.
        child = subprocess.Popen(["setsid", "--ctty", *argv], stdin=theirs, stdout=theirs, stderr=theirs,
                                 env=_environment(self.wanted))
        os.close(theirs)
        return self.ends, child

    def _pass_on(self) -> str:
        """Until it ends, or nobody looks, or it is time: then that is said."""
        while not self.ended:
            now = time.monotonic()
            if now - self.heard > float(self.wanted["idle"]):
                return f"Nothing was typed or written for {_spoken(float(self.wanted['idle']))}, so it was ended."
            if now - self.began > float(self.wanted["longest"]):
                return f"It was open for {_spoken(float(self.wanted['longest']))}, so it was ended."
            if not select.select([self.ends[0]], [], [], 1.0)[0]:
                continue
            piece = _read(self.ends[0])
            if not piece:
                return ""
            self.heard = now
            self._give(piece)
        return ""

    def _give(self, piece: bytes) -> None:
        with self.changed:
            self.changed.wait_for(lambda: self.ended or self.credit > 0)
            self.credit -= 1
        if not self.ended:
            self.send({"lines": [["out", base64.b64encode(piece).decode()]]})

    def _feed(self) -> None:
        while not self.ended:
            try:
                data = self.typed.get(timeout=1)
            except queue.Empty:
                continue
            try:
                if data is None and not self.wanted["tty"]:
                    os.close(self.ends[1])
                    return
                while data and not self.ended:
                    data = data[os.write(self.ends[1], data):]
            except OSError:
                return

    def _close(self) -> None:
        self.ended = True
        for end in set(self.ends):
            try:
                os.close(end)
            except OSError:
                continue


def _in_pipes(argv: list[str]) -> tuple[tuple[int, int], subprocess.Popen[bytes]]:
    out, theirs = os.pipe()
    their_in, in_ = os.pipe()
    child = subprocess.Popen(argv, stdin=their_in, stdout=theirs, stderr=theirs, start_new_session=True,
                             env=_environment({}))
    os.close(theirs)
    os.close(their_in)
    return (out, in_), child


def _read(end: int) -> bytes:
    try:
        return os.read(end, _PIECE)
    except OSError as wrong:
        if wrong.errno == errno.EIO:  # a terminal whose last program is gone
            return b""
        raise


def _code(child: subprocess.Popen[bytes]) -> int:
    try:
        code = child.wait(10)
    except subprocess.TimeoutExpired:
        return 129
    return code if code >= 0 else 128 - code


def _environment(wanted: dict[str, Any]) -> dict[str, str]:
    return {"PATH": os.defpath, "LC_ALL": "C.UTF-8", **({"TERM": str(wanted["term"])} if wanted else {})}


def command(wanted: dict[str, Any], keeper: str) -> list[str]:
    """What is started: the keeper, as the app's user. Refused: there is no release to start it with."""
    name = str(wanted["name"])
    live = description(name)
    words = [str(word) for word in wanted["argv"]]
    python = live["python"]
    argv = [python, *words] if words[0] == "manage.py" else ["/usr/bin/env", "--", *words]
    given = {"argv": argv, "cwd": live["cwd"], "env_files": live["env_files"], "env": {
        **live["env"], **_NO_HISTORY, "HOME": f"/srv/webops/{name}/shared/data", "TERM": str(wanted["term"]),
        "PATH": f"{os.path.dirname(python)}:/usr/local/bin:/usr/bin:/bin"}}  # noqa: PTH120  a text
    return ["sudo", "-n", "-u", f"wo-{name}", "--", "/usr/bin/python3", "-I", "-S", "-c", keeper, json.dumps(given)]


def description(name: str) -> dict[str, Any]:
    """Code and variables of the live release, from what webops-deploy wrote down at the last switch."""
    live = _ROOT / name / "live"
    slot = re.search(r"-([ab])\.sock\Z", _link(live / "sock"))
    release = _json(live / "release")
    running = _json(live / slot[1]) if slot else {}
    project = release.get("project") or {}
    if not project.get("python"):
        raise Refused(f"{name} has no live release in which a command could run. Deploy it first.")
    env = [_ROOT / name / "env" / f"{one}.json" for one in (release["id"], "bindings")]
    return {"python": project["python"], "cwd": project["cwd"], "env_files": [str(one) for one in env if one.exists()],
            "env": running.get("env") or {"DJANGO_SETTINGS_MODULE": project["settings"]}}


def _link(path: Path) -> str:
    try:
        return os.readlink(path)  # noqa: PTH115  its text, not what it leads to
    except OSError:
        return ""


def _json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError):
        return {}


def _spoken(seconds: float) -> str:
    return f"{seconds / 3600:.0f} hours" if seconds >= 7200 else f"{seconds / 60:.0f} minutes" if seconds >= 120 \
        else f"{seconds:.0f} seconds"
