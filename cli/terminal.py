"""`webops exec NAME -- COMMAND`: a command as the app's user, in a real terminal where this is one."""

from __future__ import annotations

import base64
import contextlib
import os
import select
import signal
import sys
import termios
import threading
import tty
from collections.abc import Iterator
from typing import Any, Protocol

import click

from cli.exits import Exit, Stop
from cli.progress import clean

_PIECE = 4096


class Line(Protocol):
    """The way to a command: what it shows comes in order, what is typed goes in order."""

    def shown(self) -> Iterator[list[Any]]: ...
    def type(self, data: bytes) -> None: ...
    def end_of_input(self) -> None: ...
    def resize(self, columns: int, rows: int) -> None: ...
    def close(self) -> None: ...


@click.command("exec", context_settings={"ignore_unknown_options": True})
@click.argument("name")
@click.argument("command", nargs=-1, required=True, metavar="-- COMMAND…")
@click.option("--on", default="", metavar="SERVER", help="On which of its servers, where it is on several.")
@click.option("--local", is_flag=True, expose_value=False, help="Straight over SSH, without a panel.")
def exec_(name: str, command: tuple[str, ...], on: str) -> None:
    """Run a command as the app's user, with the code and the environment of its live release.

    `manage.py …` is run by the release's Python; any other word is a program, such as sh. In a terminal it is
    interactive; with pipes its input and output are piped. The exit code is the command's own.
    """
    from cli.doors import door

    is_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    columns, rows = _size() if is_terminal else (80, 24)
    line = door().terminal(name, {"command": list(command), "tty": is_terminal, "columns": columns, "rows": rows,
                                  "term": os.environ.get("TERM", "dumb"), **({"server": on} if on else {})})
    try:
        with _raw() if is_terminal else contextlib.nullcontext():
            code, note = _show(line, is_terminal)
    except KeyboardInterrupt:
        sys.exit(Exit.INTERRUPTED)
    finally:
        line.close()
    if note:
        click.echo(clean(note), err=True)
    if code is None and not note:
        raise Stop("The line to the command broke, and the command was ended.", Exit.UNREACHABLE,
                   next_step="ask again")
    sys.exit(Exit.UNREACHABLE if code is None else code)


def _show(line: Line, is_terminal: bool) -> tuple[int | None, str]:
    """Until the command ends: its exit code (None: nobody knows), and what WebOps has to say about its end."""
    ended = threading.Event()
    changed, change = os.pipe()
    os.set_blocking(change, False)
    if is_terminal:
        signal.set_wakeup_fd(change, warn_on_full_buffer=False)
        signal.signal(signal.SIGWINCH, lambda *_: None)
    threading.Thread(target=_type, args=(line, ended, changed, is_terminal), daemon=True).start()
    code, note = None, ""
    try:
        for kind, value in line.shown():
            if kind == "out":
                _write(base64.b64decode(value))
            elif kind == "note":
                note = str(value)
            else:
                code = int(value)
    finally:
        ended.set()
        if is_terminal:
            signal.set_wakeup_fd(-1)
    return code, note


def _type(line: Line, ended: threading.Event, changed: int, is_terminal: bool) -> None:
    """What is typed while a piece is on its way goes with the next one."""
    places = [sys.stdin.fileno(), changed]
    while not ended.is_set():
        ready = select.select(places, [], [], 0.5)[0]
        if changed in ready:
            os.read(changed, _PIECE)
            line.resize(*_size())
        if places[0] in ready and places[0] != changed:
            data = os.read(places[0], _PIECE)
            if not data:
                line.end_of_input()
                places.pop(0)
                if not is_terminal:
                    return
            else:
                line.type(data)


def _write(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def _size() -> tuple[int, int]:
    size = os.get_terminal_size()
    return max(1, size.columns), max(1, size.lines)


@contextlib.contextmanager
def _raw() -> Iterator[None]:
    """Keys go to the command as they are; afterwards the terminal is as it was."""
    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setraw(sys.stdin)
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
