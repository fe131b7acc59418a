"""`webops sandbox …` is `python3 -m sandbox …`: disposable servers, booted on this machine."""

from __future__ import annotations

import click


@click.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def sandbox(ctx: click.Context, words: tuple[str, ...]) -> None:
    """Disposable servers to try things on: up, reset, stop, down, list, doctor (`webops sandbox --help`)."""
    from sandbox.__main__ import main

    ctx.exit(main(list(words) or ["--help"]))
