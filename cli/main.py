"""`webops`: the same doors from a terminal."""

from __future__ import annotations

import re

import click

from cli.lazy import LazyGroup

_COMMANDS = {
    "login": ("cli.login:login", "Sign in to a panel"),
    "logout": ("cli.login:logout", "Sign out; the token is withdrawn"),
    "server": ("cli.servers:server", "Servers: add, list, show, ready, remove, forget"),
    "group": ("cli.groups:group", "Groups of servers: add, change, list, show, remove"),
    "kinds": ("cli.listing:kinds", "What can be asked for"),
    "apply": ("cli.asked:apply", "Ask for a resource, new or changed"),
    "plan": ("cli.plans:plan", "See what would change, then have exactly that done"),
    "adopt": ("cli.adopt:adopt", "Take over a site that a server serves already"),
    "drift": ("cli.drift:drift", "Whether servers still are as they were applied"),
    "releases": ("cli.releases:releases", "A resource's releases, and what differs between two"),
    "list": ("cli.listing:list_resources", "Resources with what was seen of them"),
    "status": ("cli.listing:status", "One resource: state, link, values, parts, runs"),
    "values": ("cli.listing:values", "A resource's values as a file for ansible-playbook"),
    "key": ("cli.keys:key", "A resource's deploy key: its public half, or a new one"),
    "logs": ("cli.listing:logs", "A resource's journal"),
    "exec": ("cli.terminal:exec_", "Run a command as an app's user, in a terminal"),
    "model": ("cli.model:model", "A model's API keys, a chat with it, a measurement"),
    "run": ("cli.runs:run", "Runs: list, show, follow, retry, cancel"),
    "up": ("cli.processes:up", "Start all of WebOps on this machine"),
    "down": ("cli.processes:down", "End what `webops up --detach` started"),
    "web": ("cli.processes:web", "The panel's process alone"),
    "worker": ("cli.processes:worker", "A worker's process alone"),
    "link": ("cli.processes:link", "The link's process alone"),
    "valkey": ("cli.processes:valkey", "The embedded Redis server alone"),
    "user": ("cli.users:user", "People who may sign in (on the panel's machine)"),
    "db": ("cli.users:db", "The panel's database"),
    "doctor": ("cli.doctor:doctor", "Look for what is wrong with this installation"),
    "install": ("cli.install:install", "Install the panel on this machine for good (systemd)"),
    "sandbox": ("cli.sandbox:sandbox", "Disposable servers to try things on"),
}

_EPILOG = """Every action of a kind is a command too: `webops deploy NAME`, `webops restart NAME`,
`webops remove NAME` … (`webops kinds` lists them). With --local, anywhere on the line, the playbooks of this
checkout run on inventory/ without a panel."""


class Root(LazyGroup):
    """Fixed commands, and any other word as an action of a resource."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        end = args.index("--") if "--" in args else len(args)
        ctx.meta["webops.local"] = "--local" in args[:end]
        return super().parse_args(ctx, [one for place, one in enumerate(args) if one != "--local" or place > end])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        found = super().get_command(ctx, cmd_name)
        if found is None and re.fullmatch(r"[a-z][a-z0-9_-]*", cmd_name) and cmd_name != "main":
            from cli.asked import verb

            return verb(cmd_name)
        return found


root = Root(name="webops", lazy=_COMMANDS, epilog=_EPILOG, help="Plain Linux servers as a hosting platform.",
            context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
click.version_option(package_name="webops", prog_name="webops")(root)


def main() -> None:
    """Entry point of `webops`."""
    root(prog_name="webops")
