"""One SSH connection with our program at the other end: questions and answers by number, streams held back."""

from __future__ import annotations

import asyncio
import json
import logging
import shlex
from asyncio.subprocess import Process
from pathlib import Path
from typing import Any

from panel.link import children, remote, ssh
from panel.link.remote.streams import CREDIT

log = logging.getLogger("webops.link")

#: Where roles write what they brought to a server.
RECORDS = "/etc/webops/resources"
#: Seconds until a connection must stand, and until a look must be answered.
_CONNECT = 30.0
_ANSWER = 30.0
_GREETING_LINES = 50
_ERROR_BYTES = 8192


class Lines:
    """A journal on its way: `next()` gives a batch of [at, unit, text, priority], None at its end."""

    def __init__(self, session: Session, number: int) -> None:
        self._session = session
        self._number = number
        self._arrived: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._under_way = 0
        self._ended = False
        #: Why it ended, when it did not end well.
        self.error = ""

    def arrive(self, message: dict[str, Any]) -> None:
        self._under_way += len(message.get("lines") or ())
        if self._under_way > 4 * CREDIT:
            # Our program waits until it is asked for more; this one does not.
            raise ValueError("it sends more lines than it was asked for")
        self._arrived.put_nowait(message)

    async def next(self) -> list[Any] | None:
        found: list[Any] = []
        while not self._ended and (not found or not self._arrived.empty()):
            message = await self._arrived.get()
            found += message.get("lines") or ()
            self._ended = "end" in message
            self.error = str(message.get("end") or "")
            if "lines" in message and not message["lines"]:
                return found  # the word that there is something to read
        return found or (None if self._ended else found)

    def took(self, count: int) -> None:
        """The reader has `count` lines; as many may come."""
        self._under_way -= count
        self._session.say({"do": "more", "id": self._number, "lines": count})

    def say(self, message: dict[str, Any]) -> None:
        """Something for the one who sends the lines. NoConnection: there is nobody."""
        self._session.say({**message, "id": self._number})

    def close(self) -> None:
        self._session.forget(self._number)
        self._session.say({"do": "stop", "id": self._number})


class Session:
    """Made by `connect`; `ended` is set and `reason` given when the connection is over. Errors: NoConnection."""

    def __init__(self, target: ssh.Target, process: Process, ended: asyncio.Event) -> None:
        self.target = target
        self._ended = ended
        self._process = process
        self._number = 0
        self._errors = b""
        self._looks: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._journals: dict[int, Lines] = {}
        self._tasks = [asyncio.create_task(self._read_errors())]
        self.reason: ssh.Reason | None = None

    @classmethod
    async def connect(cls, target: ssh.Target, place: Path, ended: asyncio.Event) -> Session:
        """Connect as the deploy account. The agent must hold the key by now."""
        call = f"exec python3 -I -S -c {shlex.quote(remote.BOOT)}"
        session = cls(target, await children.start(*ssh.command(target, place, call)), ended)
        try:
            session._write(remote.bundle(RECORDS))
            async with asyncio.timeout(_CONNECT):
                await session._greeting()
        except TimeoutError:
            await session.close()
            raise ssh.NoConnection(ssh.meaning("timed out", target)) from None
        except BaseException:
            await session.close()
            raise
        session._tasks.append(asyncio.create_task(session._read()))
        return session

    async def look(self) -> dict[str, Any]:
        """What can be seen on the server now."""
        return await self._answer({"do": "observe"})

    async def compare(self, name: str, a: str, b: str) -> dict[str, Any]:
        """What differs between two releases of a resource."""
        return await self._answer({"do": "compare", "name": name, "a": a, "b": b})

    async def _answer(self, question: dict[str, Any]) -> dict[str, Any]:
        self._number += 1
        number = self._number
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._looks[number] = answer
        try:
            self.say({**question, "id": number})
            async with asyncio.timeout(_ANSWER):
                return await answer
        except TimeoutError:
            raise ssh.NoConnection(ssh.silent(self.target)) from None
        finally:
            self._looks.pop(number, None)

    async def keys(self, name: str, change: dict[str, Any]) -> dict[str, Any]:
        """The API keys of a resource, after this change."""
        return await self._answer({"do": "keys", "name": name, "change": change})

    def journal(self, name: str, **wanted: Any) -> Lines:
        """The log of a resource; which units those are, its record on the server says."""
        return self._stream("journal", name, wanted)

    def terminal(self, name: str, **wanted: Any) -> Lines:
        """A command as the user of a resource; what it shows comes as lines."""
        return self._stream("terminal", name, wanted)

    def chat(self, name: str, asked: dict[str, Any]) -> Lines:
        """A question at the desk of a resource; the answer comes as it is written."""
        return self._stream("chat", name, {"asked": asked})

    def measure(self, name: str, asked: dict[str, Any]) -> Lines:
        """Many questions at a time; what they saw comes level by level."""
        return self._stream("measure", name, {"asked": asked})

    def _stream(self, what: str, name: str, wanted: dict[str, Any]) -> Lines:
        self._number += 1
        lines = self._journals[self._number] = Lines(self, self._number)
        self.say({"do": what, "id": self._number, "name": name, **wanted})
        return lines

    def say(self, message: dict[str, Any]) -> None:
        """NoConnection: there is nobody to say it to."""
        if self.reason:
            raise ssh.NoConnection(self.reason)
        self._write(json.dumps(message).encode() + b"\n")

    def forget(self, number: int) -> None:
        self._journals.pop(number, None)

    async def close(self) -> None:
        await self._over(self.reason or ssh.Reason("ended", "the connection was ended", ""))
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()
        await children.end(self._process)

    def _write(self, line: bytes) -> None:
        assert self._process.stdin
        self._process.stdin.write(line)

    async def _greeting(self) -> None:
        # A login may print a few lines of its own before our program speaks.
        for _ in range(_GREETING_LINES):
            line = await self._line()
            if line is None:
                raise ssh.NoConnection(await self._why())
            if line.startswith(b'{"hello":'):
                return
        raise ssh.NoConnection(ssh.meaning("something else than our program answers", self.target))

    async def _line(self) -> bytes | None:
        assert self._process.stdout
        try:
            return await self._process.stdout.readline() or None
        except ValueError:
            self._errors = b"it sent a line longer than it may"
            return None

    async def _read(self) -> None:
        try:
            while (line := await self._line()) is not None:
                self._hear(json.loads(line))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as wrong:
            log.warning("%s does not speak as it should: %s", self.target.name, wrong)
            self._errors = f"it answers what cannot be understood ({wrong})".encode()[:300]
        await self._over(await self._why())

    def _hear(self, message: dict[str, Any]) -> None:
        number = message["id"]
        if number in self._journals:
            lines = self._journals[number]
            if "end" in message:
                self.forget(number)
            lines.arrive(message)
        elif number in self._looks and not self._looks[number].done():
            self._looks[number].set_result(message["seen"])

    async def _over(self, reason: ssh.Reason) -> None:
        self.reason = reason
        for lines in list(self._journals.values()):
            lines.arrive({"end": f"The connection to {self.target.name} ended: {reason.cause}."})
        self._journals.clear()
        for look in self._looks.values():
            if not look.done():
                look.set_exception(ssh.NoConnection(reason))
        self._ended.set()

    async def _why(self) -> ssh.Reason:
        await children.end(self._process)
        await asyncio.wait(self._tasks[:1], timeout=1)  # what it had to complain about
        return ssh.meaning(self._errors.decode(errors="replace"), self.target)

    async def _read_errors(self) -> None:
        assert self._process.stderr
        while part := await self._process.stderr.read(_ERROR_BYTES):
            self._errors = (self._errors + part)[-_ERROR_BYTES:]
