"""Owns the one child process of a run: starts it, stores what it says, and leaves nothing of it behind."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO

from panel.runs import tree
from panel.runs.spec import Spec
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
    """One play. `run` returns when it is over; `stop` may be called from another thread at any time."""

    def __init__(self, spec: Spec, add: Callable[[Row], None]) -> None:
        self._spec, self._add = spec, add
        self._child: subprocess.Popen[bytes] | None = None
        self._stopped = threading.Event()
        self._stderr = b""

    def run(self) -> End:
        tree.adopt_orphans()
        child = self._child = subprocess.Popen(
            [sys.executable, "-m", "panel.runs.runner"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, env=self._spec.environment, cwd=ROOT, start_new_session=True)
        assert child.stdin and child.stdout and child.stderr
        listener = threading.Thread(target=self._listen, args=(child.stderr,), daemon=True)
        listener.start()
        try:
            if self._stopped.is_set():
                child.terminate()
            with contextlib.suppress(BrokenPipeError):
                child.stdin.write(json.dumps(self._spec.told).encode())
                child.stdin.close()
            code = self._read(child.stdout)
            child.wait()
        finally:
            tree.end(tree.descendants, grace=0.5)
        listener.join(1)
        return End(code, self._stderr.decode(errors="replace"))

    def stop(self) -> None:
        """End the play now: the child ends its tree; if it cannot, we do."""
        self._stopped.set()
        child = self._child
        if child is not None:
            with contextlib.suppress(ProcessLookupError):
                child.terminate()
            threading.Thread(target=self._insist, args=(child,), daemon=True).start()

    def _insist(self, child: subprocess.Popen[bytes]) -> None:
        try:
            child.wait(_GRACE)
        except subprocess.TimeoutExpired:
            tree.end(tree.descendants, grace=0)

    def _read(self, lines: IO[bytes]) -> int | None:
        code = None
        for line in lines:
            row = json.loads(line)
            if "end" in row:
                code = row["end"]["code"]
            else:
                self._add(row)
        return code

    def _listen(self, stderr: IO[bytes]) -> None:
        for line in stderr:
            self._stderr = (self._stderr + line)[-_MOST_STDERR:]
