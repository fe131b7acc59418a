"""New values laid over the ones that are there. Pure: values in, values out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from cli.options import is_pairs


def laid_over(action: Mapping[str, Any], values: Mapping[str, Any], kept: Mapping[str, Any],
              new: Mapping[str, Any], secrets: Mapping[str, Any], unset: tuple[str, ...] = ()) -> dict[str, Any]:
    """All values to send, by full name.

    `kept` names the secrets that are stored (a list of names for a {name, value} list): what is not given anew is
    sent without a value, which means "keep". `unset` takes away a parameter, or one item: "environment.NAME".
    """
    parameters = {one["name"]: one for one in action["parameters"]}
    result = dict(values)
    for name, names in kept.items():
        if isinstance(names, list):
            result[name] = [{"name": item, "value": None} for item in names]
    for name, value in {**new, **secrets}.items():
        is_list = name in parameters and is_pairs(parameters[name])
        result[name] = _items(result.get(name), value) if is_list else value
    for place in unset:
        _take_away(parameters, result, place)
    return result


def _items(old: Any, new: Any) -> Any:
    if not isinstance(new, list):
        return new
    merged = {item["name"]: item for item in old or []}
    for place, item in enumerate(new):
        merged[item.get("name", place) if isinstance(item, dict) else place] = item
    return list(merged.values())


def _take_away(parameters: Mapping[str, Mapping[str, Any]], result: dict[str, Any], place: str) -> None:
    key, _, item = place.partition(".")
    name = next((name for name, one in parameters.items() if key.replace("-", "_") in (name, one["key"])), None)
    if name is None:
        raise click.UsageError(f"There is no parameter '{key}' here to unset.")
    if item:
        result[name] = [one for one in result.get(name) or [] if one["name"] != item]
    else:
        # A secret that is not sent is kept; this takes it away.
        result[name] = [] if parameters[name].get("secret") else None
