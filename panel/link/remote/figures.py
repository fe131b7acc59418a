"""Figures of the server: load, memory, disk, uptime, whether it wants a reboot."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any


def figures(root: str = "/") -> dict[str, Any]:
    """What the kernel says right now; a figure that cannot be read is left out."""
    found: dict[str, Any] = {"cpus": os.cpu_count() or 1, "kernel": platform.release()}
    for read in (_load, _memory, _disk, _uptime, _system, _reboot):
        try:
            found.update(read(Path(root)))
        except (OSError, ValueError, IndexError, KeyError):
            continue
    return found


def _load(root: Path) -> dict[str, Any]:
    return {"load": [float(part) for part in (root / "proc/loadavg").read_text().split()[:3]]}


def _memory(root: Path) -> dict[str, Any]:
    lines = (root / "proc/meminfo").read_text().splitlines()
    sizes = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines}
    return {"memory_total": sizes["MemTotal"], "memory_available": sizes["MemAvailable"],
            "swap_total": sizes["SwapTotal"], "swap_free": sizes["SwapFree"]}


def _disk(root: Path) -> dict[str, Any]:
    disk = os.statvfs(root)
    # What only root may still fill counts as used: an app cannot have it.
    free = disk.f_bavail * disk.f_frsize
    used = (disk.f_blocks - disk.f_bfree) * disk.f_frsize
    return {"disk_total": used + free, "disk_free": free}


def _uptime(root: Path) -> dict[str, Any]:
    return {"uptime": int(float((root / "proc/uptime").read_text().split()[0]))}


def _system(root: Path) -> dict[str, Any]:
    lines = (root / "etc/os-release").read_text().splitlines()
    values = dict(line.split("=", 1) for line in lines if "=" in line)
    return {"system": values["PRETTY_NAME"].strip('"')}


def _reboot(root: Path) -> dict[str, Any]:
    return {"reboot": (root / "run/reboot-required").exists()}
