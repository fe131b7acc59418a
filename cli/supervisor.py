"""Keeps the processes of WebOps running on one machine, and ends them all without leaving any."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_SIGNALS = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
#: A process that lived this long was well; its next restart is quick again: what it did is to be found within 30 s.
_WELL_AFTER = 10.0
#: Seconds after the second SIGTERM.
_LAST_GRACE = 15.0
#: Seconds that one of them may take to come up on a busy machine.
PATIENCE = 90.0
_LONGEST_PAUSE = 10.0
_LOG_BYTES = 10 * 1024 * 1024

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass
class Child:
    """One process to keep: how it is started, how long its end may take, how to see that it is there."""

    name: str
    argv: Sequence[str]
    #: Seconds after SIGTERM until it is asked for the second time.
    grace: float
    #: Why others cannot rely on it yet; None when they can.
    not_ready: Callable[[], str | None] | None = None
    pid: int = 0
    started: float = 0.0
    pause: float = 0.5
    again_at: float | None = field(default=None)


class NotUp(Exception):
    """A child did not come up; `child` says which, the text why."""

    def __init__(self, child: str, why: str) -> None:
        super().__init__(why)
        self.child = child


class Supervisor:
    """Starts children in the order given, restarts what dies, ends them in the opposite order."""

    def __init__(self, children: Sequence[Child], logs: Path, cwd: Path, say: Callable[[str], None]) -> None:
        self.children = list(children)
        self._logs = logs
        self._cwd = cwd
        self._say = say
        self._ending = False

    def run(self, when_up: Callable[[], None] = lambda: None) -> None:
        """Returns after SIGTERM or SIGINT, when nothing that was started is left. NotUp: one did not come up."""
        # Whatever a child leaves behind becomes ours, so that the end can find it.
        _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            for child in self.children:
                self._start(child)
                self._await(child)
            if not self._ending:
                when_up()
            while not self._ending:
                self._wait()
                self._restart_due()
        finally:
            self._end_all()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)

    def _start(self, child: Child) -> None:
        self._logs.mkdir(parents=True, exist_ok=True, mode=0o700)
        log = self._logs / f"{child.name}.log"
        if log.exists() and log.stat().st_size > _LOG_BYTES:
            log.replace(log.with_suffix(".log.1"))
        with log.open("ab") as out:
            process = subprocess.Popen(  # reaped by number in _reap; a handle would reap a second time
                child.argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=self._cwd,
                preexec_fn=_in_child, start_new_session=True)
        child.pid, child.started, child.again_at = process.pid, time.monotonic(), None
        process.returncode = 0
        self._say(f"{child.name}: started, process {child.pid}")

    def _await(self, child: Child) -> None:
        until = time.monotonic() + PATIENCE
        while child.not_ready and not self._ending and (why := child.not_ready()) is not None:
            if time.monotonic() > until:
                raise NotUp(child.name, f"{child.name} did not come up in {PATIENCE:g} s: {why}")
            self._wait(0.1)
            if not child.pid and not self._ending:
                raise NotUp(child.name, f"{child.name} ended as soon as it was started")

    def _wait(self, patience: float | None = None) -> None:
        due = [child.again_at for child in self.children if child.again_at is not None]
        if patience is None:
            patience = max(0.0, min(due) - time.monotonic()) if due else 60.0
        told = signal.sigtimedwait(_SIGNALS, patience)
        if told and told.si_signo in (signal.SIGTERM, signal.SIGINT):
            self._say("Ending: " + signal.Signals(told.si_signo).name)
            self._ending = True
        self._reap()

    def _reap(self) -> None:
        """Take the exit status of everything that ended, orphans included."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for child in self.children:
                if child.pid == pid:
                    self._ended(child, status)

    def _ended(self, child: Child, status: int) -> None:
        child.pid = 0
        if self._ending:
            return
        if time.monotonic() - child.started > _WELL_AFTER:
            child.pause = 0.5
        child.again_at = time.monotonic() + child.pause
        self._say(f"{child.name}: ended ({_words(status)}); starting it again in {child.pause:g} s. "
                  f"Why: {self._logs / (child.name + '.log')}")
        child.pause = min(child.pause * 2, _LONGEST_PAUSE)

    def _restart_due(self) -> None:
        for child in self.children:
            if not self._ending and child.again_at is not None and child.again_at <= time.monotonic():
                self._start(child)

    def _end_all(self) -> None:
        self._ending = True
        for child in reversed(self.children):
            self._end(child)
        self._end_rest()

    def _end(self, child: Child) -> None:
        """SIGTERM lets it finish what it does, a second one does not, and then it is killed."""
        for number, patience in ((signal.SIGTERM, child.grace), (signal.SIGTERM, _LAST_GRACE), (signal.SIGKILL, 10.0)):
            if not child.pid:
                return
            if number == signal.SIGKILL:
                self._say(f"{child.name}: did not end and was killed")
            os.kill(child.pid, number)
            self._wait_for_end(child, time.monotonic() + patience)

    def _wait_for_end(self, child: Child, until: float) -> None:
        while child.pid and time.monotonic() < until:
            told = signal.sigtimedwait({signal.SIGCHLD, signal.SIGTERM, signal.SIGINT}, 0.5)
            self._reap()
            if told and told.si_signo != signal.SIGCHLD:
                return  # asked a second time: no more patience

    def _end_rest(self) -> None:
        """What children left behind: asked first, then killed."""
        for number, patience in ((signal.SIGTERM, 3.0), (signal.SIGKILL, 3.0)):
            left = psutil.Process().children(recursive=True)
            for process in left:
                try:
                    process.send_signal(number)
                except psutil.NoSuchProcess:
                    continue
            until = time.monotonic() + patience
            while psutil.Process().children(recursive=True) and time.monotonic() < until:
                time.sleep(0.05)
                self._reap()


def _in_child() -> None:
    """Between fork and exec: signals as usual, and an end with the parent, even when that is killed."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def _words(status: int) -> str:
    if os.WIFSIGNALED(status):
        return f"by {signal.Signals(os.WTERMSIG(status)).name}"
    return f"exit code {os.waitstatus_to_exitcode(status)}"
