"""What is known of a server's machine, in words."""

from __future__ import annotations

from typing import Any, NamedTuple

from panel.store.models import Server


class Fact(NamedTuple):
    label: str
    text: str


def _gigabytes(megabytes: Any) -> str:
    return f"{megabytes / 1024:.1f} GB" if isinstance(megabytes, int | float) else ""


def system(server: Server) -> str:
    """Debian GNU/Linux 12 (bookworm), or nothing before it was made ready."""
    return str(server.facts.get("distribution_name") or "")


def facts(server: Server) -> list[Fact]:
    """Read when the server was made ready; only what is known."""
    read = server.facts
    processors = f"{read.get('processors') or ''} × {read.get('architecture') or ''}".strip(" ×")
    disk = f"{_gigabytes(read.get('disk_free_mb'))} free of {_gigabytes(read.get('disk_mb'))}".strip()
    listed = [Fact("System", system(server)), Fact("Processors", processors),
              Fact("Memory", _gigabytes(read.get("memory_mb"))), Fact("Disk", disk if disk != "free of" else ""),
              Fact("Kernel", str(read.get("kernel") or "")), Fact("Python", str(read.get("python_version") or ""))]
    return [one for one in listed if one.text]
