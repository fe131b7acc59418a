"""Commands made from a kind's actions: `webops apply KIND NAME …` and `webops ACTION NAME …`."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from cli import options
from cli.doors import Door, Remote, Wish, door
from cli.exits import Exit, Stop

_NAME = re.compile(r"[a-z](?:-?[a-z0-9])+")


class Kinds(click.Group):
    """`webops apply`: one command per kind, known to the panel (or to this checkout with --local)."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [kind["name"] for kind in door(ctx).kinds()]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return for_action(door(ctx).kind(cmd_name.replace("-", "_")), "main")

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        try:
            rows = [(kind["name"], kind["summary"]) for kind in door(ctx).kinds()]
        except Stop as stop:
            rows = [("(unknown)", f"{stop.message} Next: {stop.next_step}")]
        with formatter.section("Kinds"):
            formatter.write_dl(rows)


class Verb(click.Command):
    """`webops ACTION NAME`: which options it has, the kind of NAME decides."""

    def make_context(self, info_name: str | None, args: list[str], parent: click.Context | None = None,
                     **extra: Any) -> click.Context:
        assert self.name
        names = [one for one in _before_dashes(args) if _NAME.fullmatch(one)]
        if not names:
            return super().make_context(info_name, args, parent, **extra)
        source = door(parent)
        resource = _first_there(source, names)
        name, kind = resource["name"], source.kind(resource["kind"])
        action = self.name.replace("-", "_")
        if action not in kind["actions"]:
            verbs = ", ".join(one.replace("_", "-") for one in kind["actions"] if one != "main")
            raise Stop(f"{name} is a {kind['label']}, which has no action '{self.name}'.", Exit.USAGE,
                       next_step=f"it has: apply, {verbs}")
        return for_action(kind, action).make_context(info_name, args, parent, **extra)


def _first_there(source: Door, names: list[str]) -> dict[str, Any]:
    """The resource that is meant: a word before it may be the value of an option."""
    wrong: list[Stop] = []
    for name in names:
        try:
            return source.resource(name)
        except Stop as stop:
            if stop.code != "not_found":
                raise
            wrong.append(stop)
    raise wrong[0]


def _no_name(name: str) -> None:
    raise Stop(f"There is no resource '{name}': names are made of a-z, 0-9 and hyphens.", Exit.REFUSED,
               next_step="`webops list` shows the names that there are", code="not_found")


def _before_dashes(args: list[str]) -> list[str]:
    return args[:args.index("--")] if "--" in args else args


def verb(name: str) -> Verb:
    """The command of an action, before it is known what it is called on."""
    return Verb(name, params=[click.Argument(["name"], required=True)],
                help=f"Do '{name}' to the resource NAME. `webops {name} NAME --help` shows the options that its "
                     f"kind has for it.", callback=_no_name)


#: What is done with what was asked for: (context, kind, action, parameters).
Doing = Callable[[click.Context, dict[str, Any], dict[str, Any], dict[str, Any]], None]


#: A plan changes nothing, so it asks nothing, and looks at all servers at once.
_NOT_PLANNED = ("webops_check", "webops_yes", "webops_on", "webops_batch")


def for_action(kind: dict[str, Any], action_name: str, do: Doing | None = None, instead: Sequence[click.Option] = (),
               ) -> click.Command:
    """The whole command of one action of one kind. `do` it otherwise, with options `instead` of --check and --yes."""
    action = kind["actions"][action_name]

    def run(ctx: click.Context, /, **params: Any) -> None:
        (do or _run)(ctx, kind, action, params)

    own = [one for one in _own(action) if not (do and one.name in _NOT_PLANNED)]
    if kind["presets"] and action_name == "main":
        own.append(_preset_option(kind))
    words = action["help"] or action["summary"] or action["label"]
    return click.Command(action_name, params=[*_arguments(action), *options.options(action), *own, *instead],
                         help=f"{kind['label']}: {words}", callback=click.pass_context(run))


def _arguments(action: dict[str, Any]) -> list[click.Parameter]:
    found: list[click.Parameter] = [click.Argument(["webops_resource"], metavar="NAME")]
    if _words_of(action):
        found.append(click.Argument(["webops_words"], metavar="[-- WORDS…]", nargs=-1))
    return found


def _words_of(action: dict[str, Any]) -> dict[str, Any] | None:
    """The parameter that words behind `--` fill: the only required one, such as the command of `command`."""
    required = [one for one in action["parameters"] if one["required"] and not one["secret"]]
    fits = len(required) == 1 and required[0]["type"] in ("str", "list") and not required[0]["suboptions"]
    return required[0] if fits and action["name"] != "main" else None


def _own(action: dict[str, Any]) -> list[click.Parameter]:
    """What every action's command has beside the kind's parameters."""
    found: list[click.Parameter] = [
        click.Option(["webops_values", "--values"], metavar="FILE.yml", help="Read values from a YAML file first."),
        click.Option(["webops_check", "--check"], is_flag=True, help="Only show what would change."),
        click.Option(["webops_no_wait", "--no-wait"], is_flag=True, help="Do not wait for the run's end."),
        click.Option(["webops_timeout", "--timeout"], type=click.IntRange(10), metavar="SECONDS",
                     help="Stop the run when it takes longer."),
        click.Option(["webops_json", "--json"], is_flag=True, help="Print the run as JSON at its end."),
        click.Option(["--local"], is_flag=True, expose_value=False,
                     help="Run the playbook from here, without a panel."),
    ]
    found.append(click.Option(["webops_batch", "--batch"], metavar="N",
                              help="On a group: how many servers at a time, a number or 25%."))
    if action["name"] != "main":
        found.append(click.Option(["webops_on", "--on"], multiple=True, metavar="SERVER",
                                  help="On a group: only on this server. May be repeated."))
    else:
        found += [click.Option(["webops_server", "--server"], metavar="NAME", help="Server (needed for a new name)."),
                  click.Option(["webops_group", "--group"], metavar="NAME",
                               help="A group of servers, instead of one server."),
                  click.Option(["webops_unset", "--unset"], multiple=True, metavar="PARAMETER",
                               help="Back to the default; one item of a list: environment.NAME. May be repeated.")]
    if action["dangerous"]:
        found.append(click.Option(["webops_yes", "--yes"], is_flag=True, help="Do not ask whether you are sure."))
    return found + (_secret_options() if list(options.secret_names(action)) else [])


def _preset_option(kind: dict[str, Any]) -> click.Option:
    named = ", ".join(one["name"] for one in kind["presets"])
    return click.Option(["webops_preset", "--preset"], metavar="NAME",
                        help=f"{kind['presets_label']}: begin with its values. {named}.")


def _begun(kind: dict[str, Any], name: str | None) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Values of the preset of this name, and parameters that go back to their defaults, as others would set them."""
    if not name:
        return {}, ()
    chosen = next((one for one in kind["presets"] if one["name"] == name), None)
    if chosen is None:
        named = ", ".join(one["name"] for one in kind["presets"])
        raise Stop(f"There is no preset '{name}' of {kind['label']}.", Exit.USAGE, next_step=f"there are: {named}")
    all_names = {one for preset in kind["presets"] for one in preset["values"]}
    return dict(chosen["values"]), tuple(sorted(all_names - set(chosen["values"])))


def _secret_options() -> list[click.Parameter]:
    return [
        click.Option(["webops_ask", "--ask"], multiple=True, metavar="PARAMETER",
                     help="Ask for this secret (items of a list: secrets.NAME). May be repeated."),
        click.Option(["webops_secret_file", "--secret-file"], multiple=True, metavar="PARAMETER=FILE",
                     help="Read this secret from a file. May be repeated."),
        click.Option(["webops_secret_stdin", "--secret-stdin"], metavar="PARAMETER",
                     help="Read this secret from stdin."),
    ]


def _run(ctx: click.Context, kind: dict[str, Any], action: dict[str, Any], params: dict[str, Any]) -> None:
    wish = wished(kind, action, params)
    if action["dangerous"] and not wish.check and not params["webops_yes"]:
        click.confirm(f"{action['label']} {wish.name}? {action['summary']}", abort=True)
    source, wait, as_json = door(ctx), not params["webops_no_wait"], params["webops_json"]
    if action["name"] == "main" and wait and not wish.check and isinstance(source, Remote):
        from cli import variables

        wish = variables.filled(source, kind, wish, as_json)
    ctx.exit(int(source.carry_out(wish, wait=wait, as_json=as_json)))


def wished(kind: dict[str, Any], action: dict[str, Any], params: dict[str, Any]) -> Wish:
    """What the command line asks for."""
    from cli import asking, values_file

    file = values_file.read(Path(params["webops_values"])) if params["webops_values"] else {}
    short = {one["key"]: one["name"] for one in action["parameters"]}
    begun, anew = _begun(kind, params.get("webops_preset"))
    given = {short.get(name, name): value for name, value in file.items() if name != f"{kind['name']}_name"}
    given |= options.given(action, params)
    values = begun | given
    if words := params.get("webops_words"):
        parameter = _words_of(action)
        assert parameter
        values[parameter["name"]] = list(words) if parameter["type"] == "list" else shlex.join(words)
    secrets = asking.secrets(action, params.get("webops_ask", ()), params.get("webops_secret_file", ()),
                             params.get("webops_secret_stdin"))
    return Wish(kind["name"], params["webops_resource"], action["name"], values, secrets,
                (*params.get("webops_unset", ()), *(one for one in anew if one not in given)),
                params.get("webops_server"), params.get("webops_group"),
                params.get("webops_on", ()), params.get("webops_batch"), params.get("webops_check", True),
                params["webops_timeout"])


apply = Kinds("apply", help="Ask for a resource, new or changed: `webops apply KIND NAME --server S …`. Options that "
                            "are not given stay as they are.", subcommand_metavar="KIND NAME [OPTIONS]")
