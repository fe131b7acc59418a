"""The door without a panel: values are cleaned by the same catalog and kept in inventory/."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import click

from cli.doors import Desk, Logs, Wish
from cli.exits import Exit, Stop
from cli.local.inventory import DEPLOY, Inventory, Resource
from cli.overlay import laid_over
from panel.catalog import Kind, NoSuchKind, Refused, catalog, clean, merge_secrets, part_values
from panel.catalog.described import described
from panel.runs import keys, refuse
from panel.runs.redact import Redactor, texts

if TYPE_CHECKING:
    from cli.terminal import Line

T = TypeVar("T")


class Local:
    """Same words and same refusals as a panel."""

    def __init__(self, inventory: Inventory | None = None) -> None:
        self.inventory = inventory or Inventory()

    def kinds(self) -> list[dict[str, Any]]:
        return [described(kind) for kind in catalog().kinds.values()]

    def kind(self, name: str) -> dict[str, Any]:
        return described(_kind(name))

    def resources(self) -> list[dict[str, Any]]:
        return [self._shown(one) for one in sorted(self._all(), key=lambda one: one.name)]

    def resource(self, name: str) -> dict[str, Any]:
        return self._shown(self._must(name))

    def values(self, name: str, secrets: bool) -> dict[str, Any]:
        one = self._must(name)
        hosts = [other.host for other in self._all() if other.name == name]
        return {"name": name, "kind": one.kind, "server": one.server, "hosts": hosts,
                "values": {**one.values, **(one.secrets if secrets else {})}}

    def make_key(self, name: str, kind: str, server: str) -> str:
        """A new deploy key, kept in host_vars; its public half."""
        old = self.inventory.resource(name)
        if old is None and not (kind and server):
            raise Stop(f"There is no resource '{name}' in {self.inventory.hosts_file.name}.", Exit.REFUSED,
                       next_step=f"webops key {name} --new --kind KIND --server SERVER")
        one = old or Resource(name, kind, server)
        wish = _kind(one.kind)
        try:
            _check_name(Wish(kind or one.kind, name, "main", {}, server=server or None), old)
        except Refused as refused:
            raise Stop(refused.problems[0].message, Exit.REFUSED, code="invalid_values") from None
        parameter = keys.parameter_of(wish)
        if parameter is None:
            raise Stop(f"A {wish.label} has no deploy key.", Exit.REFUSED, code="no_key")
        self._check_parts(wish, one)
        self.inventory.server(one.server)
        private = keys.pair()
        self.inventory.put(replace(one, secrets={**one.secrets, parameter.name: private}))
        return keys.public_line(private, name)

    def logs(self, name: str, wanted: Logs) -> Iterator[str]:
        """The journal, over SSH as webops-deploy."""
        from cli.local.conversation import Conversation
        from panel.link import asked
        from panel.link.client import Entry

        one = self._must(name, wanted.on)
        found = _cleaned(lambda: asked.wanted(wanted.lines, wanted.since, wanted.follow, wanted.grep, wanted.until,
                                              wanted.process))
        conversation = Conversation(self.inventory.folder, self.inventory.server(one.server))
        hide = Redactor(texts(one.secrets))
        try:
            for line in conversation.ask("journal", name=name, **found):
                yield hide.text(str(Entry(*line)))
        finally:
            conversation.close()

    def terminal(self, name: str, wanted: dict[str, Any]) -> Line:
        """A command, over SSH as webops-deploy, who becomes the app's user."""
        from cli.local.conversation import Conversation
        from cli.local.near import NearLine

        one = self._must(name, str(wanted.get("server", "")))
        conversation = Conversation(self.inventory.folder, self.inventory.server(one.server))
        return _cleaned(lambda: NearLine(conversation, name, wanted))

    def desk(self, name: str) -> Desk:
        """Keys, chat and measurements, over SSH as webops-deploy."""
        from cli.local.desk import NearDesk

        one = self._must(name)
        kind = _kind(one.kind)
        return NearDesk(self.inventory, kind, self.inventory.named(name) or [one])

    def carry_out(self, wish: Wish, *, wait: bool, as_json: bool) -> Exit:
        """Write what is wanted, then run the playbook. With --check nothing is written."""
        try:
            code = self._apply(wish, as_json) if wish.action == "main" else self._act(wish, as_json)
        except Refused as refused:
            raise Stop(f"{len(refused.problems)} value(s) cannot be used.", Exit.REFUSED, code="invalid_values",
                       problems=[(one.parameter, one.message) for one in refused.problems]) from None
        if as_json:
            state = {Exit.OK: "succeeded", Exit.CANCELED: "canceled"}.get(code, "failed")
            click.echo(json.dumps({"resource": wish.name, "kind": wish.kind, "action": wish.action, "state": state,
                                   "mode": "check" if wish.check else "apply"}, indent=2))
        return code

    def _apply(self, wish: Wish, as_json: bool) -> Exit:
        kind, old = _kind(wish.kind), self.inventory.resource(wish.name)
        _check_name(wish, old)
        if wish.group:
            raise Stop("Groups are kept by a panel.", Exit.USAGE, next_step="without one, write a host NAME@SERVER for "
                       "each server into the inventory; what is done to NAME is then done on all of them")
        server = wish.server or (old.server if old else None)
        if not server:
            raise Stop(f"{wish.name} is new: say on which server it shall be.", Exit.USAGE, next_step="--server NAME")
        self.inventory.server(server)
        new = _changed(kind, wish, old, server)
        refuse.private_git_hosts(kind.main, new.values)
        refuse.long_part_names(kind, new.name, {**new.values, **new.secrets})
        self._check_domains(kind, new)
        self._check_parts(kind, new)
        if not wish.check:
            for one in self.inventory.named(new.name) or [new]:
                self.inventory.put(replace(new, server=one.server))
        return self._play(new, "main", {**new.values, **new.secrets}, wish, as_json)

    def _check_parts(self, kind: Kind, new: Resource) -> None:
        """Names are unique over everything, parts included."""
        parts = {part.name for part in _parts(kind, new)}
        for other in self._all():
            if other.parent and other.name == new.name:
                raise Stop(f"'{new.name}' is a part of {other.parent} and follows it.", Exit.REFUSED,
                           code="part_of_another", next_step=f"change {other.parent}, or choose another name")
            if other.name in parts and other.parent != new.name:
                raise Stop(f"'{other.name}' is a {other.kind} already.", Exit.REFUSED, code="name_taken",
                           next_step="choose another name: it is unique in WebOps")

    def _act(self, wish: Wish, as_json: bool) -> Exit:
        one = self._must(wish.name)
        if wish.action == "remove" and one.parent:
            raise Stop(f"{one.name} is a part of {one.parent}, which decides about it.", Exit.REFUSED,
                       next_step=f"webops apply {one.kind} {one.parent} with other values, or webops remove "
                                 f"{one.parent}")
        spec = _kind(one.kind).actions[wish.action]
        given = {**wish.values, **wish.secrets}
        cleaned = clean(_kind(one.kind), wish.action, {**spec.mine(one.values, given), **given},
                        known_secrets=one.secrets)
        refuse.private_git_hosts(spec, cleaned.values)
        others = {name: value for name, value in one.values.items() if not spec.parameter(name)}
        values = {**others, **one.secrets, **cleaned.values, **cleaned.secrets}
        code = self._play(one, wish.action, values, wish, as_json)
        if wish.action == "remove" and code is Exit.OK and not wish.check:
            for gone in self.inventory.named(one.name):
                if not wish.on or gone.server in wish.on:
                    self.inventory.drop(gone)
        if spec.keeps and code is Exit.OK and not wish.check:
            for kept in self.inventory.named(one.name):
                self.inventory.put(replace(kept, values=spec.kept(kept.values, values)))
        return code

    def _play(self, one: Resource, action: str, values: dict[str, Any], wish: Wish, as_json: bool) -> Exit:
        from cli.local.play import play

        kind = _kind(one.kind)
        user = {"ansible_user": DEPLOY} if kind.actions[action].privilege == "deploy" else {}
        hosts = [other.host for other in self.inventory.named(one.name) or [one]
                 if not wish.on or other.server in wish.on]
        if not hosts:
            raise Stop(f"{one.name} is not on {' or '.join(wish.on)}.", Exit.REFUSED, next_step="webops list --local")
        batch = {"webops_batch": wish.batch} if wish.batch else {}
        host = {one.host: self.inventory.beside(one.server)}
        more = {one.kind: {"hosts": host}} if self.inventory.resource(one.name) is None else None
        return play(kind.playbook, ",".join(hosts), self.inventory.hosts_file, action=action,
                    values={**values, **user, **batch},
                    check=wish.check, timeout=wish.timeout, to_stderr=as_json, more=more)

    def _all(self) -> list[Resource]:
        """What is written down, and the parts that follow from it."""
        found = self.inventory.resources()
        return [*found, *(part for one in found for part in _parts(_kind(one.kind), one))]

    def _must(self, name: str, server: str = "") -> Resource:
        """The resource of this name, on this one of its servers or on its first."""
        found = next((one for one in self._all() if one.name == name and server in ("", one.server)), None)
        if found is None and server:
            raise Stop(f"{name} is not on {server}.", Exit.REFUSED, next_step="webops list --local")
        if found is None:
            raise Stop(f"There is no resource '{name}' in {self.inventory.hosts_file.name}.", Exit.REFUSED,
                       next_step="webops list --local", code="not_found")
        return found

    def _check_domains(self, kind: Kind, new: Resource) -> None:
        wanted = set(refuse.domains(kind, new.values))
        for other in self.inventory.resources():
            if other.parent or other.name == new.name:
                continue
            if taken := wanted & set(refuse.domains(_kind(other.kind), other.values)):
                raise Stop(f"{min(taken)} belongs to {other.name} on {other.server}.", Exit.REFUSED,
                           code="domain_taken", next_step="choose another domain, or take it away there first")

    def _shown(self, one: Resource) -> dict[str, Any]:
        kind = _kind(one.kind)
        return {
            "name": one.name, "kind": one.kind, "kind_label": kind.label, "server": one.server,
            "address": self.inventory.server(one.server).address, "parent": one.parent,
            "parts": sorted(part.name for part in _parts(kind, one) if part.parent == one.name),
            "title": one.values.get(kind.title), "link": kind.url(one.values), "values": one.values,
            "secrets": {name: [item["name"] for item in value] if isinstance(value, list) else True
                        for name, value in one.secrets.items()},
            "public_keys": keys.public(kind, one.name, one.secrets),
            "actions": [name for name in kind.actions if name != "main"], "observed": "unknown",
            "observed_text": "Only a panel looks at what runs.", "observed_at": None,
        }


def _kind(name: str) -> Kind:
    try:
        return catalog().kind(name)
    except NoSuchKind as wrong:
        raise Stop(str(wrong), Exit.REFUSED, code="unknown_kind") from None


def _check_name(wish: Wish, old: Resource | None) -> None:
    from panel.catalog import Problem, formats

    if old and (old.kind != wish.kind or wish.server not in (None, old.server)):
        raise Stop(f"The name {wish.name} is taken by a {old.kind} on {old.server}.", Exit.REFUSED, code="name_taken",
                   next_step="choose another name")
    if found := formats.problem("name", wish.name):
        raise Refused([Problem("name", found.code, found.message)])


def _changed(kind: Kind, wish: Wish, old: Resource | None, server: str) -> Resource:
    """The resource as it shall be, cleaned. Refused: values that cannot be used."""
    secrets = old.secrets if old else {}
    kept = {name: [item["name"] for item in value] if isinstance(value, list) else True
            for name, value in secrets.items()}
    given = laid_over(described(kind)["actions"]["main"], old.values if old else {}, kept, wish.values, wish.secrets,
                      wish.unset)
    given = {name: value for name, value in given.items() if name not in kept or value is not True}
    cleaned = clean(kind, "main", given, known_secrets=secrets)
    unset = {name for name, value in given.items() if value is None}
    old_secrets = {name: value for name, value in secrets.items() if name not in unset}
    return Resource(wish.name, kind.name, server, None, cleaned.values, merge_secrets(old_secrets, cleaned.secrets))


def _parts(kind: Kind, parent: Resource) -> Iterator[Resource]:
    """The parts of a resource, parts of parts included."""
    for include in kind.includes:
        values = part_values(kind, include, parent.values)
        if values is not None:
            part = Resource(include.name(parent.name), include.kind, parent.server, parent.name, values)
            yield part
            yield from _parts(_kind(include.kind), part)


def _cleaned(made: Callable[[], T]) -> T:
    from panel.link.client import LinkError

    try:
        return made()
    except LinkError as wrong:
        raise Stop(wrong.message, Exit.REFUSED, code=wrong.code) from None
