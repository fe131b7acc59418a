"""`webops plan …`: see what would change, then have exactly that done."""

from __future__ import annotations

from typing import Any

import click

from cli import asked, changes, tables
from cli.doors import Remote, door, panel_door
from cli.exits import Exit, Stop
from cli.progress import clean

_NUMBER = click.argument("number", type=click.IntRange(1, 2**31 - 1))
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_INSTEAD = [
    click.Option(["webops_detailed", "--detailed-exitcode"], is_flag=True,
                 help=f"End with {int(Exit.CHANGES)} where something would change, with 0 where nothing would."),
]


class Plans(click.Group):
    """`show`, `apply` and `list`, and everything that can be planned: kinds by their names, resources by theirs."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        found = super().get_command(ctx, cmd_name)
        if found is not None:
            return found
        try:
            kind = door(ctx).kind(cmd_name.replace("-", "_"))
        except Stop as stop:
            if stop.code != "unknown_kind":
                raise
            return OfResource(cmd_name)
        return asked.for_action(kind, "main", _plan, _INSTEAD)


class OfResource(click.Command):
    """`webops plan NAME --action ACTION`: which options it has, the kind of NAME and the action decide."""

    def make_context(self, info_name: str | None, args: list[str], parent: click.Context | None = None,
                     **extra: Any) -> click.Context:
        assert self.name
        source = door(parent)
        kind = source.kind(source.resource(self.name)["kind"])
        action, rest = _action(args)
        if action not in kind["actions"]:
            names = ", ".join(one.replace("_", "-") for one in kind["actions"])
            raise Stop(f"{self.name} is a {kind['label']}, which has no action '{action}'.", Exit.USAGE,
                       next_step=f"it has: {names}")
        command = asked.for_action(kind, action, _plan, [*_INSTEAD, click.Option(
            ["--action"], metavar="ACTION", expose_value=False, help="What to plan; Apply where it is left out.")])
        return command.make_context(info_name, [self.name, *rest], parent, **extra)


def _action(args: list[str]) -> tuple[str, list[str]]:
    """The action that is named, and the other words."""
    for place, one in enumerate(args):
        if one == "--":
            break
        if one.startswith("--action="):
            return one.removeprefix("--action=").replace("-", "_"), [*args[:place], *args[place + 1:]]
        if one == "--action" and place + 1 < len(args):
            return args[place + 1].replace("-", "_"), [*args[:place], *args[place + 2:]]
    return "main", args


@click.group(cls=Plans, subcommand_metavar="KIND NAME … | NAME --action ACTION … | show N | apply N | list")
def plan() -> None:
    """See what would change, then have exactly that done.

    `webops plan KIND NAME …` takes what `webops apply` takes, `webops plan NAME --action ACTION …` what the action
    takes. Nothing is changed. `webops plan apply NUMBER` does what was shown, with the values of the plan; where
    anything that it rests on has moved, it says what, and changes nothing. With --local it is looked at and printed,
    and no plan is kept.
    """


def _plan(ctx: click.Context, kind: dict[str, Any], action: dict[str, Any], params: dict[str, Any]) -> None:
    wish, source = asked.wished(kind, action, params), door(ctx)
    as_json, wait = params["webops_json"], not params["webops_no_wait"]
    if not isinstance(source, Remote):
        if params["webops_detailed"]:
            raise Stop("--detailed-exitcode needs a panel, which keeps what was found.", Exit.USAGE)
        ctx.exit(int(source.carry_out(wish, wait=wait, as_json=as_json)))
    made = source.plan(wish)
    if not wait:
        _hand_over(made["plan"], as_json)
        return
    from cli.follow import watch

    ended = watch(source.panel, made["run"], as_json)
    found = source.panel.get(f"/plans/{made['plan']['id']}")
    if as_json:
        tables.as_json(found)
    else:
        tell(found, ended)
    ctx.exit(int(_exit(found, params["webops_detailed"])))


def _exit(found: dict[str, Any], is_detailed: bool) -> Exit:
    if found["state"] != "ready":
        return Exit.FAILED
    return Exit.CHANGES if is_detailed and found["changes"] else Exit.OK


def _hand_over(made: dict[str, Any], as_json: bool) -> None:
    if as_json:
        tables.as_json(made)
    else:
        click.echo(f"Plan {made['id']} is being made: webops plan show {made['id']}")


def tell(found: dict[str, Any], ended: dict[str, Any] | None = None) -> None:
    what = f"{found['action_label']} {found['resource']} on {found['server']}"
    click.echo(f"Plan {found['id']}: {clean(what)}")
    if found["state"] == "failed" and ended is not None:
        from cli.follow import conclude

        conclude(ended)
        return
    if found["refusal"]:
        click.secho(clean(found["refusal"]), fg="red")
    _show_code(found)
    for one in found.get("variables", []):
        click.echo(f"Variable without a value: {clean(one['name'])}  {click.style(clean(one['why']), dim=True)}")
    changes.show(found["changes"])
    count = found["changed"]
    if count == 0 and found["state"] == "ready":
        click.secho(f"{found['steps']} steps were looked at; nothing would change.", fg="green")
    elif found["state"] == "ready":
        click.echo(f"{count} of {found['steps']} steps would change something. Nothing was touched.")
        click.echo(f"Next: webops plan apply {found['id']}{_confirm(found)}")


def _show_code(found: dict[str, Any]) -> None:
    facts, commit = found["facts"], found["commit"]
    if commit:
        before = f"{found['from']['short']} → " if found["from"] and found["from"]["id"] != commit["id"] else ""
        click.echo(f"Commit: {before}{commit['short']} {clean(commit['subject'])}".rstrip())
    for one in facts.get("commits") or []:
        click.secho(f"    {one['short']} {clean(one['subject'])} ({clean(one['author'])})", dim=True)
    if facts.get("commits_more"):
        click.secho(f"    and {facts['commits_more']} more", dim=True)
    if model := facts.get("model"):
        click.echo(clean(model["sentence"]))
    for server, own in (facts.get("servers") or {}).items():
        click.echo(f"On {server}: {_on_server(own)}")
    for one in found["migrations"]:
        click.echo(f"Migration: {clean(one['name'])}")
        for loss in one.get("takes_away") or []:
            click.secho(f"    takes away: {clean(str(loss))}", fg="red")


def _on_server(own: dict[str, Any]) -> str:
    """What is to come there, where the servers differ."""
    commit, live = own["commit"], own["from"]
    code = [] if not commit else [f"{commit['short']} as it is live"] if live and live["id"] == commit["id"] else [
        f"{live['short']} → {commit['short']}" if live else f"{commit['short']}, the first one there"]
    migrations = [clean(one["name"]) for one in own["migrations"] or []]
    signs = (("added", "+"), ("removed", "-"), ("changed", "~"))
    variables = [f"{sign}{clean(name)}" for word, sign in signs for name in (own["environment"] or {}).get(word) or []]
    return "; ".join([*code, ", ".join(migrations) or "no migration", ", ".join(variables) or "no other variable"])


def _confirm(found: dict[str, Any]) -> str:
    names = [one["name"] for one in found["migrations"] if one.get("takes_away")]
    return "".join(f" --confirm-migration {name}" for name in names)


def _panel(ctx: click.Context) -> Remote:
    return panel_door(ctx, "Plans are kept by a panel; there are none with --local.")


@plan.command("list")
@click.option("--resource", metavar="NAME", help="Only of this resource.")
@click.option("-n", "limit", default=20, show_default=True, type=click.IntRange(1, 1000), help="How many.")
@_JSON
@click.pass_context
def list_plans(ctx: click.Context, resource: str | None, limit: int, as_json: bool) -> None:
    """Newest first."""
    rows = _panel(ctx).panel.get("/plans", resource=resource, limit=limit)["plans"]
    if as_json:
        tables.as_json(rows)
        return
    tables.table(("PLAN", "WHAT", "SERVER", "STATE", "CHANGES", "WHEN", "BY"),
                 [(one["id"], f"{one['action_label']} {one['resource']}", one["server"], tables.state(one["state"]),
                   one["changed"] if one["state"] != "new" else "", tables.ago(one["created_at"]), one["actor"])
                  for one in rows], "No plan yet.")


@plan.command("show")
@_NUMBER
@_JSON
@click.pass_context
def show(ctx: click.Context, number: int, as_json: bool) -> None:
    """A plan with all its differences."""
    found = _panel(ctx).panel.get(f"/plans/{number}")
    if as_json:
        tables.as_json(found)
    else:
        tell(found)


@plan.command("apply")
@_NUMBER
@click.option("--confirm-migration", "confirmed", multiple=True, metavar="NAME",
              help="A migration that takes something away, and may. May be repeated; '*' stands for all.")
@click.option("--no-wait", is_flag=True, help="Do not wait for the run's end.")
@_JSON
@click.pass_context
def apply(ctx: click.Context, number: int, confirmed: tuple[str, ...], no_wait: bool, as_json: bool) -> None:
    """Do what the plan showed, or say what has moved since and change nothing."""
    from cli.follow import follow

    panel = _panel(ctx).panel
    run = panel.post(f"/plans/{number}/runs", {"confirm_migrations": list(confirmed)})["run"]
    ctx.exit(int(follow(panel, run, wait=not no_wait, as_json=as_json)))
