"""What there is: `webops kinds`, `list`, `status`, `values`, `logs`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from cli import tables, values_file
from cli.doors import Logs, Remote, door
from cli.exits import Exit, Stop
from cli.progress import clean

_LOCAL = click.option("--local", is_flag=True, expose_value=False, help="Read inventory/ instead of a panel.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.command()
@_LOCAL
@_JSON
def kinds(as_json: bool) -> None:
    """What can be asked for, and what can be done to it."""
    found = door().kinds()
    if as_json:
        tables.as_json(found)
        return
    rows = [(kind["name"], kind["summary"],
             " ".join(name.replace("_", "-") for name in kind["actions"] if name != "main")) for kind in found]
    tables.table(("KIND", "WHAT IT IS", "ACTIONS"), rows, "No role is installed.")


@click.command("list")
@_LOCAL
@_JSON
@click.option("--all", "with_parts", is_flag=True, help="Show parts (an app's vhost, certificate, database) as well.")
def list_resources(as_json: bool, with_parts: bool) -> None:
    """Resources with what was seen of them."""
    rows = [one for one in door().resources() if with_parts or not one["parent"]]
    if as_json:
        tables.as_json(rows)
        return
    tables.table(("NAME", "KIND", "SERVER", "STATE", "SEEN", "LINK"),
                 [(one["name"], one["kind"], tables.where(one), tables.state(one["observed"]),
                   tables.ago(one["observed_at"]), one["link"]) for one in rows],
                 "Nothing yet. Next: webops apply KIND NAME --server S (webops kinds shows the kinds)")


@click.command()
@click.argument("name")
@_LOCAL
@_JSON
def status(name: str, as_json: bool) -> None:
    """One resource: state, link, values, parts, last runs. The exit code is 0 whatever the state is."""
    source = door()
    row = source.resource(name)
    runs = source.panel.get("/runs", resource=name, limit=5)["runs"] if isinstance(source, Remote) else []
    if as_json:
        tables.as_json({**row, "runs": runs})
        return
    tables.facts([("Name", row["name"]), ("Kind", row["kind"]),
                  ("Group" if row.get("group") else "Server", tables.where(row)),
                  ("State", tables.state(row["observed"])), ("", row["observed_text"]), ("Link", row["link"]),
                  ("Part of", row["parent"]), ("Parts", ", ".join(row["parts"])), ("Page", row.get("url"))])
    if row.get("group"):
        _show_places(row["places"])
    _show_values(source.kind(row["kind"]), row)
    _show_runs(runs)


def _show_places(places: list[dict[str, Any]]) -> None:
    click.secho("\nServers", dim=True)
    tables.table(("SERVER", "STATE", "SEEN", ""), [
        (one["server"], tables.state(one["observed"]), tables.ago(one["observed_at"]), one["observed_text"])
        for one in places], "")


def _show_values(kind: dict[str, Any], row: dict[str, Any]) -> None:
    labels = {one["name"]: one["key"] for one in kind["actions"]["main"]["parameters"]}
    shown = {labels.get(name, name): _short(value) for name, value in row["values"].items()}
    shown |= {labels.get(name, name): ", ".join(f"{item}=••••" for item in set_) if isinstance(set_, list) else "••••"
              for name, set_ in row["secrets"].items()}
    if shown:
        click.secho("\nValues", dim=True)
        tables.facts((f"  {name}", value) for name, value in shown.items())


def _short(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(f"{one['name']}={one.get('value')}" if isinstance(one, dict) and "name" in one else str(one)
                         for one in value)
    return str(value)


def _show_runs(runs: list[dict[str, Any]]) -> None:
    if runs:
        click.secho("\nRuns", dim=True)
        tables.table(("RUN", "ACTION", "STATE", "WHEN", "BY"),
                     [(one["id"], one["action_label"], tables.state(one["state"]), tables.ago(one["created_at"]),
                       one["actor"]) for one in runs], "")


@click.command()
@click.argument("name")
@click.option("--secrets", is_flag=True, help="With the secrets, in clear; the file is made for you alone (0600).")
@click.option("-o", "--output", metavar="FILE", help="Write this file instead of printing.")
@_LOCAL
def values(name: str, secrets: bool, output: str | None) -> None:
    """The values of a resource as a YAML file: `ansible-playbook … -e @FILE` reads them as text, never as templates."""
    found = door().values(name, secrets)
    hosts = ",".join(found["hosts"])
    title = f"Values of {name}: ansible-playbook playbooks/{found['kind']}.yml --limit {hosts} -e @FILE"
    text = values_file.text(found["values"], title)
    if output:
        values_file.write(Path(output), text, private=secrets)
        click.echo(f"Wrote {output}.", err=True)
    elif secrets and sys.stdout.isatty():
        raise Stop("Secrets are not shown on a screen.", Exit.USAGE,
                   next_step=f"webops values {name} --secrets -o FILE")
    else:
        click.echo(text, nl=False)


@click.command()
@click.argument("name")
@click.option("-f", "--follow", is_flag=True, help="Go on as new lines come (Ctrl-C ends it).")
@click.option("-n", "--lines", default=100, show_default=True, type=click.IntRange(1, 10000), help="How many.")
@click.option("--process", default="", metavar="NAME", help="Only of this one: web, worker, worker@2, build, migrate …")
@click.option("--since", default="", metavar="WHEN", help="Only later ones: 30m, 2h, 1d, or a time (UTC).")
@click.option("--until", default="", metavar="WHEN", help="Only earlier ones: the same.")
@click.option("--grep", default="", metavar="TEXT", help="Only lines with this text, in large letters or small.")
@click.option("--on", default="", metavar="SERVER", help="On which of its servers, where it is on several.")
@_LOCAL
def logs(name: str, **wanted: Any) -> None:
    """A resource's journal: all its processes, or one of them."""
    from cli.panel import Gone

    try:
        for line in door().logs(name, Logs(**wanted)):
            if line:
                click.echo(clean(line))
    except Gone:
        raise Stop("The line to the panel broke.", Exit.UNREACHABLE, next_step="ask again") from None
    except KeyboardInterrupt:
        return
