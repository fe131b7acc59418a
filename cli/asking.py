"""Secrets reach a command by prompt, by file or by stdin; never as a word of the command line, which `ps` shows."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click

from cli.exits import Exit, Stop
from cli.options import is_pairs, secret_names

MAX_SECRET = 64 * 1024


def hidden(words: str, *, confirm: bool = False) -> str:
    """Ask on the terminal without echo. Stop: there is no terminal to ask on."""
    if not sys.stdin.isatty():
        raise Stop(f"{words} has to be asked for, and this is not a terminal.", Exit.USAGE,
                   next_step="give it by file or by stdin (see --help)")
    return str(click.prompt(words, hide_input=True, confirmation_prompt=confirm))


def from_file(path: str) -> str:
    """A file's text without its last line break. Stop: it cannot be read."""
    try:
        return _text(Path(path).read_bytes(), path)
    except OSError as wrong:
        raise Stop(f"{path} cannot be read: {wrong.strerror}.", Exit.USAGE) from None


def from_stdin() -> str:
    """All of stdin without its last line break."""
    return _text(sys.stdin.buffer.read(MAX_SECRET + 1), "stdin")


def _text(data: bytes, place: str) -> str:
    if len(data) > MAX_SECRET:
        raise Stop(f"{place} holds more than {MAX_SECRET // 1024} KiB; that is no secret.", Exit.USAGE)
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise Stop(f"{place} is not UTF-8 text.", Exit.USAGE) from None
    return text.removesuffix("\n").removesuffix("\r")


def secrets(action: dict[str, Any], ask: Iterable[str], files: Iterable[str], stdin: str | None) -> dict[str, Any]:
    """Secret values by full name. `files`: PARAMETER=FILE; a list's item is PARAMETER.NAME.

    Items of a list that are not named stay as they are: the panel adds the named ones to those it has.
    """
    result: dict[str, Any] = {}
    for place in ask:
        _put(action, result, place, lambda words: hidden(words, confirm=True))
    for one in files:
        place, sign, path = one.partition("=")
        if not sign:
            raise click.BadParameter(f"Write PARAMETER=FILE, not '{one}'.", param_hint="--secret-file")
        _put(action, result, place, lambda _words, path=path: from_file(path))  # type: ignore[misc]
    if stdin:
        _put(action, result, stdin, lambda _words: from_stdin())
    return result


def _put(action: dict[str, Any], result: dict[str, Any], place: str, read: Callable[[str], str]) -> None:
    key, _, item = place.partition(".")
    parameter = next((one for one in action["parameters"]
                      if one["secret"] and key.replace("-", "_") in (one["key"], one["name"])), None)
    if parameter is None or is_pairs(parameter) != bool(item):
        names = ", ".join(secret_names(action)) or "none"
        raise click.UsageError(f"'{place}' is no secret of this action. There are: {names}.")
    if item:
        items = result.setdefault(parameter["name"], [])
        items.append({"name": item, "value": read(f"{parameter['label']}: {item}")})
    else:
        result[parameter["name"]] = read(str(parameter["label"]))
