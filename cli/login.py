"""`webops login` and `webops logout`."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

import click

from cli import asking, config
from cli.exits import Exit, Stop
from cli.panel import Panel


@click.command()
@click.argument("url")
@click.option("--name", metavar="NAME", help="Your name there; asked for when left out.")
@click.option("--password-file", metavar="FILE", help="Read the password from a file ('-': stdin).")
@click.option("--token-file", metavar="FILE", help="Use a token that you have, from a file ('-': stdin).")
@click.option("--ca", type=click.Path(exists=True, dir_okay=False, resolve_path=True),
              help="Trust the certificates in this file as well.")
def login(url: str, name: str | None, password_file: str | None, token_file: str | None, ca: str | None) -> None:
    """Sign in to the panel at URL and keep the token in ~/.config/webops/config.json, for you alone."""
    _check(url)
    ca = ca or ""
    token = _secret(token_file) if token_file else _exchange(url, ca, name, password_file)
    person = Panel(url, token, ca).get("/tokens/current")["user"]["name"]
    saved = config.save(config.Login(url.rstrip("/"), person, token, ca))
    click.echo(f"Signed in to {url} as {person}. The token is in {saved}.")


def _check(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.username:
        raise Stop(f"'{url}' is not the address of a panel.", Exit.USAGE,
                   next_step="write it as http://127.0.0.1:8009 or https://panel.example.org")


def _exchange(url: str, ca: str, name: str | None, password_file: str | None) -> str:
    """A token for a name and a password."""
    name = name or click.prompt("Name")
    password = _secret(password_file) if password_file else asking.hidden("Password")
    label = f"webops on {socket.gethostname()}"[:100]
    made = Panel(url, ca=ca).post("/tokens", {"name": name, "password": password, "label": label})
    return str(made["token"])


def _secret(place: str) -> str:
    return asking.from_stdin() if place == "-" else asking.from_file(place).strip()


@click.command()
def logout() -> None:
    """Withdraw the token and forget it here."""
    try:
        saved = config.load()
    except Stop:
        click.echo("You are not signed in.")
        return
    try:
        Panel(saved.url, saved.token, saved.ca).delete("/tokens/current")
    except Stop as stop:
        if stop.exit_code != Exit.SIGNED_OUT:
            raise Stop(f"The token could not be withdrawn: {stop.message}", stop.exit_code,
                       next_step="try again when the panel answers; you are still signed in") from None
    config.forget()
    click.echo(f"Signed out of {saved.url}.")
