"""A cache or queue as its role promises it."""

from __future__ import annotations

import re
import time

import pytest

from tests.sandbox.roles.conftest import Ready
from tests.sandbox.roles.cycle import cycle

pytestmark = pytest.mark.sandbox
NAME = "shop-cache"
# What stays after `remove`: the data, and the Unix user who owns them.
DATA = re.compile(rf"\+ file /srv/webops/{NAME}(/data\S*)? |\+ (user|group) wo-{NAME} "
                  r"|[+-] file /etc/g?(passwd|group|shadow) ")
SOCKET = f"/run/webops/{NAME}/redis.sock"


def redis(ready: Ready, *words: str, user: str = f"wo-{NAME}", name: str = NAME) -> str:
    """What Redis answers to somebody on the server; "" and its complaint where it does not let them in."""
    script = f'runuser -u "$1" -- sh -c \'redis-cli -s /run/webops/{name}/redis.sock "$@"\' sh "${{@:2}}" 2>&1 || true'
    return ready.run("bash", "-c", script, "bash", user, *words).strip()


@pytest.fixture(scope="module")
def shop(ready: Ready) -> Ready:
    """A server with two apps' users, and the package: packages belong to the server."""
    ready.run("apt-get", "-qy", "install", "--no-install-recommends", "redis-tools")
    for app in ("shop", "other"):
        ready.run("useradd", "--system", "--comment", f"webops {app}", "--user-group", f"wo-{app}")
    return ready


def apply(ready: Ready, **values: object) -> list[str]:
    played = ready.play("redis_db", NAME, {f"redis_db_{key}": value for key, value in values.items()})
    assert played.code == 0, played.words() or played.output
    return played.changed


@pytest.mark.every_release
def test_life(shop: Ready) -> None:
    def works() -> None:
        assert redis(shop, "set", "a", "1") == "OK"
        assert redis(shop, "get", "a", user="wo-shop") == "1"
        assert "Permission denied" in redis(shop, "get", "a", user="wo-other")
        assert "Permission denied" in redis(shop, "get", "a", user="webops-deploy")
        assert redis(shop, "config", "get", "port").split()[-1] == "0"
        assert redis(shop, "config", "get", "maxmemory").split()[-1] == str(32 * 1024 ** 2)
        assert "NOPERM" in redis(shop, "config", "set", "dir", "/tmp", user="wo-shop")
        listening = shop.run("ss", "-Hltnp")
        assert "redis" not in listening and "6379" not in listening
        assert "redis-server.service" not in shop.run("systemctl", "list-unit-files")

    cycle(shop, "redis_db", NAME, {"redis_db_apps": ["shop"], "redis_db_memory": "32M"}, works=works,
          by_hand=(f"sed -i 's/maxmemory 33554432/maxmemory 1000000/' /etc/systemd/system/wo-{NAME}@.service; "
                   f"systemctl daemon-reload; systemctl restart wo-{NAME}@main"),
          stays=lambda line: bool(DATA.match(line)),
          remove_data={"redis_db_remove_data": NAME})
    assert shop.run("ls", "/run/webops").strip() == ""


@pytest.mark.every_release
def test_what_it_keeps(shop: Ready) -> None:
    """Killed, restarted, kept in another way: the data are there, unless nothing shall be kept."""
    apply(shop)
    redis(shop, "set", "kept", "yes")
    time.sleep(1.5)  # written to the disk every second
    shop.run("systemctl", "kill", "-s", "KILL", f"wo-{NAME}@main.service")
    _until(shop, "yes")
    for way in ("snapshots", "append-only", "snapshots"):
        assert apply(shop, persistence=way) == ["Install its unit"]
        assert redis(shop, "get", "kept") == "yes", f"lost on the way to {way}"
        redis(shop, "incr", "ways")
    assert redis(shop, "get", "ways") == "3"
    apply(shop, persistence="none")
    redis(shop, "set", "kept", "no")
    assert shop.play("redis_db", NAME, {}, action="restart", account="webops-deploy").code == 0
    assert redis(shop, "dbsize") == "0"


def _until(ready: Ready, value: str) -> None:
    for _ in range(50):
        if redis(ready, "get", "kept") == value:
            return
        time.sleep(0.2)
    raise AssertionError(f"after a kill it holds {redis(ready, 'get', 'kept')!r}")


def test_who_may_use_it(shop: Ready) -> None:
    """Given and taken away without a restart: nothing that is not kept is lost."""
    apply(shop, persistence="none")
    redis(shop, "set", "a", "1")
    assert "Permission denied" in redis(shop, "get", "a", user="wo-shop")
    apply(shop, persistence="none", apps=["shop", "other"])
    assert [redis(shop, "get", "a", user=user) for user in ("wo-shop", "wo-other")] == ["1", "1"]
    apply(shop, persistence="none", apps=["other"])
    assert "Permission denied" in redis(shop, "get", "a", user="wo-shop")
    assert redis(shop, "get", "a", user="wo-other") == "1"
    refused = shop.play("redis_db", NAME, {"redis_db_apps": ["nobody-there"], "redis_db_persistence": "none"})
    assert refused.failed and "no such user" in refused.words()
    assert redis(shop, "get", "a", user="wo-other") == "1", "a refused change changed something"


def test_full_memory_forgets_what_has_an_end(shop: Ready) -> None:
    apply(shop, memory="4M", persistence="none")
    fill = ('for i in $(seq 1 60); do redis-cli -s "$1" -x set "cache:$i" ex 1000 < /root/block; done >/dev/null; '
            'redis-cli -s "$1" get job')
    shop.run("sh", "-c", "head -c 100000 /dev/zero | tr '\\0' x > /root/block")
    redis(shop, "set", "job", "important")
    assert shop.run("sh", "-c", fill, "sh", SOCKET).strip() == "important"
    assert 0 < int(redis(shop, "dbsize")) < 60


def test_every_day_without_root(shop: Ready) -> None:
    """Stopped stays stopped over a reboot of the server's services; start brings it back. By the deploy account."""
    apply(shop, apps=["shop"])
    for action, active in (("stop", "inactive"), ("start", "active"), ("restart", "active"), ("stop", "inactive")):
        played = shop.play("redis_db", NAME, {}, action=action, account="webops-deploy")
        assert played.code == 0, played.words()
        assert shop.run("systemctl", "is-active", f"wo-{NAME}@main", check=False).strip() == active
    assert shop.play("redis_db", NAME, {}, action="stop", account="webops-deploy").changed == []
    shop.run("systemctl", "start", f"wo-{NAME}@main", check=False)  # what a boot does
    assert shop.run("systemctl", "is-active", f"wo-{NAME}@main", check=False).strip() == "inactive"
    assert apply(shop, apps=["shop"]) == ["Let it run"]


def test_its_unit_is_hardened(shop: Ready) -> None:
    said = shop.run("systemd-analyze", "security", "--no-pager", f"wo-{NAME}@main.service", check=False)
    exposure = float(said.rsplit("exposure level for", 1)[1].split(":")[1].split()[0])
    assert exposure < 2, said
    assert shop.run("stat", "-c", "%a %U", f"/srv/webops/{NAME}/data").strip() == f"700 wo-{NAME}"


def test_what_is_not_ours_is_refused(shop: Ready) -> None:
    shop.run("useradd", "--system", "wo-taken")
    refused = shop.play("redis_db", "taken", {})
    assert "was not made by WebOps" in refused.words()
    shop.run("userdel", "wo-taken")
    other = shop.play("redis_db", NAME, {"redis_db_remove_data": "shop"}, action="remove")
    assert "type the resource's own name" in other.words()


@pytest.mark.parametrize("values, words", [
    ({"redis_db_memory": "1 GB; rm"}, "Write a size"),
    ({"redis_db_apps": ["a b"]}, "Use 2-29 characters"),
    ({"redis_db_apps": ["shop\nd /etc"]}, "Use 2-29 characters"),
    ({"redis_db_eviction": "--port 6379"}, "value of redis_db_eviction must be one of"),
])
def test_bad_values_are_refused_in_words(shop: Ready, values: dict[str, object], words: str) -> None:
    played = shop.play("redis_db", "bad", values)
    assert played.failed and words in played.words(), played.output
