"""`webops key`: the deploy key with which a resource reads its repository."""

from __future__ import annotations

import click

from cli import tables
from cli.doors import door
from cli.exits import Exit, Stop


@click.command()
@click.argument("name")
@click.option("--new", "is_new", is_flag=True, help="Make one; another than the one it had.")
@click.option("--kind", default="", metavar="KIND", help="With --new: what NAME will be, where it is not there yet.")
@click.option("--server", default="", metavar="NAME", help="With --new: where it will be, a server or a group.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--local", is_flag=True, expose_value=False, help="Keep it in inventory/ instead of a panel.")
def key(name: str, is_new: bool, kind: str, server: str, as_json: bool) -> None:
    """The public half of a resource's deploy key, to be added where its repository is as a key that may read."""
    source = door()
    if (kind or server) and not is_new:
        raise click.UsageError("--kind and --server belong to --new.")
    found = source.make_key(name, kind.replace("-", "_"), server) if is_new else _kept(source.resource(name), name)
    if as_json:
        tables.as_json({"resource": name, "public_key": found})
        return
    click.echo(found)
    if is_new:
        click.echo("Add this line where the repository is, as a deploy key that may read. Then apply the resource.",
                   err=True)


def _kept(resource: dict[str, object], name: str) -> str:
    known = resource.get("public_keys")
    if not isinstance(known, dict) or not known:
        raise Stop(f"{name} has no deploy key.", Exit.REFUSED, code="no_key", next_step=f"webops key {name} --new")
    return str(next(iter(known.values())))
