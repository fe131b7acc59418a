"""Where lines come from: the journal of some units, and log files. Lines are [at, unit, text, priority]."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import stat
import subprocess
import time
from collections import deque
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Any, NamedTuple

from panel.link.remote.mask import bound
from panel.link.remote.names import is_of

#: What a search looks through at most, from the end.
_SEARCHED = 50_000
_FILE_TAIL = 1024 * 1024
_LONGEST = 64 * 1024
_INFO = 6
#: What our own launcher says to whoever waits for a task: for programs, not for people.
_INTERNAL = ("webops-begin ", "webops-end ", "webops-result ")

Line = list[Any]  # at, unit, text, priority


class Wanted(NamedTuple):
    """Which lines are asked for."""

    lines: int = 100
    since: str = ""
    follow: bool = False
    grep: str = ""
    until: str = ""
    process: str = ""

    def fits(self, line: Line) -> bool:
        """Whether the line has the text that is looked for; it is a text, whatever signs it is made of."""
        return not self.grep or self.grep.casefold() in line[2].casefold()

    def names(self, unit: str) -> bool:
        """Whether the process of this unit or file is asked for."""
        return is_of(self.process, unit)


class Failed(Exception):
    """Lines cannot be had; the text says why."""


class Journal:
    """The journal of some units, read with journalctl: first what is there, then what comes."""

    def __init__(self, name: str, units: list[str]) -> None:
        self.name = name
        self.units = units
        self.cursor = ""
        self.running: subprocess.Popen[bytes] | None = None
        self.closed = False

    def before(self, wanted: Wanted) -> list[Line]:
        """The last lines up to now."""
        many = _SEARCHED if wanted.grep else wanted.lines
        since = [f"--since={wanted.since}"] if wanted.since else []
        until = [f"--until={wanted.until}"] if wanted.until else []
        found = self._read([f"--lines={many}", *since, *until])
        return list(deque((line for line in found if wanted.fits(line)), maxlen=wanted.lines))

    def after(self, wanted: Wanted) -> Iterator[list[Line]]:
        """What comes, as it comes; [] now and then."""
        start = [f"--after-cursor={self.cursor}"] if self.cursor else ["--lines=0"]
        for line in self._read(["--follow", *start]):
            yield [line] if wanted.fits(line) else []

    def close(self) -> None:
        """May be called from another thread, at any time."""
        self.closed = True
        if self.running and self.running.poll() is None:
            self.running.kill()

    def _read(self, options: list[str]) -> Iterator[Line]:
        running = self.running = self._start(options)
        assert running.stdout and running.stderr
        if self.closed:  # while it was starting
            running.kill()
        lines = running.stdout
        for raw in iter(lambda: lines.readline(_LONGEST * 8), b""):
            line = self._line(raw)
            if line:
                yield line
        if running.wait() > 0:
            raise Failed(running.stderr.read(2000).decode(errors="replace").strip() or "journalctl failed")

    def _start(self, options: list[str]) -> subprocess.Popen[bytes]:
        units = [f"--unit={unit}" for unit in self.units]
        command = ["journalctl", "--quiet", "--no-pager", "--all", "--output=json",
                   "--output-fields=MESSAGE,PRIORITY,_SYSTEMD_UNIT,UNIT", *options, *units]
        if shutil.which("setpriv"):
            # Whatever ends this program, even SIGKILL, ends journalctl too.
            command = ["setpriv", "--pdeathsig", "KILL", "--", *command]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                env={"PATH": os.defpath, "LC_ALL": "C.UTF-8"})

    def _line(self, raw: bytes) -> Line | None:
        try:
            found = json.loads(raw)
            at = datetime.fromtimestamp(int(found["__REALTIME_TIMESTAMP"]) / 1e6, timezone.utc)  # noqa: UP017  Python 3.10 has no datetime.UTC
            self.cursor = found.get("__CURSOR") or self.cursor
            if str(found.get("MESSAGE")).startswith(_INTERNAL):
                return None
            unit = found.get("UNIT") or found.get("_SYSTEMD_UNIT") or ""
            # Before anything is searched for: whoever looks for a secret shall not learn that it is there.
            text = bound(self.name).mask(_text(found.get("MESSAGE")))
            return [at.isoformat(timespec="milliseconds"), str(unit), text, int(found.get("PRIORITY") or _INFO)]
        except (ValueError, KeyError, TypeError):
            return None  # longer than we read at once, or not a line of the journal


def _text(message: Any) -> str:
    """journald gives bytes as a list of numbers, and a field that came twice as a list of both."""
    if isinstance(message, list):
        if all(isinstance(part, int) for part in message):
            return bytes(message).decode(errors="replace")
        return " ".join(_text(part) for part in message)
    return str(message or "")


class File:
    """A log file, named in a record; a path that leads through anything that an app owns is refused."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.name = Path(path).name
        self.opened: IO[bytes] | None = None

    def before(self, wanted: Wanted) -> list[Line]:
        """The last lines up to now. `since` does not apply: only the program that wrote them knows their times."""
        self.opened = self._open()
        size = os.fstat(self.opened.fileno()).st_size
        self.opened.seek(max(0, size - _FILE_TAIL))
        if size > _FILE_TAIL:
            self.opened.readline()  # most likely the rest of a line
        lines = (self._line(raw) for raw in iter(lambda: self._whole_line(), b""))
        return list(deque((line for line in lines if wanted.fits(line)), maxlen=wanted.lines))

    def after(self, wanted: Wanted) -> Iterator[list[Line]]:
        while True:
            raw = self._whole_line()
            if raw:
                line = self._line(raw)
                yield [line] if wanted.fits(line) else []
                continue
            yield []
            time.sleep(0.5)
            self._follow_rotation()

    def close(self) -> None:
        # The reading thread closes the file by ending: closing under its hands would be another file's number.
        return

    def _whole_line(self) -> bytes:
        """The next line that is complete; b"" when there is none yet."""
        assert self.opened
        start = self.opened.tell()
        raw = self.opened.readline(_LONGEST)
        if raw and not raw.endswith(b"\n") and len(raw) < _LONGEST:
            self.opened.seek(start)
            return b""
        return raw

    def _follow_rotation(self) -> None:
        assert self.opened
        try:
            now, held = os.lstat(self.path), os.fstat(self.opened.fileno())
        except FileNotFoundError:
            return
        if (now.st_dev, now.st_ino) != (held.st_dev, held.st_ino) or now.st_size < self.opened.tell():
            self.opened.close()
            self.opened = self._open()

    def _open(self) -> IO[bytes]:
        """Step by step and never through a link: an app could point one at a file that only we may read."""
        parts = [part for part in self.path.split("/") if part]
        place = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
        try:
            for number, part in enumerate(parts):
                kind = os.O_NONBLOCK if number == len(parts) - 1 else os.O_DIRECTORY
                below = os.open(part, os.O_RDONLY | os.O_NOFOLLOW | kind, dir_fd=place)
                os.close(place)
                place = below
                self._refuse_an_apps_own(os.fstat(place))
            return os.fdopen(os.dup(place), "rb")
        except OSError as wrong:
            raise Failed(f"{self.path}: {(wrong.strerror or str(wrong)).lower()}") from None
        finally:
            os.close(place)

    def _refuse_an_apps_own(self, status: os.stat_result) -> None:
        try:
            owner = pwd.getpwuid(status.st_uid).pw_name
        except KeyError:
            owner = str(status.st_uid)
        if owner.startswith("wo-") or stat.S_ISFIFO(status.st_mode):
            raise Failed(f"{self.path}: belongs to {owner}, so it is not read from here")

    def _line(self, raw: bytes) -> Line:
        return ["", self.name, raw.decode(errors="replace").rstrip("\n"), _INFO]
