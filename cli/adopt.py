"""`webops adopt`: take over what a server serves already."""

from __future__ import annotations

from typing import Any

import click

from cli import tables
from cli.doors import panel_door
from cli.exits import Exit, Stop
from cli.panel import Panel, part
from cli.progress import clean


@click.command()
@click.argument("server")
@click.argument("domain", required=False)
@click.option("--kind", default="", metavar="KIND", help="What it becomes; nginx_vhost, as it is, where left out.")
@click.option("--name", default="", metavar="NAME", help="Name of the resource; made from the domain where left out.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def adopt(ctx: click.Context, server: str, domain: str | None, kind: str, name: str, as_json: bool) -> None:
    """The sites that SERVER serves and WebOps did not make; with DOMAIN, take that one over.

    The values that were read are written down as a resource, and a plan shows what would change. Nothing is changed
    before a plan is applied: change values and plan again (`webops plan KIND NAME --option …`) as often as you like.
    """
    source = panel_door(ctx, "Sites are read and planned by a panel.",
                        "write the values of nginx_vhost by hand, with nginx_vhost_replaces")
    _look(source.panel, server, as_json)
    found = source.panel.get(f"/servers/{part(server)}/sites")
    if domain is None:
        _listed(found, server, as_json)
        return
    site = next((one for one in found["sites"] if domain in [one["domain"], *one["names"]]), None)
    if site is not None and not as_json:
        _show(site, kind)
    made = source.panel.post(f"/servers/{part(server)}/adoptions", {"domain": domain, "kind": kind, "name": name})
    ctx.exit(int(_plans(source.panel, made["plans"], as_json)))


def _look(panel: Panel, server: str, as_json: bool) -> None:
    from cli.follow import conclude, watch

    ended = watch(panel, panel.post(f"/servers/{part(server)}/runs", {"action": "survey"})["run"], as_json)
    if ended["state"] != "succeeded":
        conclude(ended)
        raise Stop(f"What {server} serves could not be read.", Exit.FAILED)


def _listed(found: dict[str, Any], server: str, as_json: bool) -> None:
    if as_json:
        tables.as_json(found)
        return
    tables.table(("SITE", "SERVES", "CAN BECOME"), [
        (one["domain"], clean(one["serves"]), ", ".join(kind["kind"] for kind in one["kinds"]) or "nothing, as it is")
        for one in found["sites"]], f"{server} serves nothing that WebOps did not make.")
    for one in found["sites"]:
        for why in one["cannot"]:
            click.secho(f"{clean(one['domain'])}: {clean(why)}", fg="yellow")
    if any(one["kinds"] for one in found["sites"]):
        click.echo(f"Next: webops adopt {server} DOMAIN")


def _show(site: dict[str, Any], kind: str) -> None:
    chosen = next((one for one in site["kinds"] if kind in ("", one["kind"])), None)
    if chosen is None:
        return
    click.echo(f"{clean(site['domain'])} becomes a {chosen['kind']}. {clean(chosen['why'])}")
    if site["certificate"]:
        click.echo(f"Certificate: {clean(site['certificate'])}")
    for one in chosen["left_out"]:
        click.secho(f"  would no longer hold: {clean(one)}", fg="yellow")
    others = [one["kind"] for one in site["kinds"] if one is not chosen]
    if others and not kind:
        click.echo(f"It could also become: {', '.join(others)} (--kind).")


def _plans(panel: Panel, made: list[dict[str, Any]], as_json: bool) -> Exit:
    from cli.follow import watch
    from cli.plans import tell

    ended = [(one["plan"]["id"], watch(panel, one["run"], as_json)) for one in made]
    found = [(panel.get(f"/plans/{number}"), run) for number, run in ended]
    if as_json:
        tables.as_json({"plans": [plan for plan, _run in found]})
    else:
        for plan, run in found:
            tell(plan, run)
        if len(found) > 1:
            click.echo("Apply them in this order: " + ", then ".join(f"plan {plan['id']}" for plan, _run in found))
    return Exit.OK if all(plan["state"] == "ready" for plan, _run in found) else Exit.FAILED
