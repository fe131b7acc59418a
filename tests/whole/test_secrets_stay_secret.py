"""Passwords and keys of the first contact, of an app, a database, a repository and a hub of models, typed or made on
the server: nobody finds one without need.

The world looked at processes and files since before its first run (tests.watcher).
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from redis import Redis

from panel.settings import ROOT
from tests.world import CARD, LEDGER, SERVER, TOKEN, World

HUB = "hf_" + "Hq7x" * 8

pytestmark = pytest.mark.sandbox


@pytest.fixture(scope="module")
def filled(guestbook: World) -> Iterator[World]:
    """The guestbook with its secret variable, a database with a password, and what a deploy, a failure and a check
    have to say of them."""
    world = guestbook
    file = world.place / "ledger"
    file.write_text(LEDGER)
    made = world.webops("apply", "postgres_db", "ledger", "--server", SERVER, f"--secret-file=password={file}")
    assert made.returncode == 0, made.stderr
    file.unlink()
    world.succeeded(world.apply("postgres_db", "ledger", {"password": LEDGER}, mode="check"))
    # What the server made for the app, which only the server knows.
    made_there = json.loads(world.root("cat", "/srv/webops/guestbook/env/bindings.json"))
    own = {made_there["SECRET_KEY"], urlsplit(made_there["DATABASE_URL"]).password}
    world.watcher.needles = world.watcher.needles | {one.encode() for one in own}
    told = world.act("guestbook", "command", command=["shell", "--no-imports", "-c", "import os; print(os.environ)"])
    world.succeeded(told)
    raised = "import os; raise ValueError(os.environ['CARD'], os.environ['DATABASE_URL'])"
    failed = world.act("guestbook", "command", command=["shell", "--no-imports", "-c", raised])
    assert world.ended(failed)["state"] == "failed"
    _read_private_repository(world)
    _ask_a_hub(world)
    yield world


def _read_private_repository(world: World) -> None:
    """A site whose repository asks for a token; a key that was made for it beside that. Checked, applied, refused."""
    name, domain = "tidewater", "tidewater.whole.test"
    public = world.ask("POST", f"/resources/{name}/keys", {"kind": "static_site", "server": SERVER})["public_key"]
    key = world.ask("GET", f"/resources/{name}/values?secrets=1")["values"]["static_site_repo_key"]
    assert public.split()[1] not in key
    # A new set: the watcher goes through the old one in this moment.
    world.watcher.needles = world.watcher.needles | {line.encode() for line in key.splitlines()[2:-1]}
    path = world.repository("site").path
    values = {"repo": world.ready.box.publish(path, "hidden", "x-access-token", TOKEN), "repo_token": TOKEN,
              "domain": domain, "certificate": "self_signed", "command": ["python3", "build.py"], "directory": "public"}
    world.named(domain)
    world.succeeded(world.apply("static_site", name, values, mode="check"))
    world.succeeded(world.apply("static_site", name, values))
    world.repository("site").commit("Larger", {"note.txt": "larger"})
    world.succeeded(world.act(name, "deploy", mode="check"))
    world.succeeded(world.act(name, "deploy"))
    world.ready.box.publish(path, "hidden", "x-access-token", "another-token")
    assert "it refuses the token" in world.ended(world.act(name, "deploy"))["error"]


def _ask_a_hub(world: World) -> None:
    """A model of a hub that does not answer: its token goes to the server, and the run says why it failed."""
    world.watcher.needles = world.watcher.needles | {HUB.encode()}
    values = {"model": "some/gated", "hub": "https://127.0.0.1:9", "hub_token": HUB, "engine": "cpu"}
    for mode in ("check", "apply"):
        ended = world.ended(world.apply("vllm_model", "sage", values, mode=mode))
        assert ended["state"] == "failed" and "127.0.0.1:9" in ended["error"], ended["error"]
    assert world.ask("GET", "/resources/sage/values?secrets=1")["values"]["vllm_model_hub_token"] == HUB


def _needles(world: World) -> list[str]:
    return [needle.decode() for needle in world.watcher.needles]


def test_no_process_and_no_file_ever_showed_one(filled: World) -> None:
    assert filled.watcher.rounds > 20
    assert filled.watcher.seen == set()


def test_nothing_that_is_kept_has_one(filled: World) -> None:
    """Database with its log, Redis with its file, logs, scratch: every file of the installation."""
    kept = [path for path in filled.panel.state.rglob("*") if path.is_file()]
    names = {path.name for path in kept}
    assert {"webops.db", "web.log", "worker.log"} <= names and any(".aof" in name for name in names), names
    assert filled.watcher.in_files() == []
    left = [path.name for path in filled.scratch.iterdir() if not path.name.startswith("webops-link-")]
    assert left == [], "private directories go with their runs"
    assert not any(filled.watcher.holds(path.read_bytes()) for path in filled.scratch.rglob("*") if path.is_file())
    for folder in (ROOT / "var", Path.home() / ".ansible"):
        for path in (path for path in folder.rglob("*") if path.is_file() and "sandbox" not in str(path)):
            assert not filled.watcher.holds(path.read_bytes()), path


def test_redis_has_none_in_memory(filled: World) -> None:
    redis = Redis(unix_socket_path=str(filled.panel.state / "redis.sock"))
    redis.execute_command("BGREWRITEAOF")
    keys = list(redis.scan_iter("*"))
    assert keys
    assert not [key for key in keys if filled.watcher.holds(key + (redis.dump(key) or b""))]


def test_no_page_and_no_answer_shows_one(filled: World) -> None:
    runs = filled.ask("GET", "/runs?limit=500")["runs"]
    pages = ["/", "/runs", f"/servers/{SERVER}", *(f"/runs/{run['id']}" for run in runs)]
    for name in ("guestbook", "ledger", "guestbook-db", "tidewater", "sage"):
        pages += [f"/resources/{name}", f"/resources/{name}/edit"]
    answers = ["/servers", "/resources", "/resources/guestbook/values", "/resources/sage/values",
               "/resources/guestbook/logs?lines=500",
               *(f"/runs/{run['id']}/events?limit=500" for run in runs)]
    said = {path: filled.page(path) for path in pages}
    said |= {path: filled.api("GET", path).text for path in answers}
    said |= {f"stream {run['id']}": filled.api("GET", f"/runs/{run['id']}/stream").text for run in runs[:4]}
    told = next(run["id"] for run in runs if run["action"] == "command")
    assert "********" in said[f"/runs/{told}"], "the failure told its secret, and it was masked"
    assert [(path, one) for path, text in said.items() for one in _needles(filled) if one in text] == []
    # Only who asks for them by name gets them.
    assert CARD in filled.api("GET", "/resources/guestbook/values?secrets=1").text


def test_the_command_line_shows_none(filled: World) -> None:
    last = str(filled.ask("GET", "/runs?limit=1")["runs"][0]["id"])
    for words in (("status", "guestbook"), ("values", "guestbook"), ("list", "--json"), ("run", "show", last),
                  ("run", "follow", last), ("logs", "guestbook")):
        done = filled.webops(*words)
        assert done.stdout + done.stderr
        assert [one for one in _needles(filled) if one in done.stdout + done.stderr] == [], words


def test_the_server_tells_none(filled: World) -> None:
    """Its journal with sudo's lines, its logs, its temporary files, and what other users may read of /proc."""
    needles = "|".join(_needles(filled)).replace("+", "[+]")
    # What the app itself was told to print is in its own journal, for root and the two accounts.
    lines = filled.root("journalctl", "-q", "--no-pager", "-o", "json", "-n", "100000").splitlines()
    journal = "\n".join(line for line in lines if "wo-guestbook.task@command" not in line)
    assert [one for one in _needles(filled) if one in journal] == []
    assert "sudo" in journal
    found = filled.root("grep", "-raElE", needles, "/var/log", "/tmp", "/var/tmp", "/run", "/etc", "/home", "/root",
                        "/dev/shm", check=False).split()
    kept = [f"/etc/webops/secrets/{one}"
            for one in ("guestbook-db/password", "guestbook/secret_key", "ledger/password")]
    assert sorted(path for path in found if not path.startswith("/var/log/journal/")) == kept
    assert set(filled.root("stat", "-c", "%a %U", *kept).splitlines()) == {"600 root"}
    assert filled.root("grep", "-raElE", needles, "/srv/webops/tidewater", check=False) == ""
    assert "task-" not in filled.root("ls", "/srv/webops/tidewater/env")
    mine = filled.root("stat", "-c", "%a %U", "/srv/webops/guestbook/env/bindings.json").split()
    assert mine[0] in ("640", "440", "600", "400")
    peek = f"grep -lsaE '{needles}' -r /srv/webops /etc/webops; for one in /proc/[0-9]*; do "
    peek += "tr '\\0' ' ' < $one/environ; done"
    said = filled.root("runuser", "-u", "nobody", "--", "sh", "-c", f"({peek}) 2>/dev/null", check=False)
    assert [one for one in _needles(filled) if one in said] == []
    assert "/srv" not in said and "/etc/webops" not in said


def test_the_panel_says_nothing_of_them_to_other_users(filled: World) -> None:
    """Who is somebody else on the panel's machine finds no way in: state and scratch are closed."""
    for folder in (filled.panel.state, filled.scratch):
        found = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "ls", str(folder)],
                               capture_output=True, check=False)
        assert found.returncode != 0, folder
    text = json.dumps([filled.run(run["id"]) for run in filled.ask("GET", "/runs?limit=100")["runs"]])
    assert [one for one in _needles(filled) if one in text] == []


def test_they_work(filled: World) -> None:
    """What was looked for is really in use: the app has its variable, the password opens the database.

    At the end, because this test itself shows the password to `ps`.
    """
    answer = filled.root("env", f"PGPASSWORD={LEDGER}", "psql", "-h", "127.0.0.1", "-XAtc", "select 1", "ledger",
                         "ledger")
    assert answer.strip() == "1"
    units = filled.root("systemctl", "show", "-P", "MainPID", "wo-guestbook@a.service", "wo-guestbook@b.service")
    pid = next(one for one in units.split() if one != "0")
    assert f"CARD={CARD}" in filled.root("cat", f"/proc/{pid}/environ").split("\0")
