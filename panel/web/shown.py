"""Values of a resource as they may be shown: secrets only by name, and what a parent decides marked so."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from panel.catalog import Kind, Parameter
from panel.runs import keys
from panel.store.models import Resource
from panel.store.seal import unseal


class Value(NamedTuple):
    """A line of the table: `lines` is what it holds, [] when it is a secret."""

    label: str
    key: str
    lines: list[str]
    is_secret: bool
    public: str = ""                # of a key: the half that may be shown


def secret_names(resource: Resource) -> dict[str, Any]:
    """Which secrets are set, without them: {parameter: True}, or {parameter: [names]} of a {name, value} list.

    SecretContextError: they cannot be opened with this installation's key.
    """
    if not resource.secrets:
        return {}
    opened = unseal(f"resource:{resource.name}:secrets", resource.secrets)
    return {key: [str(item.get("name", "")) for item in value if isinstance(item, dict)]
            if isinstance(value, list) and any(isinstance(item, dict) for item in value) else True
            for key, value in opened.items()}


def _lines(value: Any) -> list[str]:
    if isinstance(value, bool):
        return ["yes" if value else "no"]
    if isinstance(value, dict):
        return [f"{key} = {one}" for key, one in value.items()]
    if isinstance(value, list):
        return [f"{item['name']} = {item.get('value', '')}" if isinstance(item, dict) and "name" in item
                else " ".join(f"{key}={one}" for key, one in item.items()) if isinstance(item, dict) else str(item)
                for item in value]
    return str(value).splitlines() or [""]


def _secret_lines(names: Any) -> list[str]:
    return [f"{name} = ••••••••" for name in names] if isinstance(names, list) else ["••••••••"]


def shown_values(resource: Resource, kind: Kind | None) -> list[Value]:
    """What was decided for this resource, in the order of its form."""
    secrets, public = secret_names(resource), keys.public_of(resource, kind)
    parameters: Iterable[Parameter] = kind.main.parameters if kind else ()
    rows = []
    for one in parameters:
        if one.name in secrets:
            rows.append(Value(one.label, one.key, _secret_lines(secrets[one.name]), True, public.get(one.name, "")))
        elif one.name in resource.values:
            rows.append(Value(one.label, one.key, _lines(resource.values[one.name]), False))
    known = {one.name for one in parameters}
    rows += [Value(name, name, _lines(value), False) for name, value in resource.values.items() if name not in known]
    return rows
