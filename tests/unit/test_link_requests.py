"""Requests from other processes, over a real Redis: answers, refusals, logs, and who is away."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from panel.link import client, wire
from tests.linked import Linked, wait

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="records of resources must belong to root")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Linked]:
    """One link for all of these: nothing here changes what another test sees."""
    from panel.settings import settings
    from panel.store import db, seal

    folder = tmp_path_factory.mktemp("linked")
    patch = pytest.MonkeyPatch()
    patch.setenv("WEBOPS_STATE", str(folder / "state"))
    cached = (settings, db.engine, db._sessions, seal._fernet)
    for one in cached:
        one.cache_clear()
    db.upgrade()
    made = Linked(folder)
    made.fake_ssh()
    made.start_redis()
    made.answers("web1", "ok")
    made.server_id = made.add_server("web1")  # type: ignore[attr-defined]
    made.add_server("new", ready_at=None)
    made.start_link()
    yield made
    made.close()
    patch.undo()
    db.engine().dispose()
    for one in cached:
        one.cache_clear()


@pytest.fixture
def log(shared: Linked, request: pytest.FixtureRequest) -> tuple[int, Path]:
    """A resource with a log file of 100 lines."""
    name = f"app-{abs(hash(request.node.name)) % 10 ** 6}"
    file = shared.folder / f"{name}.log"
    file.write_text("".join(f"line {number}\n" for number in range(1, 101)))
    shared.record(name, files=[str(file)])
    return shared.add_resource(name, shared.server_id), file


def test_the_end_of_a_log(log: tuple[int, Path]) -> None:
    found = [one for one in client.entries(log[0], lines=3) if one]
    assert [one.text for one in found] == ["line 98", "line 99", "line 100"]
    assert found[0].unit == log[1].name and found[0].priority == 6
    assert list(client.journal(log[0], 1)) == [f"{log[1].stem} line 100"]


def test_a_search_in_a_log(log: tuple[int, Path]) -> None:
    assert [one.text for one in client.entries(log[0], lines=2, grep="LINE 7") if one] == ["line 78", "line 79"]


def test_following_until_the_reader_goes(shared: Linked, log: tuple[int, Path]) -> None:
    coming = client.entries(log[0], lines=1, follow=True)
    assert next(coming).text == "line 100"
    with log[1].open("a") as more:
        more.write("\x1b[31mnew\x1b[0m \x1b]0;x\x07line\n")
    assert next(one for one in coming if one).text == "new line"
    coming.close()
    redis = client._redis()
    wait("the writer stopped", lambda: not [
        key for key in redis.keys("webops:journal:*") if not key.endswith("writer")], seconds=15)


def test_a_reader_that_died_is_noticed(shared: Linked, log: tuple[int, Path]) -> None:
    coming = client.entries(log[0], lines=1, follow=True)
    next(coming)
    client._redis().delete(*client._redis().keys("webops:journal:*:reader"))  # as if it had expired
    with pytest.raises(client.LinkError, match="not read for too long"):
        list(coming)


def test_a_quiet_log_gives_signs_of_life(log: tuple[int, Path]) -> None:
    coming = client.entries(log[0], lines=0, follow=True)
    assert next(coming) is None
    coming.close()


def test_no_log(shared: Linked) -> None:
    shared.record("silent")
    with pytest.raises(client.LinkError, match="silent keeps no log of its own"):
        client.journal(shared.add_resource("silent", shared.server_id))
    with pytest.raises(client.LinkError, match="Nothing of absent is on this server"):
        client.journal(shared.add_resource("absent", shared.server_id))
    with pytest.raises(client.LinkError, match="no such resource"):
        client.journal(10 ** 6)


def test_only_what_the_record_names_can_be_read(shared: Linked) -> None:
    """Whatever a request says, the units and files come from root's record on the server."""
    resource = shared.add_resource("plain", shared.server_id)
    shared.record("plain")
    stream = "0" * 32
    with pytest.raises(client.LinkError, match="keeps no log"):
        client.ask("journal", stream=stream, resource_id=resource, lines=5, since="", follow=False, grep="",
                   units=["ssh.service"], files=["/etc/passwd"], name="other")


@pytest.mark.parametrize(("params", "code"), [
    ({"lines": -1}, "invalid_lines"), ({"lines": 10 ** 9}, "invalid_lines"), ({"lines": True}, "invalid_lines"),
    ({"since": "--file=/etc/shadow"}, "invalid_since"), ({"since": "yesterday; id"}, "invalid_since"),
    ({"grep": "x" * 300}, "invalid_grep"), ({"resource_id": "1"}, "invalid_id"), ({"resource_id": -1}, "invalid_id"),
    ({"stream": "../../x"}, "too_many_logs"),
])
def test_requests_for_logs_that_are_refused(shared: Linked, params: dict, code: str) -> None:
    given = {"stream": "0" * 32, "resource_id": 1, "lines": 1, "since": "", "follow": False, "grep": "", **params}
    with pytest.raises(client.LinkError) as refused:
        client.ask("journal", **given)
    assert refused.value.code == code


@pytest.mark.parametrize("address", ["-oProxyCommand=touch x", "h -p 22", "user@h", "h;id", "127.0.0.1\n", "", None, 7])
def test_addresses_that_are_refused(shared: Linked, address: object) -> None:
    with pytest.raises(client.LinkError) as refused:
        client.ask("scan", address=address, port=22)
    assert refused.value.code in ("invalid_host", "not_text")


@pytest.mark.parametrize("port", ["22 -o", 0, 65536, True, 22.5, None])
def test_ports_that_are_refused(shared: Linked, port: object) -> None:
    with pytest.raises(client.LinkError) as refused:
        client.ask("scan", address="127.0.0.1", port=port)
    assert refused.value.code == "invalid_port"


def test_what_a_scan_meets(shared: Linked) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(client.LinkError, match=f"refuses connections on port {port}"):
        client.ask("scan", address="127.0.0.1", port=port)
    with pytest.raises(client.LinkError, match=r"The name no-such-host\.invalid cannot be found"):
        client.ask("scan", address="no-such-host.invalid", port=22)
    with (socket.create_server(("127.0.0.1", 0)) as silent,
          pytest.raises(client.LinkError, match="offers no SSH host key")):
        client.ask("scan", address="127.0.0.1", port=silent.getsockname()[1], timeout=30)


def test_the_test_of_a_server(shared: Linked) -> None:
    found = client.ask("test", server_id=shared.server_id)
    # Here both accounts are root on this machine: exactly what the test must not let pass.
    assert not found["ok"] and ("may become root, which" in found["text"] or "may not become root" in found["text"])
    assert [one["name"] for one in found["checks"]] == ["webops-deploy", "webops-admin"]
    for server_id, code in ((10 ** 6, "unknown_server"), ("x", "invalid_id")):
        with pytest.raises(client.LinkError) as refused:
            client.ask("test", server_id=server_id)
        assert refused.value.code == code


def test_a_server_that_is_not_ready_is_not_looked_at(shared: Linked) -> None:
    with pytest.raises(client.LinkError, match="accept its host key and make it ready first"):
        client.ask("observe", server_id=shared.server_id + 1)


def test_what_cannot_be_asked(shared: Linked) -> None:
    with pytest.raises(client.LinkError) as refused:
        client.ask("os.system", command="id")
    assert refused.value.code == "unknown_method"


def test_rubbish_in_redis_harms_nobody(shared: Linked) -> None:
    redis = client._redis()
    for number, request in enumerate(("[", "[]", '"x"', json.dumps({"method": None, "params": 7, "patience": "x"}))):
        redis.set(wire.request_key(f"{number:032x}"), request)
        redis.rpush(wire.REQUESTS, f"{number:032x}")
    redis.rpush(wire.REQUESTS, "../x", "", "f" * 32)
    redis.publish("webops:observe:-1; x", "x" * 1000)
    assert client.ask("observe", server_id=shared.server_id)["observed"] == "ok"


def test_answers_and_requests_do_not_stay(shared: Linked) -> None:
    redis = client._redis()
    client.ask("observe", server_id=shared.server_id)
    # -2: gone since they were listed.
    assert all(redis.ttl(key) != -1 for key in redis.keys("webops:*"))


def test_a_request_that_nobody_waits_for_is_left_alone(shared: Linked) -> None:
    redis = client._redis()
    redis.rpush(wire.REQUESTS, "a" * 32)  # its key has expired
    time.sleep(0.5)
    assert not redis.exists(wire.reply_key("a" * 32))


def test_many_ask_at_once(shared: Linked) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(20) as many:
        found = list(many.map(lambda _: client.ask("observe", server_id=shared.server_id)["observed"], range(60)))
    assert found == ["ok"] * 60


GEVENT = """
from gevent import monkey; monkey.patch_all()
import sys, time, gevent
from panel.link import client
resource, server = int(sys.argv[1]), int(sys.argv[2])
heard = []
def follow():
    for line in client.journal(resource, 1, follow=True):
        heard.append(line)
readers = [gevent.spawn(follow) for _ in range(5)]
asked = [gevent.spawn(client.ask, "observe", server_id=server) for _ in range(5)]
began = time.monotonic()
gevent.joinall(asked, raise_error=True)
while len(heard) < 5 and time.monotonic() - began < 15:
    gevent.sleep(0.05)
gevent.killall(readers)
print(len(heard), asked[0].value["observed"])
"""


def test_a_web_process_of_greenlets_is_not_held_up(shared: Linked, log: tuple[int, Path]) -> None:
    done = subprocess.run([sys.executable, "-c", GEVENT, str(log[0]), str(shared.server_id)], capture_output=True,
                          text=True, timeout=60, check=False)
    assert done.stdout.split() == ["5", "ok"], done.stderr
