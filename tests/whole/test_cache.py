"""An app with a cache: one wish, one run; its own processes reach it and nobody else's do."""

from __future__ import annotations

import json

import pytest

from tests.world import World

pytestmark = pytest.mark.sandbox
PING = ("import os, socket; s = socket.socket(socket.AF_UNIX); s.connect(os.environ['REDIS_URL'].removeprefix('unix://'))"
        "; s.sendall(b'PING\\r\\n'); print('answered', s.recv(9))")


def test_an_app_gets_its_cache(guestbook: World) -> None:
    world = guestbook
    values = {**world.guestbook(), "cache": True, "cache_memory": "16M"}
    world.succeeded(world.apply("django_app", "guestbook", values))
    try:
        part = world.ask("GET", "/resources/guestbook-cache")
        assert (part["kind"], part["parent"], part["values"]) == ("redis_db", "guestbook", {"redis_db_memory": "16M"})
        # In a unit of the app's, as confined as the one that serves; and in a terminal.
        for words in (["command", "guestbook", "--", "shell", "-c", PING],
                      ["exec", "guestbook", "--", "python", "-c", PING]):
            done = world.webops(*words)
            assert done.returncode == 0 and "PONG" in done.stdout, done.stdout + done.stderr
        served = json.loads(world.root("cat", "/srv/webops/guestbook/env/bindings.json"))
        assert served["REDIS_URL"] == "unix:///run/webops/guestbook-cache/redis.sock"
        for user in ("www-data", "nobody", "webops-deploy"):
            asked = ["redis-cli", "-s", served["REDIS_URL"].removeprefix("unix://"), "ping"]
            said = world.root("runuser", "-u", user, "--", *asked, check=False)
            assert "PONG" not in said
        world.succeeded(world.act("guestbook-cache", "restart"))
        again = world.webops("apply", "django_app", "guestbook", "--json")
        assert again.returncode == 0 and "PONG" in world.webops("exec", "guestbook", "--", "python", "-c", PING).stdout
    finally:
        world.succeeded(world.apply("django_app", "guestbook", world.guestbook()))
