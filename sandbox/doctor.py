"""Whether this machine can boot servers, and what the sandbox keeps on it."""

from __future__ import annotations

import os

from sandbox import cache, host, image, layer, server
from sandbox.host import why_not
from sandbox.place import Place

__all__ = ["report", "why_not"]


def report(place: Place) -> list[str]:
    """Lines for a person: the verdict, each requirement, and what the sandbox holds."""
    lacking = set(host.missing())
    lines = [why_not() or "This machine can boot sandbox servers.", ""]
    lines += [f"{'missing' if need in lacking else 'ok':8} {need.package:18} {need.reason}"
              for need in host.requirements()]
    lines += ["", f"state    {place.state}", f"cache    {place.cache}"]
    return lines + holdings(place) if os.geteuid() == 0 else lines


def holdings(place: Place) -> list[str]:
    """Images, layers, servers and what is not needed any more; only root may look."""
    lines = []
    for release in image.RELEASES:
        built = image.find(place, release)
        where = built.root if built else "not built yet: `build` does it, or the first `up`"
        lines.append(f"image    {release:18} {where}")
    lines += [f"layer    {kept.name:18} {kept.release} {kept.stamp}" for kept in layer.layers(place)]
    lines += [f"server   {one.name:18} {one.release} {one.address} {'running' if one.running else 'stopped'}"
              for one in server.servers(place)]
    lines += [f"old      {path} (`doctor --clear` deletes it)" for path in cache.unneeded(place)]
    return lines
