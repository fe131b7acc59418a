"""What a check found, in a terminal: a line per step with its differences below it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from cli.progress import LOOKS, clean

_TAGS = {"ins": "green", "del": "red", "i": "cyan", "b": "bright_black", "span": None}


def show(changes: Sequence[dict[str, Any]]) -> None:
    """Every step that would change something, with what it would change."""
    from panel.web import difference

    many = len({one["host"] for one in changes}) > 1
    shape, colour = LOOKS["changed"]
    for one in changes:
        said = one["summary"] or (one["msg"] if not one["diff"] else "")
        where = f" ({one['host']})" if many else ""
        click.echo(f"{click.style(shape, fg=colour)} {clean(one['name'])}{where}"
                   + (f"  {click.style(clean(said), dim=True)}" if said else ""))
        for label in one["items"]:
            click.echo(f"    {clean(str(label))}")
        for line in difference.lines(one["diff"]):
            click.secho(f"    {clean(line.text)}", fg=_TAGS[line.tag])
        if one["hidden"]:
            click.secho("    What it changes is hidden, because it handles secrets.", dim=True)
