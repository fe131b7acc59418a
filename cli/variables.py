"""Before an app is deployed for the first time: what its repository wants to know is asked for."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import click

from cli.doors import Remote, Wish
from cli.exits import Exit, Stop
from cli.progress import clean

_NEEDED = {"repo", "environment", "secrets"}


def filled(source: Remote, kind: dict[str, Any], wish: Wish, as_json: bool) -> Wish:
    """The wish, with values for what the repository names and nobody has said, where it was never applied before.

    Stop: this is no terminal, and only a person knows the values.
    """
    from cli.follow import watch

    parameters = {one["key"]: one["name"] for one in kind["actions"]["main"]["parameters"]}
    if not parameters.keys() >= _NEEDED or _was_applied(source, wish.name):
        return wish
    looked = watch(source.panel, source.look(wish), as_json)
    named = source.panel.get(f"/runs/{looked['id']}/variables")["variables"]
    if not named:
        return wish
    answers = _asked(named) if sys.stdin.isatty() else _unasked(named)
    return _with(wish, parameters, named, answers)


def _with(wish: Wish, parameters: dict[str, str], named: list[dict[str, Any]], answers: dict[str, str]) -> Wish:
    from panel.runs.variables import answered

    shown, secret = answered(named, answers)
    return replace(wish, values=_more(wish.values, parameters["environment"], shown),
                   secrets=_more(wish.secrets, parameters["secrets"], secret))


def _more(values: Mapping[str, Any], name: str, items: list[dict[str, str]]) -> dict[str, Any]:
    return {**values, name: [*(values.get(name) or []), *items]} if items else dict(values)


def _was_applied(source: Remote, name: str) -> bool:
    try:
        return source.resource(name)["applied_at"] is not None
    except Stop as stop:
        if stop.code != "not_found":
            raise
        return False


def _asked(named: list[dict[str, Any]]) -> dict[str, str]:
    click.echo("The repository names variables that have no value yet. Empty leaves one out.", err=True)
    answers = {}
    for one in named:
        words = f"{clean(one['name'])} ({clean(one['help'] or one['why'])})"
        if one["way"] == "generate":
            words += " [made at random]"
        answers[one["name"]] = click.prompt(
            words, default=one["value"] if one["way"] == "default" else "", err=True,
            hide_input=one["is_secret"] or one["way"] == "generate", show_default=one["way"] == "default")
    return answers


def _unasked(named: list[dict[str, Any]]) -> dict[str, str]:
    missing = [clean(one["name"]) for one in named if one["way"] == "ask"]
    if missing:
        raise Stop(f"The repository names variables that only a person knows: {', '.join(missing)}.", Exit.REFUSED,
                   next_step="give each with --environment NAME=VALUE or --secret-file secrets.NAME=FILE; on a "
                             "terminal they are asked for, and --no-wait deploys without them")
    return {one["name"]: one["value"] if one["way"] == "default" else "" for one in named}
