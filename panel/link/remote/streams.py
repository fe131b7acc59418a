"""Streams of lines to one reader: several at once, each held back until its reader has taken what it got."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from panel.link.remote.sources import Failed, File, Journal, Wanted

#: Lines that one message holds at most.
_BATCH = 200
#: Lines that may be under way before the reader asks for more.
CREDIT = 500
MOST_STREAMS = 32


class Flow:
    """What one reader is sent, piece by piece, by a thread of its own (`_run`), as far as there is credit for it."""

    def __init__(self, send: Callable[[dict[str, Any]], None]) -> None:
        self.send = send
        self.credit = CREDIT
        self.ended = False
        self.changed = threading.Condition()

    def start(self) -> None:
        threading.Thread(target=self._run, daemon=True).start()

    def more(self, lines: int) -> None:
        """The reader took so many lines."""
        with self.changed:
            self.credit += lines
            self.changed.notify_all()

    def stop(self) -> None:
        """Nobody reads any more."""
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def _run(self) -> None:
        raise NotImplementedError


class Stream(Flow):
    """All sources of one request for lines of the resource `name`.

    `send` gets {"lines": [...]} and at last {"end": ""} or {"end": why}.
    """

    def __init__(self, name: str, wanted: Wanted, units: list[str], files: list[str],
                 send: Callable[[dict[str, Any]], None]) -> None:
        super().__init__(send)
        self.wanted = wanted
        self.sources: list[Journal | File] = [Journal(name, units)] if units else []
        self.sources += [File(path) for path in files]

    def stop(self) -> None:
        super().stop()
        for source in self.sources:
            source.close()

    def _run(self) -> None:
        try:
            self.send({"lines": []})  # says that there is something to read
            for source in list(self.sources):
                self._before(source)
            if self.wanted.follow and not self.ended:
                self._follow()
            self.send({"end": ""})
        except (Failed, OSError) as wrong:
            self.send({"end": str(wrong)})
        finally:
            self.stop()

    def _before(self, source: Journal | File) -> None:
        try:
            self._give(source.before(self.wanted))
        except Failed as wrong:
            if len(self.sources) == 1:
                raise
            # A log file that is not there yet must not hide the others.
            self.sources.remove(source)
            self.send({"lines": [["", "", f"-- {wrong} --", 4]]})

    def _follow(self) -> None:
        # journalctl dies with the thread that started it (see sources), so each thread lasts as long as its source.
        threads = [threading.Thread(target=self._follow_one, args=(source,), daemon=True) for source in self.sources]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _follow_one(self, source: Journal | File) -> None:
        try:
            for lines in source.after(self.wanted):
                if self.ended:
                    return
                self._give(lines)
        except (Failed, OSError) as wrong:
            if not self.ended:
                self.send({"lines": [["", "", f"-- {wrong} --", 4]]})

    def _give(self, lines: list[Any]) -> None:
        for start in range(0, len(lines), _BATCH):
            batch = lines[start:start + _BATCH]
            with self.changed:
                self.changed.wait_for(lambda: self.ended or self.credit > 0)
                if self.ended:
                    return
                self.credit -= len(batch)
            self.send({"lines": batch})
