"""`webops model`: the keys of a model's clients, a chat with it, how much it can do at a time."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import click

from cli import tables
from cli.doors import door
from cli.exits import Exit, Stop
from cli.progress import clean

_LOCAL = click.option("--local", is_flag=True, expose_value=False, help="Straight over SSH, without a panel.")
_ON = click.option("--on", default="", metavar="SERVER", help="On which of its servers, where it is on several.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
def model() -> None:
    """A model that is served: the keys of its clients, a chat, a measurement."""


@model.group("keys")
def keys() -> None:
    """API keys of clients: add, list, revoke, copy. A change holds from the next request on."""


@keys.command("add")
@click.argument("name")
@click.argument("key")
@click.option("--requests", type=click.IntRange(1), metavar="N", help="At most so many requests per minute.")
@click.option("--tokens", type=click.IntRange(1), metavar="N", help="At most so many tokens per minute, in and out.")
@_JSON
@_LOCAL
def add(name: str, key: str, requests: int | None, tokens: int | None, as_json: bool) -> None:
    """Make an API key called KEY for the model NAME, and print it: it is shown this once and kept nowhere in clear."""
    made = door().desk(name).add_key({"name": key, "requests_per_minute": requests, "tokens_per_minute": tokens})
    if as_json:
        tables.as_json(made)
        return
    click.echo(made["key"])
    click.echo("Write it down now: it is not shown again. "
               f"It ends with: webops model keys revoke {name} '{key}'", err=True)


@keys.command("list")
@click.argument("name")
@_JSON
@_LOCAL
def list_keys(name: str, as_json: bool) -> None:
    """The API keys of NAME, with their limits and what they used."""
    found = door().desk(name).keys()
    if as_json:
        tables.as_json(found)
        return
    head = ("KEY", "BEGINS WITH", "PER MINUTE", "REQUESTS", "REFUSED", "TOKENS", "LAST USED", "MADE BY", "ON")
    rows = [_row(one) for one in found["keys"]]
    # Where there is but one server, there is nothing to tell apart.
    width = len(head) - (len({server for one in found["keys"] for server in one["on"]} | set(found["trouble"])) < 2)
    tables.table(head[:width], [row[:width] for row in rows], f"None yet: webops model keys add {name} KEY")
    for server, why in found["trouble"].items():
        click.secho(f"What {server} has is not known: {clean(why)}", fg="yellow", err=True)


def _row(one: dict[str, Any]) -> tuple[Any, ...]:
    limits = [f"{one[key]:,} {word}" for key, word in (("requests_per_minute", "requests"),
                                                       ("tokens_per_minute", "tokens")) if one[key]]
    use = one.get("use")
    used = [f"{number:,.0f}" for number in (use["requests"], use["refused"], use["tokens_in"] + use["tokens_out"])
            ] if use else [None] * 3
    return (one["name"], one["prefix"] + "…", ", ".join(limits) or "no limit", *used,
            tables.ago(_moment(use["last_used"] if use else None)), one["created_by"], ", ".join(one["on"]))


def _moment(seconds: float | None) -> str | None:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(seconds, UTC).isoformat() if seconds else None


@keys.command("copy")
@click.argument("name")
@_LOCAL
def copy(name: str) -> None:
    """Give each server of NAME the keys that others have: to one that came to the group later."""
    copied = door().desk(name).spread_keys()
    click.echo(f"{copied} copied: each server has all of them now." if copied
               else "Each server has all of them already.")


@keys.command("revoke")
@click.argument("name")
@click.argument("key")
@_LOCAL
def revoke(name: str, key: str) -> None:
    """Nobody is let in with the key KEY any more, from the next request on."""
    door().desk(name).revoke_key(key)
    click.echo(f"The key '{key}' is revoked.")


@model.command("chat")
@click.argument("name")
@click.argument("words", nargs=-1, metavar="[MESSAGE]")
@click.option("--system", default="", metavar="TEXT", help="What it is told to be, before the first message.")
@click.option("--temperature", type=click.FloatRange(0, 2), help="0: always the likeliest; higher: more various.")
@click.option("--top-p", type=click.FloatRange(0.01, 1), help="Only of the likeliest words that make up this share.")
@click.option("--max-tokens", type=click.IntRange(1), metavar="N", help="Longest answer.")
@_ON
@_LOCAL
def chat(name: str, words: tuple[str, ...], system: str, temperature: float | None, top_p: float | None,
         max_tokens: int | None, on: str) -> None:
    """Ask the model NAME; the answer comes as it is written, and how fast it came.

    Without a MESSAGE it goes on until an empty line; from a pipe, all that is piped is the message.
    """
    how = {"temperature": temperature, "top_p": top_p, "max_tokens": max_tokens, "server": on or None}
    asked = {key: value for key, value in how.items() if value is not None}
    messages = [{"role": "system", "content": system}] if system else []
    for question in _questions(" ".join(words)):
        messages.append({"role": "user", "content": question})
        messages.append({"role": "assistant", "content": _answer(name, {**asked, "messages": messages})})


def _questions(given: str) -> Iterator[str]:
    if given:
        yield given
    elif not sys.stdin.isatty():
        yield sys.stdin.read()
    else:
        while words := click.prompt("You", default="", show_default=False, prompt_suffix=": ").strip():
            yield words


def _answer(name: str, asked: dict[str, Any]) -> str:
    """Shows the answer as it comes; what it was. Stop: there is none."""
    from panel.link import chats

    answer, told = [], None
    for kind, value in door().desk(name).chat(asked):
        if kind == "text":
            answer.append(str(value))
            click.echo(clean(str(value)), nl=False)
        elif kind == "thought":
            click.secho(clean(str(value)), nl=False, dim=True, err=True)
        elif kind == "done":
            told = value
    click.echo()
    if told is None:
        raise Stop("The answer broke off.", Exit.UNREACHABLE, next_step=f"ask again; webops status {name}")
    click.secho(clean(chats.in_words(told)), dim=True, err=True)
    return "".join(answer)


@model.command("bench")
@click.argument("name")
@click.option("--clients", default="1,2,4,8,16,32", metavar="N,N,…", help="How many ask at a time, level by level.")
@click.option("--seconds", default=10, type=click.IntRange(1, 120), show_default=True, help="Length of a level.")
@click.option("--tokens-in", default=64, type=click.IntRange(1), show_default=True, help="Words of a question.")
@click.option("--tokens-out", default=64, type=click.IntRange(1), show_default=True, help="Tokens of an answer.")
@_ON
@_JSON
@_LOCAL
def bench(name: str, clients: str, seconds: int, tokens_in: int, tokens_out: int, on: str,
          as_json: bool) -> None:
    """How much the model NAME does when several ask at a time, measured on its server, through its gate.

    It is used for as long as this takes: others who ask then wait longer.
    """
    wanted = {"levels": _levels(clients), "seconds": seconds, "tokens_in": tokens_in, "tokens_out": tokens_out}
    rows = []
    for kind, value in door().desk(name).measure({**wanted, **({"server": on} if on else {})}):
        if kind == "note":
            raise Stop(clean(str(value)), Exit.REFUSED)
        rows.append(value)
        if not as_json:
            _show(value, is_first=len(rows) == 1)
    if as_json:
        tables.as_json({"name": name, **wanted, "rows": rows})
    if not rows or not any(row["requests"] for row in rows):
        why = next((row["why"] for row in rows if row.get("why")), "it was not measured")
        raise Stop(f"{name} answered nothing: {clean(why)}", Exit.FAILED, next_step=f"webops status {name}")


def _levels(text: str) -> list[int]:
    try:
        return [int(one) for one in text.split(",")]
    except ValueError:
        raise click.BadParameter("write numbers with commas between them: 1,8,32", param_hint="--clients") from None


_HEAD = ("CLIENTS", "TOKENS/S", "FIRST p50", "FIRST p95", "NEXT p50", "NEXT p95", "REQUESTS", "FAILED")


def _show(row: dict[str, Any], is_first: bool) -> None:
    """A line at once: the next level takes a while."""
    from panel.link import chats

    if is_first:
        click.secho("  ".join(f"{one:>9}" for one in _HEAD), dim=True)
    rate = row["tokens_per_second"]
    cells = [row["clients"], "" if rate is None else f"{rate:,.1f}",
             *(chats.seconds(row[key]) for key in ("first_token_p50", "first_token_p95", "between_p50", "between_p95")),
             row["requests"], row["failed"]]
    why = f"  {clean(row['why'])}" if row.get("why") else ""
    click.echo("  ".join(f"{one:>9}" for one in cells) + why)
