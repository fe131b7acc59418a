"""Options of a command, made from the parameters of an action; and back from options to values."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import click

Parameter = dict[str, Any]

#: Flags that the commands have themselves; a parameter of such a name is written with its full name.
OWN = frozenset({"server", "check", "values", "no-wait", "timeout", "json", "local", "ask", "secret-file",
                 "secret-stdin", "unset", "help", "yes", "group", "on", "batch", "preset"})


def flag(parameter: Parameter) -> str:
    """--domain; --django-app-check where the short name is taken by the command."""
    key = str(parameter["key"]).replace("_", "-")
    return str(parameter["name"]).replace("_", "-") if key in OWN else key


def is_pairs(parameter: Parameter) -> bool:
    """A list of {name, value}: written NAME=VALUE."""
    return {one["key"] for one in parameter["suboptions"]} == {"name", "value"} and parameter["type"] == "list"


def options(action: dict[str, Any]) -> list[click.Option]:
    """One option per parameter that is no secret. The panel or the catalog refuses what does not fit, in words."""
    return [_option(one) for one in action["parameters"] if not one["secret"]]


def _option(parameter: Parameter) -> click.Option:
    name = flag(parameter)
    if parameter["type"] == "bool":
        return click.Option([parameter["name"], f"--{name}/--no-{name}"], default=None, help=_help(parameter))
    return click.Option([parameter["name"], f"--{name}"], multiple=parameter["type"] == "list", default=None,
                        metavar=_metavar(parameter), help=_help(parameter))


def _metavar(parameter: Parameter) -> str:
    if parameter["choices"]:
        return "[" + "|".join(map(str, parameter["choices"])) + "]"
    if is_pairs(parameter):
        return "NAME=VALUE"
    if parameter["suboptions"] or parameter["type"] == "dict":
        return "JSON"
    return {"int": "NUMBER", "float": "NUMBER", "path": "PATH"}.get(parameter["type"], "TEXT")


def _help(parameter: Parameter) -> str:
    words = [f"{parameter['label']}.", parameter["help"]]
    if parameter["type"] == "list":
        words.append("May be repeated.")
    if parameter["default"] not in (None, "", []):
        words.append(f"[default: {_shown(parameter['default'])}]")
    elif parameter["required"]:
        words.append("[required]")
    return " ".join(word for word in words if word)


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else json.dumps(value)


def given(action: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    """Values by full name from what click parsed: only what was written on the command line."""
    return {one["name"]: _value(one, params[one["name"]]) for one in action["parameters"]
            if params.get(one["name"]) not in (None, ())}


def _value(parameter: Parameter, text: Any) -> Any:
    if isinstance(text, bool):
        return text
    if parameter["type"] == "dict":
        return _json(parameter, text)
    if parameter["type"] != "list":
        return text
    if is_pairs(parameter):
        return [pair(parameter, one) for one in text]
    return [_json(parameter, one) for one in text] if parameter["suboptions"] else list(text)


def pair(parameter: Parameter, text: str) -> dict[str, str]:
    """NAME=VALUE; everything behind the first '=' is the value, as it stands."""
    name, sign, value = text.partition("=")
    if not sign:
        raise click.BadParameter(f"Write NAME=VALUE, not '{text}'.", param_hint=f"--{flag(parameter)}")
    return {"name": name, "value": value}


def _json(parameter: Parameter, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        columns = ", ".join(one["key"] for one in parameter["suboptions"])
        raise click.BadParameter(f"Write it as JSON{f' with {columns}' if columns else ''}, not '{text}'.",
                                 param_hint=f"--{flag(parameter)}") from None


def secret_names(action: dict[str, Any]) -> Iterator[str]:
    """What --ask, --secret-file and --secret-stdin take: 'password', 'secrets.NAME'."""
    for one in action["parameters"]:
        if one["secret"]:
            yield f"{one['key']}.NAME" if is_pairs(one) else str(one["key"])
