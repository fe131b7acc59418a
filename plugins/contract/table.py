"""The table of docs/contract.md, made from the schema."""

from __future__ import annotations

from typing import Any

from .schema import SCHEMA
from .shown import flow


def table() -> str:
    """The table of docs/contract.md."""
    lines = ["| key | what it is | default | example |", "|---|---|---|---|"]
    lines += [
        f"| `{path}` | {_what(part)} | {_shown(part.get('default'))} | {_shown((part.get('examples') or [None])[0])} |"
        for path, part in _parts(SCHEMA, "")
    ]
    return "\n".join(lines) + "\n"


def _parts(schema: dict[str, Any], path: str) -> list[tuple[str, dict[str, Any]]]:
    """Every key with its full path; a map or a list of maps is followed by what is in it."""
    found: list[tuple[str, dict[str, Any]]] = []
    for key, part in schema.get("properties", {}).items():
        here = f"{path}{key}"
        found.append((here, part))
        found += _parts(part, f"{here}.")
        if "additionalProperties" in part:
            found += _parts(part["additionalProperties"], f"{here}.<name>.")
        found += _parts(part.get("items", {}), f"{here}[].")
    return found


def _what(part: dict[str, Any]) -> str:
    kinds = part.get("kinds")
    choices = " One of " + ", ".join(f"`{one}`" for one in part["enum"]) + "." if "enum" in part else ""
    return part["description"] + choices + (f" ({', '.join(kinds)})" if kinds else "")


def _shown(value: Any) -> str:
    """A value as it stands in webops.yml, on one line."""
    return "" if value is None else f"`{flow(value)}`".replace("|", "\\|")
