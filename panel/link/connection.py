"""One server: stays connected, looks every few seconds, tells what it saw, and says since when it sees nothing."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from panel.link import ssh
from panel.link.agent import Agent
from panel.link.session import Session
from panel.store import seal

log = logging.getLogger("webops.link")

#: Seconds between looks; the shorter one for a while after something changed.
INTERVAL = 10.0
CHANGED_INTERVAL = 5.0
CHANGED_FOR = 60.0
#: Seconds between attempts: the first, the longest, and the longest where only a person can help.
_FIRST, _LONGEST, _HOPELESS = 1.0, 60.0, 300.0


class NotWritten(Exception):
    """What was seen could not be stored; the text says why."""


class Ledger(Protocol):
    """Where it is written down. NotWritten: not now; what comes next is tried again."""

    async def saw(self, target: ssh.Target, seen: dict[str, Any]) -> tuple[str, str, bool]: ...

    async def lost(self, target: ssh.Target, reason: ssh.Reason, since: datetime) -> None: ...


class Connection:
    """`run()` goes on until it is cancelled."""

    def __init__(self, target: ssh.Target, place: Path, agent: Agent, ledger: Ledger, gate: asyncio.Semaphore,
                 host_key_changed: Callable[[ssh.Target], Awaitable[None]]) -> None:
        self.target = target
        self.session: Session | None = None
        #: Why there is no session, once that is known.
        self.reason: ssh.Reason | None = None
        self._place, self._agent, self._ledger, self._gate = place, agent, ledger, gate
        self._host_key_changed = host_key_changed
        #: Set when somebody rings (then `_rung`), and when the session ends.
        self._bell = asyncio.Event()
        self._rung = False
        self._waiting: list[asyncio.Future[tuple[str, str]]] = []
        self._fast_until = 0.0
        self._since: datetime | None = None
        #: Attempts since something was last seen.
        self._attempts = 0

    async def run(self) -> None:
        while True:
            self._attempts += 1
            try:
                await self._connect()
                while True:
                    await self._look()
                    await self._wait(CHANGED_INTERVAL if time.monotonic() < self._fast_until else INTERVAL)
            except ssh.NoConnection as wrong:
                await self._down(wrong.reason)
            finally:
                await self._close()
            await self._pause()

    def ring(self) -> None:
        """Look now, and more often for a while: something was changed there."""
        self._fast_until = time.monotonic() + CHANGED_FOR
        self._rung = True
        self._bell.set()

    async def looked(self) -> tuple[str, str]:
        """Look now; state and text of the server after that was written down. NoConnection: it cannot be reached."""
        waiting: asyncio.Future[tuple[str, str]] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        self._rung = True
        self._bell.set()
        return await waiting

    async def _connect(self) -> None:
        async with self._gate:
            self._hush()
            log.debug("Connecting to %s", self.target.name)
            try:
                await self._agent.hold(seal.unseal(f"server:{self.target.name}:private_key", self.target.private_key))
                self.session = await Session.connect(self.target, self._place, self._bell)
            except (OSError, TimeoutError, seal.SecretContextError) as wrong:
                log.error("The key of %s: %s", self.target.name, wrong)
                raise ssh.NoConnection(ssh.meaning(f"the private key cannot be used: {wrong}", self.target)) from wrong

    async def _look(self) -> None:
        assert self.session
        self._hush()
        asked, self._waiting = self._waiting, []
        try:
            seen = await self.session.look()
        except ssh.NoConnection:
            self._waiting = asked + self._waiting  # answered when it is known what happened
            raise
        if self._attempts:
            log.info("Connected to %s", self.target.name)
        self._attempts, self.reason, self._since = 0, None, datetime.now(UTC)
        await self._write_down(seen, asked)

    async def _write_down(self, seen: dict[str, Any], asked: list[asyncio.Future[tuple[str, str]]]) -> None:
        try:
            state, text, changed = await self._ledger.saw(self.target, seen)
        except NotWritten as wrong:
            _answer(asked, wrong)
            return
        if changed:
            self._fast_until = time.monotonic() + CHANGED_FOR
        _answer(asked, (state, text))

    async def _down(self, reason: ssh.Reason) -> None:
        self._since = self._since or datetime.now(UTC)
        if not self._attempts and reason.code != "silent":
            return  # just lost: a restarted SSH server is back in a moment
        known, self.reason = self.reason, reason
        if known != reason:
            log.warning("%s cannot be reached: %s", self.target.name, reason.cause)
        try:
            await self._ledger.lost(self.target, reason, self._since)
            if reason.code == "host_key" and known != reason:
                await self._host_key_changed(self.target)
        except NotWritten as wrong:
            log.warning("%s: %s", self.target.name, wrong)
        asked, self._waiting = self._waiting, []
        _answer(asked, ssh.NoConnection(reason))

    async def _close(self) -> None:
        session, self.session = self.session, None
        if session:
            await session.close()

    async def _pause(self) -> None:
        longest = _HOPELESS if self.reason and self.reason.code in ("host_key", "login", "key") else _LONGEST
        seconds = min(longest, _FIRST * 2 ** min(self._attempts, 10))
        # Jitter: two hundred servers behind one router must not all come at the same moment.
        if not self._rung:
            self._hush()
        await self._wait(seconds * random.uniform(0.5, 1.0))  # noqa: S311  not a secret

    def _hush(self) -> None:
        self._rung = False
        self._bell.clear()

    async def _wait(self, seconds: float) -> None:
        """Until then, or until somebody rings, or until the connection is over."""
        try:
            async with asyncio.timeout(seconds):
                await self._bell.wait()
        except TimeoutError:
            return


def _answer(asked: list[asyncio.Future[tuple[str, str]]], what: tuple[str, str] | Exception) -> None:
    for one in asked:
        if one.done():
            continue
        if isinstance(what, Exception):
            one.set_exception(what)
        else:
            one.set_result(what)
