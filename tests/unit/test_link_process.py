"""The link as its neighbours meet it: rows that change, answers through Redis, nothing left when it ends."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from panel.link import client
from panel.runs import bell
from tests.linked import Linked, wait

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="records of resources must belong to root")


@pytest.fixture
def linked(database: Path, tmp_path: Path) -> Iterator[Linked]:
    made = Linked(tmp_path)
    made.fake_ssh()
    made.start_redis()
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def web1(linked: Linked) -> int:
    linked.answers("web1", "ok")
    number = linked.add_server("web1")
    linked.start_link()
    return number


def test_it_says_how_a_server_and_its_resources_are(linked: Linked, web1: int) -> None:
    there, gone = linked.add_resource("guestbook", web1), linked.add_resource("shop", web1)
    linked.record("guestbook", probes=[{"type": "path", "path": "/etc/hostname"}])

    server = linked.until(lambda: linked.server(web1), "ok")
    assert server.observed_text.startswith("Reached: load ")
    assert server.observed_data["figures"]["memory_total"] > 0
    assert linked.until(lambda: linked.resource(there), "ok").observed_text == "/etc/hostname is there."
    assert linked.until(lambda: linked.resource(gone), "missing").observed_text == (
        "Not there: nothing of shop is on web1.")


def test_a_server_whose_own_services_are_not_well_says_so(linked: Linked, web1: int) -> None:
    linked.until(lambda: linked.server(web1), "ok")
    linked.record("web1", "server", probes=[{"type": "path", "path": "/nowhere"}])
    bell.look(web1)
    assert linked.until(lambda: linked.server(web1), "missing").observed_text == "Reached. Not there: /nowhere is gone."


def test_a_server_that_cannot_be_reached_makes_its_resources_unknown_and_says_why(linked: Linked, web1: int) -> None:
    resource = linked.add_resource("guestbook", web1)
    linked.record("guestbook", probes=[{"type": "path", "path": "/"}])
    linked.until(lambda: linked.resource(resource), "ok")

    linked.answers("web1", "refuse")
    _kill_ssh(linked)

    server = linked.until(lambda: linked.server(web1), "failed")
    assert "Cannot be reached since 20" in server.observed_text
    assert "connection refused on port 22. Check that the SSH server runs there" in server.observed_text
    seen = linked.until(lambda: linked.resource(resource), "unknown")
    assert "because web1 cannot be reached: connection refused" in seen.observed_text

    linked.answers("web1", "ok")
    linked.until(lambda: linked.resource(resource), "ok", seconds=30)
    linked.until(lambda: linked.server(web1), "ok")


def test_a_connection_that_was_cut_is_made_again_and_nobody_is_alarmed(linked: Linked, web1: int) -> None:
    linked.until(lambda: linked.server(web1), "ok")
    bells = _bells()
    for _ in range(3):
        before = len(linked.calls())
        _kill_ssh(linked)
        wait("a new connection", lambda before=before: len(linked.calls()) > before)
        assert client.ask("observe", server_id=web1)["observed"] == "ok"
    # The server's own sentence may change meanwhile: it tells the load of this machine.
    assert [bell for bell in bells() if bell["resources"]] == []


def test_a_changed_host_key_is_named_and_the_new_one_offered(linked: Linked) -> None:
    linked.answers("127.0.0.1", "changed")
    server = linked.add_server("web1", "127.0.0.1")
    linked.start_link()
    seen = linked.until(lambda: linked.server(server), "failed")
    assert "its host key is not the accepted one, so nothing was sent" in seen.observed_text
    assert seen.observed_data["reason"] == "host_key"


def test_an_account_that_is_not_let_in_is_named(linked: Linked) -> None:
    linked.answers("web1", "login")
    server = linked.add_server("web1")
    linked.start_link()
    seen = linked.until(lambda: linked.server(server), "failed")
    assert "webops-deploy may not log in with WebOps' key. Make the server ready again" in seen.observed_text


def test_a_server_that_talks_nonsense_does_not_disturb_the_others(linked: Linked) -> None:
    linked.answers("evil", "garbage")
    linked.answers("good", "greeting")
    evil, good = linked.add_server("evil"), linked.add_server("good")
    linked.start_link()
    linked.until(lambda: linked.server(good), "ok")
    linked.until(lambda: linked.server(evil), "failed")
    assert client.ask("observe", server_id=good)["observed"] == "ok"


def test_a_bell_makes_it_look_at_once(linked: Linked, web1: int) -> None:
    resource = linked.add_resource("guestbook", web1)
    linked.until(lambda: linked.resource(resource), "missing")
    bells = _bells()
    linked.record("guestbook", probes=[{"type": "path", "path": "/"}])
    bell.look(web1)
    linked.until(lambda: linked.resource(resource), "ok", seconds=4)
    assert {"server": web1, "resources": [resource]} in wait("a bell for the pages", bells)


def test_nothing_is_written_while_nothing_changes(linked: Linked, web1: int) -> None:
    resource = linked.add_resource("guestbook", web1)
    linked.record("guestbook", probes=[{"type": "path", "path": "/"}])
    first = linked.until(lambda: linked.resource(resource), "ok").observed_at
    client.ask("observe", server_id=web1)
    assert linked.resource(resource).observed_at == first


def test_servers_come_change_and_go_without_a_restart(linked: Linked, web1: int) -> None:
    from panel.store import db
    from panel.store.models import Server

    linked.until(lambda: linked.server(web1), "ok")
    linked.answers("web2", "ok")
    second = linked.add_server("web2")
    bell.look(second)
    linked.until(lambda: linked.server(second), "ok")
    with db.session() as session:
        session.get(Server, second).address = "elsewhere"
        session.delete(session.get(Server, web1))
        session.commit()
    linked.until(lambda: linked.server(second), "failed")  # found by itself
    wait("web1 is let go", lambda: not _ssh(linked))
    with pytest.raises(client.LinkError) as refused:
        client.ask("observe", server_id=web1)
    assert refused.value.code == "not_ready"


def test_redis_may_go_and_come_back(linked: Linked, web1: int) -> None:
    linked.until(lambda: linked.server(web1), "ok")
    linked.stop_redis()
    with pytest.raises(client.LinkDown, match="Redis cannot be reached"):
        client.ask("observe", server_id=web1)
    time.sleep(2)
    used = sum(psutil.Process(linked.link.pid).cpu_times()[:2])
    time.sleep(3)
    assert sum(psutil.Process(linked.link.pid).cpu_times()[:2]) - used < 1.0, "it spins"
    linked.start_redis()
    wait("an answer", lambda: _asked(web1), seconds=30)
    assert linked.link.poll() is None


def test_the_database_may_go_and_come_back(linked: Linked, web1: int, database: Path) -> None:
    resource = linked.add_resource("guestbook", web1)
    linked.until(lambda: linked.resource(resource), "missing")
    away = database / "webops.db"
    away.rename(database / "aside")
    for more in ("-wal", "-shm"):
        (database / f"webops.db{more}").unlink(missing_ok=True)
    away.mkdir()
    time.sleep(3)
    assert linked.link.poll() is None
    away.rmdir()
    (database / "aside").rename(away)
    linked.record("guestbook", probes=[{"type": "path", "path": "/"}])
    linked.until(lambda: linked.resource(resource), "ok", seconds=30)


def test_it_ends_quickly_and_leaves_nothing(linked: Linked, web1: int) -> None:
    linked.until(lambda: linked.server(web1), "ok")
    children = linked.children()
    assert {"ssh-agent", "python3"} <= {one.name() for one in children}
    assert linked.stop_link() < 3
    _, alive = psutil.wait_procs(children, timeout=3)
    assert not alive
    assert list(linked.scratch.iterdir()) == []
    with pytest.raises(client.LinkDown, match="webops link"):
        client.ask("observe", timeout=1, server_id=web1)


def test_killed_it_takes_its_children_along_and_the_next_one_sweeps(linked: Linked, web1: int) -> None:
    linked.until(lambda: linked.server(web1), "ok")
    children = linked.children()
    linked.link.send_signal(signal.SIGKILL)
    linked.link.wait()
    _, alive = psutil.wait_procs(children, timeout=5)
    assert not alive
    left = list(linked.scratch.iterdir())
    assert len(left) == 1
    assert b"PRIVATE KEY" not in b"".join(file.read_bytes() for file in left[0].iterdir() if file.is_file())
    linked.start_link()
    wait("the sweep", lambda: not left[0].exists())


def test_the_private_key_never_is_a_file_or_an_argument(linked: Linked, web1: int) -> None:
    secret = (linked.folder / "key-web1").read_text().splitlines()[2]
    linked.until(lambda: linked.server(web1), "ok")
    for place in linked.scratch.rglob("*"):
        assert not place.is_file() or secret not in place.read_text()
    for process in [psutil.Process(linked.link.pid), *linked.children()]:
        assert secret not in " ".join(process.cmdline()) + json.dumps(process.environ())
    assert all(option in linked.calls()[0] for option in (
        "-F none", "-oStrictHostKeyChecking=yes", "-oBatchMode=yes", "-oIdentitiesOnly=yes", "-oForwardAgent=no",
        "-oServerAliveInterval=15", "-oServerAliveCountMax=4", "-l webops-deploy -- web1"))


def _ssh(linked: Linked) -> list[psutil.Process]:
    # The fake became the shell's exec'ed python3.
    return [one for one in linked.children() if one.name() == "python3"]


def _kill_ssh(linked: Linked) -> None:
    for one in _ssh(linked):
        one.kill()


def _asked(server_id: int) -> bool:
    try:
        return client.ask("observe", timeout=5, server_id=server_id)["observed"] == "ok"
    except client.LinkError:
        return False


def _bells():
    listening = client._redis().pubsub()
    listening.subscribe("webops:observed")
    listening.get_message(timeout=1)
    heard: list[dict] = []

    def all_of_them() -> list[dict]:
        while message := listening.get_message(ignore_subscribe_messages=True, timeout=0.1):
            heard.append(json.loads(message["data"]))
        return heard

    return all_of_them
