"""`webops install`: the panel for good, on a machine with systemd, by our own roles."""

from __future__ import annotations

import os
import re
import shlex
import stat
import subprocess
from pathlib import Path
from typing import Any

import click

from cli import asking, options, overlay
from cli.exits import Exit, Stop
from panel.settings import ROOT

#: Decided here and not by whoever installs.
_OURS = ("panel_checkout", "panel_version", "panel_name")
#: What was decided at the last install; the role writes it, and the units read it.
SETTINGS = Path("/etc/webops-panel/settings.env")


def _action() -> dict[str, Any]:
    """What the role says of itself, without what is decided here."""
    from panel.catalog import catalog
    from panel.catalog.described import described

    kind = described(catalog().kind("panel"))
    main: dict[str, Any] = kind["actions"]["main"]
    return {**main, "parameters": [one for one in main["parameters"] if one["name"] not in _OURS]}


class Install(click.Command):
    """Its options come from the role, when they are needed."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        if not self.params:
            self.params = [*options.options(_action()), *_OWN]
        return super().get_params(ctx)


_OWN: list[click.Parameter] = [
    click.Option(["secret_file", "--secret-file"], multiple=True, metavar="PARAMETER=FILE",
                 help="Read database-url or redis-url from a file: they may hold passwords. May be repeated."),
    click.Option(["unset", "--unset"], multiple=True, metavar="PARAMETER",
                 help="Back to the default. May be repeated."),
    click.Option(["check", "--check"], is_flag=True, help="Only show what would change."),
    click.Option(["remove", "--remove"], is_flag=True, help="Take it away again; database and keys stay."),
]


def _install(check: bool, remove: bool, secret_file: tuple[str, ...], unset: tuple[str, ...], **params: Any) -> None:
    _must_fit()
    if remove:
        _play("remove", {}, check)
        click.echo("Removed. Database and keys are still in /var/lib/webops-panel and /etc/webops-panel.")
        return
    action = _action()
    new, secrets = options.given(action, params), asking.secrets(action, (), secret_file, None)
    values = _clean(overlay.laid_over(action, kept(action, SETTINGS), {}, new, secrets, unset))
    _play("main", {**values, "panel_version": _version()}, check)
    if not check:
        click.echo(f"\nWebOps is installed: https://{values['panel_domain']}/")
        click.echo("Next: webops user add NAME --admin")


def kept(action: dict[str, Any], file: Path) -> dict[str, Any]:
    """What the last install set, by full name; nothing where there was none."""
    lines = file.read_text().splitlines() if file.exists() else []
    settings = dict(line.split("=", 1) for line in lines if re.match("WEBOPS_[A-Z_]+=", line))
    there = {name.removeprefix("WEBOPS_").lower(): "".join(shlex.split(text)) for name, text in settings.items()}
    there["domain"] = there.get("base_url", "").removeprefix("https://")
    there["port"] = there.get("bind", "").rpartition(":")[2]
    return {one["name"]: there[one["key"]].split(",") if one["type"] == "list" else there[one["key"]]
            for one in action["parameters"] if there.get(one["key"])}


def _clean(given: dict[str, Any]) -> dict[str, Any]:
    """The values in their types. Stop: some cannot be used, with words for each."""
    from panel.catalog import Refused, catalog, clean

    try:
        cleaned = clean(catalog().kind("panel"), "main", {**given, "panel_checkout": str(ROOT)})
    except Refused as refused:
        raise Stop("This cannot be installed so.", Exit.REFUSED,
                   problems=[(one.parameter, one.message) for one in refused.problems]) from None
    return {**cleaned.values, **cleaned.secrets}


def _play(action: str, values: dict[str, Any], check: bool) -> None:
    from cli.local.play import play

    facts = {"ansible_connection": "local", "ansible_python_interpreter": "/usr/bin/python3"}
    # Already root: there may be no sudo yet to become root with.
    mine = {"panel_checkout": str(ROOT), "ansible_become": False, "server_name": "panel"}
    code = play(ROOT / "playbooks" / "panel.yml", "localhost", ROOT / "inventory" / "hosts.yml", action=action,
                values={**values, **mine}, check=check, more={"panel": {"hosts": {"localhost": facts}}})
    if code is not Exit.OK:
        raise Stop("The panel was not installed completely.", code,
                   next_step="the step above says what is wrong; afterwards the same command goes on from there")


def _must_fit() -> None:
    """Stop: this machine cannot run WebOps for good, in one sentence and with what works instead."""
    if not Path("/run/systemd/system").is_dir():
        raise Stop("This machine does not run systemd.", Exit.FAILED,
                   next_step="webops up --detach starts everything without it")
    if os.geteuid() != 0:
        raise Stop("Only root can install units and users.", Exit.FAILED, next_step="try again with sudo")
    for folder in (ROOT, *ROOT.parents):
        if not folder.stat().st_mode & stat.S_IXOTH:
            raise Stop(f"The panel's own user cannot read this checkout: {folder} is closed to others.", Exit.FAILED,
                       next_step="put the checkout where others can read, such as /opt/webops-panel")


def _version() -> str:
    """Of this checkout; "" where that cannot be told."""
    try:
        done = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True,
                              check=False)
    except OSError:
        return ""
    return done.stdout.strip()


install = Install("install", callback=_install, help=(
    "Install the panel on this machine for good: units, nginx and a certificate in front, up again after a reboot. "
    "Run it again to change a setting or after an update: options that are not given stay as they are."))
