"""Values for nginx's configuration, quoted so that none can say more than its own text."""

from __future__ import annotations

DOCUMENTATION = """
name: nginx
short_description: Quote values for nginx
description: The filter C(nginx_text) makes one quoted argument of any text on one line.
"""


def nginx_text(value: object) -> str:
    """One argument in double quotes. ValueError where a control character is in it, which nginx cannot carry."""
    text = str(value)
    if any(ord(char) < 32 or ord(char) == 127 for char in text):
        raise ValueError("A line break or another control character cannot be part of nginx's configuration.")
    # A dollar begins a variable and cannot be escaped; conf.d/webops.conf has one that holds it.
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "${webops_dollar}")
    return f'"{escaped}"'


def nginx_pattern(value: str) -> str:
    """A path as a regular expression that matches it and what follows, as one quoted argument."""
    escaped = "".join(char if char.isalnum() or char in "/_~-" else f"[{char}]" for char in value)
    if any(char in '\\"$]^[' or ord(char) < 33 or ord(char) > 126 for char in value):
        raise ValueError("A path of a URL holds letters, digits and . _ ~ - only.")
    return f'"^{escaped}(.*)$"'


class FilterModule:
    """What Ansible asks a filter plugin for."""

    def filters(self) -> dict[str, object]:
        return {"nginx_text": nginx_text, "nginx_pattern": nginx_pattern}
