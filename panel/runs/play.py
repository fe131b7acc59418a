"""Owns the one child process of a run: starts it, stores what it says, and leaves nothing of it behind."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any

from panel.runs import tree
from panel.runs.translate import Row
from panel.settings import ROOT

#: Seconds that the child has to end its own tree before we end it.
_GRACE = 8.0
_MOST_STDERR = 16 * 1024


@dataclass
class End:
    """How the child ended. `code` 0: Ansible succeeded; None: it died without a word, then `stderr` may tell."""

    code: int | None
    stderr: str = ""


class Play:
    """One play, as a context: its child starts at once and waits to be told, and is gone at the end.

    `run` returns when the play is over; `stop` may be called from another thread at any time.
    """

    def __init__(self, environment: dict[str, str]) -> None:
        tree.adopt_orphans()
        self._stderr = b""
        # Started before anything else is made ready, so that it has imported what it needs by then.
        self._child = subprocess.Popen(
            [sys.executable, "-m", "panel.runs.runner"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, env=environment, cwd=ROOT, start_new_session=True)

    def __enter__(self) -> Play:
        return self

    def __exit__(self, *_wrong: object) -> None:
        tree.end(tree.descendants, grace=0.5)

    def run(self, told: dict[str, Any], add: Callable[[Row], None]) -> End:
        child = self._child
        assert child.stdin and child.stdout and child.stderr
        listener = threading.Thread(target=self._listen, args=(child.stderr,), daemon=True)
        listener.start()
        with contextlib.suppress(BrokenPipeError):
            child.stdin.write(json.dumps(told).encode())
            child.stdin.close()
        code = self._read(child.stdout, add)
        child.wait()
        listener.join(1)
        return End(code, self._stderr.decode(errors="replace"))

    def stop(self) -> None:
        """End the play now: the child ends its tree; if it cannot, we do."""
        with contextlib.suppress(ProcessLookupError):
            self._child.terminate()
        threading.Thread(target=self._insist, daemon=True).start()

    def _insist(self) -> None:
        try:
            self._child.wait(_GRACE)
        except subprocess.TimeoutExpired:
            tree.end(tree.descendants, grace=0)

    @staticmethod
    def _read(lines: IO[bytes], add: Callable[[Row], None]) -> int | None:
        code = None
        for line in lines:
            row = json.loads(line)
            if "end" in row:
                code = row["end"]["code"]
            else:
                add(row)
        return code

    def _listen(self, stderr: IO[bytes]) -> None:
        for line in stderr:
            self._stderr = (self._stderr + line)[-_MOST_STDERR:]
