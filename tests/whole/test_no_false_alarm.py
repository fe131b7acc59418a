"""Nobody touched the server, so nothing has drifted: a few looks over all kinds; many of them in tests/soak."""

from __future__ import annotations

import json
from typing import Any

import pytest

from panel.catalog import catalog
from tests.world import SERVER, World

pytestmark = pytest.mark.sandbox


def wishes(world: World) -> dict[str, tuple[str, dict[str, Any]]]:
    """One resource of each kind that a server without a graphics card can have, by name."""
    world.named("quiet.whole.test", "cert.whole.test", "vhost.whole.test")
    return {
        "quiet-site": ("static_site", {"repo": world.repository("site").address, "domain": "quiet.whole.test",
                                       "certificate": "self_signed", "command": ["python3", "build.py"],
                                       "directory": "public"}),
        "quiet-db": ("postgres_db", {}),
        "quiet-cert": ("ssl_cert", {"domain": "cert.whole.test", "source": "self_signed"}),
        "quiet-vhost": ("nginx_vhost", {"domain": "vhost.whole.test", "roots": ["/usr/share/doc/nginx"]}),
        "quiet-cache": ("redis_db", {}),
    }


def settled(world: World) -> list[str]:
    """Names of resources, the guestbook among them, that are applied and that nobody touches."""
    names = ["guestbook"]
    for name, (kind, values) in wishes(world).items():
        if kind not in catalog().kinds:
            continue
        answer = world.api("PUT", f"/resources/{name}", {"kind": kind, "server": SERVER, "values": values})
        assert answer.ok, f"{name}: {answer.text}"
        world.succeeded(answer.json()["run"]["id"])
        names.append(name)
    return names


def looks(world: World, wanted: int) -> int:
    """Look `wanted` times in all, in turn; every one must end in sync. Returns how many looks there were."""
    names, done = settled(world), 0
    while done < wanted:
        for name in names:
            world.ended(world.ask("POST", f"/resources/{name}/drift/runs", {})["run"]["id"])
            found = world.ask("GET", f"/resources/{name}/drift")
            assert found["state"] == "in_sync", f"look {done} at {name}: {json.dumps(found, indent=1)}"
            done += 1
    return done


def test_a_look_at_what_nobody_touched_finds_nothing(guestbook: World) -> None:
    assert looks(guestbook, 10) >= 10
