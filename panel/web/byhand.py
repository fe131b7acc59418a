"""The same thing without a panel: commands that a person can paste."""

from __future__ import annotations

import shlex
from typing import NamedTuple

from panel.catalog import Kind
from panel.settings import ROOT
from panel.store.models import Mode, Resource, Run
from panel.web.words import kind_of


class Command(NamedTuple):
    """What it does, and the line."""

    label: str
    line: str


def _playbook(kind: Kind | None, name: str) -> str:
    if kind is None:
        return f"playbooks/{name}.yml"
    return str(kind.playbook.relative_to(ROOT)) if kind.playbook.is_relative_to(ROOT) else str(kind.playbook)


def _play(playbook: str, host: str, action: str, mode: Mode, values: str = "") -> str:
    argv = ["ansible-playbook", "-i", "inventory/hosts.yml", playbook, "--limit", host]
    argv += ["-e", f"@{values}"] if values else []
    argv += ["-e", f"webops_action={action}"] if action != "main" else []
    argv += ["--check", "--diff"] if mode is Mode.CHECK else []
    return shlex.join(argv)


def of_resource(resource: Resource, kind: Kind | None) -> list[Command]:
    """Apply this resource by hand: write its values, look at what would change, do it."""
    host = f"{resource.name}@{resource.server.name if resource.server else '*'}"
    file = f"{resource.name}.yml"
    playbook = _playbook(kind, resource.kind)
    return [
        Command("Write its values into a file", f"webops values {resource.name} --secrets > {file}"),
        Command("See what would change", _play(playbook, host, "main", Mode.CHECK, file)),
        Command("Apply it", _play(playbook, host, "main", Mode.APPLY, file)),
    ]


def of_run(run: Run) -> list[Command]:
    """The same run by hand."""
    host = ",".join(one.host for one in run.servers) or run.resource_name
    if run.resource and len(run.servers) == len(run.resource.places) > 1:
        host = f"{run.resource_name}@*"
    playbook = _playbook(kind_of(run.kind), run.kind)
    if run.kind == "server":
        return [Command("", _play(playbook, host, run.action, run.mode))]
    file = f"{run.resource_name}.yml"
    return [Command("", f"webops values {run.resource_name} --secrets > {file}"),
            Command("", _play(playbook, host, run.action, run.mode, file))]
