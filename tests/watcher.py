"""Looks for secrets while things happen: in the command lines and environments of all processes, and in files."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType


class Watcher:
    """`with Watcher(secrets, folder, …) as watcher:` looks again and again; `watcher.seen` says where one was.

    Sandbox servers share the kernel of this machine, so their processes are among those that are looked at. An
    environment counts only where it is not the app's own: that is where an app gets its secrets from.
    """

    def __init__(self, secrets: Iterable[str], *folders: Path) -> None:
        self.needles = {secret.encode() for secret in secrets}
        self.folders = folders
        self.seen: set[str] = set()
        self.rounds = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Watcher:
        if self.needles:
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._stop.set()
        if self.needles:
            self._thread.join(30)

    def _watch(self) -> None:
        while not self._stop.wait(0.1):
            self.look()
            self.rounds += 1

    def holds(self, content: bytes) -> bool:
        return any(needle in content for needle in self.needles)

    def look(self) -> None:
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                said = (process / "cmdline").read_bytes()
                if self.holds(said):
                    self.seen.add(f"command line {said[:200]!r}")
                around = (process / "environ").read_bytes()
                # Between the two, the process may have become another program: then its environment is another too.
                if self.holds(around) and not _may_have(process, around) \
                        and self.holds((process / "environ").read_bytes()):
                    self.seen.add(f"environment of {said[:200]!r}")
        self.seen.update(f"file {path}" for path in self.in_files())

    def in_files(self) -> list[Path]:
        """Files in the folders that hold a secret."""
        found = []
        # os.walk, because folders may go away meanwhile.
        walked = (one for folder in self.folders for one in os.walk(folder))
        for path in (Path(place, name) for place, _, names in walked for name in names):
            with contextlib.suppress(OSError):
                if path.is_file() and self.holds(path.read_bytes()):
                    found.append(path)
        return found


def _may_have(process: Path, environment: bytes) -> bool:
    """An app's own user, wo-guestbook; or git of webops-deploy, asked for a commit before there is such a user.

    Nobody but that user and root may look.
    """
    try:
        users = [line.split(":") for line in (process / "root/etc/passwd").read_text().splitlines()]
    except FileNotFoundError:
        return False
    owner = next((user[0] for user in users if len(user) > 2 and int(user[2]) == process.stat().st_uid), "")
    return owner.startswith("wo-") or (owner == "webops-deploy" and b"GIT_CONFIG_COUNT=" in environment)
