"""How values and commands stand in words: as a person would have written them."""

from __future__ import annotations

from typing import Any

#: A command on one line is read by the shell; as the app's own user, like a line of a Procfile.
SHELL = ["/bin/sh", "-c"]


def flow(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "[" + ", ".join(flow(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {flow(item)}" for key, item in value.items()) + "}"
    text = str(value)
    quoted = text[:1] in "*&!%@`[{" or ": " in text or (text.replace(".", "").isdigit() and isinstance(value, str))
    return f'"{text}"' if quoted else text


def command(argv: list[str]) -> str:
    """A command as a person wrote it, or as near as it gets."""
    return argv[2] if argv[:2] == SHELL and len(argv) == 3 else " ".join(argv)
