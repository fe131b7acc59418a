"""What can be asked for: roles read into kinds, actions and parameters. A role is the only description of itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from panel.catalog import formats
from panel.catalog.presets import Presets, read_presets

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
#: An option without a word in kind.yml's `formats:` gets the format its name ends with.
_BY_SUFFIX = ("domain", "port", "email", "repo")
_SUFFIX_FORMAT = {"repo": "git_address"}


#: API keys of clients, figures over time, a chat: what the record of a resource then names is in docs/link.md.
OFFERS = ("keys", "figures", "chat")


class BrokenRole(ValueError):
    """A role that cannot be offered; the message says which file and why."""


@dataclass(frozen=True)
class Parameter:
    """One option of an action."""

    name: str                       # django_app_domain
    key: str                        # domain: what people type in forms, on the command line, in the API
    type: str                       # str int bool float list dict path raw
    label: str
    help: str = ""
    elements: str = ""              # of a list
    choices: tuple[Any, ...] = ()
    required: bool = False
    secret: bool = False
    default: Any = None
    format: str = ""
    group: str = ""
    #: Of a list of dict: its columns, usually name and value.
    suboptions: tuple[Parameter, ...] = ()
    #: As Ansible reads it, for Ansible's own validator.
    spec: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class Action:
    """What can be done to a resource: one entry point of the role."""

    name: str
    label: str
    summary: str
    help: str
    privilege: str                  # admin or deploy
    dangerous: bool
    parameters: tuple[Parameter, ...]
    #: Parameters whose values become the resource's own when the action has succeeded. The first says what it is
    #: about: where it is given, the others count as given, too.
    keeps: tuple[str, ...] = ()

    def parameter(self, name: str) -> Parameter | None:
        """The parameter with this full or short name."""
        return next((one for one in self.parameters if name in (one.name, one.key)), None)

    def mine(self, values: Mapping[str, Any], given: Iterable[str]) -> dict[str, Any]:
        """Of a resource's values those that this action takes beside what is `given`."""
        named = {found.name for name in given if (found := self.parameter(str(name)))}
        # Another model comes without the revision of the one before.
        anew = self.keeps if self.keeps and self.keeps[0] in named else ()
        return {name: value for name, value in values.items() if self.parameter(name) and name not in anew}

    def kept(self, values: Mapping[str, Any], used: Mapping[str, Any]) -> dict[str, Any]:
        """A resource's values after this action has succeeded with `used`."""
        left = {name: value for name, value in values.items() if name not in self.keeps}
        return {**left, **{name: used[name] for name in self.keeps if name in used}}


@dataclass(frozen=True)
class Include:
    """A part that a kind brings: a resource of another kind whose values follow the parent's."""

    kind: str
    suffix: str
    when: tuple[str, ...]
    values: Mapping[str, Any]

    def name(self, parent: str) -> str:
        return f"{parent}-{self.suffix}"


@dataclass(frozen=True)
class Kind:
    """One role as people see it."""

    name: str
    label: str
    summary: str
    icon: str
    title: str                      # name of the parameter shown beside the resource's name
    link: bool                      # whether the title is a domain to open
    groups: tuple[str, ...]
    actions: Mapping[str, Action]
    includes: tuple[Include, ...]
    path: Path
    playbook: Path
    addon: str = ""
    #: What else can be had of a resource beside actions: keys, figures, chat.
    offers: tuple[str, ...] = ()
    presets: Presets = field(default_factory=Presets)

    @property
    def main(self) -> Action:
        return self.actions["main"]

    def url(self, values: Mapping[str, Any]) -> str | None:
        """The address to open, where there is one."""
        domain = values.get(self.title) if self.link else None
        return f"https://{domain}/" if domain else None


def read_kind(path: Path, playbook: Path, addon: str = "") -> Kind:
    """The role in `path` as a kind. BrokenRole: its spec or kind.yml cannot be used."""
    specs = _yaml(path / "meta" / "argument_specs.yml").get("argument_specs")
    if not isinstance(specs, dict) or "main" not in specs:
        raise BrokenRole(f"{path}/meta/argument_specs.yml has no entry point 'main'.")
    meta = _yaml(path / "meta" / "kind.yml") if (path / "meta" / "kind.yml").exists() else {}
    name = path.name
    groups = _groups(meta)
    actions = {entry: _action(name, entry, spec or {}, meta, groups) for entry, spec in specs.items()}
    return Kind(
        name=name, label=meta.get("label", name.replace("_", " ").capitalize()),
        summary=meta.get("summary", specs["main"].get("short_description", "")), icon=meta.get("icon", "part"),
        title=meta.get("title", ""), link=bool(meta.get("link", False)),
        groups=tuple(dict.fromkeys(groups.values())), actions=actions,
        includes=tuple(_includes(path, meta)), path=path, playbook=playbook, addon=addon,
        offers=_offers(path, meta), presets=_presets(path, meta, actions["main"]))


def _yaml(path: Path) -> dict[str, Any]:
    try:
        data = yaml.load(path.read_bytes(), Loader=_Loader)  # noqa: S506  a safe loader, the C one where it is built
    except OSError as wrong:
        raise BrokenRole(f"{path} cannot be read: {wrong.strerror}.") from wrong
    except yaml.YAMLError as wrong:
        raise BrokenRole(f"{path} is not YAML: {wrong}") from wrong
    if not isinstance(data, dict):
        raise BrokenRole(f"{path} holds no mapping.")
    return data


def _presets(path: Path, meta: Mapping[str, Any], main: Action) -> Presets:
    if "presets" not in meta:
        return Presets()
    file = path / "meta" / str(meta["presets"])
    data = _yaml(file)

    def full_name(key: str) -> str | None:
        parameter = main.parameter(key)
        return parameter.name if parameter and not parameter.secret else None

    try:
        return read_presets(data, full_name)
    except ValueError as wrong:
        raise BrokenRole(f"{file}: {wrong}.") from wrong


def _groups(meta: Mapping[str, Any]) -> dict[str, str]:
    return {name: group["label"] for group in meta.get("groups", []) for name in group["parameters"]}


def _text(description: Any) -> list[str]:
    return [description] if isinstance(description, str) else list(description or [])


def _action(kind: str, name: str, spec: Mapping[str, Any], meta: Mapping[str, Any],
            groups: Mapping[str, str]) -> Action:
    own = (meta.get("actions") or {}).get(name) or {}
    options = spec.get("options") or {}
    order = {parameter: place for place, parameter in enumerate(groups)}
    parameters = [_parameter(kind, option, one, meta.get("formats") or {}, option, groups.get(option, ""))
                  for option, one in options.items() if option != f"{kind}_name"]
    parameters.sort(key=lambda one: (order.get(one.name, len(order)), not one.required))
    return Action(
        name=name, label=own.get("label", "Apply" if name == "main" else name.replace("_", " ").capitalize()),
        summary=spec.get("short_description", ""), help=" ".join(_text(spec.get("description"))),
        privilege=own.get("privilege", "admin"), dangerous=bool(own.get("dangerous", False)),
        parameters=tuple(parameters), keeps=tuple(own.get("keeps", ())))


def _parameter(prefix: str, name: str, spec: Mapping[str, Any], wanted: Mapping[str, str], path: str,
               group: str) -> Parameter:
    text = _text(spec.get("description"))
    key = name.removeprefix(f"{prefix}_")
    is_list = spec.get("type") == "list"
    return Parameter(
        name=name, key=key, type=spec.get("type", "str"), elements=spec.get("elements", ""),
        label=(text[0].rstrip(".") if text else key.replace("_", " ").capitalize()), help=" ".join(text[1:]),
        choices=tuple(spec.get("choices") or ()), required=bool(spec.get("required", False)),
        secret=bool(spec.get("no_log", False)), default=spec.get("default"),
        format=_format(wanted, path, name, is_list), group=group,
        suboptions=tuple(_parameter("", sub, one, wanted, f"{path}[].{sub}" if is_list else f"{path}.{sub}", "")
                         for sub, one in (spec.get("options") or {}).items()),
        spec=dict(spec))


def _format(wanted: Mapping[str, str], path: str, name: str, is_list: bool) -> str:
    found = wanted.get(f"{path}[]" if is_list else path) or wanted.get(path)
    if found is None:
        suffix = next((one for one in _BY_SUFFIX if name.endswith(f"_{one}")), "")
        found = _SUFFIX_FORMAT.get(suffix, suffix)
    if found and found not in formats.NAMES:
        raise BrokenRole(f"meta/kind.yml gives {path} the format '{found}', which plugins/test/formats.py lacks.")
    return found


def _offers(path: Path, meta: Mapping[str, Any]) -> tuple[str, ...]:
    offers = tuple(meta.get("offers") or ())
    if unknown := [one for one in offers if one not in OFFERS]:
        raise BrokenRole(f"{path}/meta/kind.yml offers '{unknown[0]}'; there are: {', '.join(OFFERS)}.")
    return offers


def _includes(path: Path, meta: Mapping[str, Any]) -> Iterator[Include]:
    for one in meta.get("includes", []):
        try:
            when = one.get("when", [])
            yield Include(one["kind"], one["as"], (when,) if isinstance(when, str) else tuple(when),
                          one.get("values", {}))
        except (KeyError, AttributeError, TypeError) as wrong:
            raise BrokenRole(f"{path}/meta/kind.yml: an entry of 'includes' needs kind, as and values.") from wrong
