"""Commands of a person on a server: a real terminal through the panel, pipes, and that nothing stays behind."""

from __future__ import annotations

import html
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest

from cli.exits import Exit
from panel.settings import ROOT
from tests.world import CARD, SERVER, World, wait

pytestmark = pytest.mark.sandbox
#: How many processes of a person are left: those of the slots belong to systemd.
OWN = """
import os, pwd
for one in filter(str.isdigit, os.listdir("/proc")):
    try:
        user = pwd.getpwuid(os.stat(f"/proc/{one}").st_uid).pw_name
        group, said = open(f"/proc/{one}/cgroup").read(), open(f"/proc/{one}/cmdline").read()
    except (OSError, KeyError):
        continue
    if user == "wo-guestbook" and "wo-guestbook" not in group:
        print(one, said.replace(chr(0), " "))
"""


def terminal(world: World, *words: str, rows: int = 33, columns: int = 101, **more: str) -> pexpect.spawn:
    return pexpect.spawn(sys.executable, ["-m", "cli", "exec", "guestbook", *words], cwd=str(ROOT), timeout=60,
                         dimensions=(rows, columns), encoding="utf-8", codec_errors="replace",
                         env={**world.environment, "TERM": "xterm-256color", **more},  # type: ignore[arg-type]
                         preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))


def left(world: World) -> str:
    return world.root("python3", "-c", OWN).strip()


def files(world: World) -> str:
    """Python before 3.13 cannot be told to write no history."""
    return world.root("find", "/srv/webops/guestbook", "/tmp", "/run/webops", "-path", "*/releases/*", "-prune", "-o",
                      "-not", "-name", ".python_history", "-print")


@pytest.fixture(autouse=True)
def nothing_is_left(guestbook: World) -> Iterator[None]:
    before = files(guestbook)
    yield
    wait("nothing of it runs there", lambda: not left(guestbook), 40)
    assert files(guestbook) == before


def audited(world: World) -> list[dict[str, Any]]:
    return list(world.ask("GET", "/resources/guestbook/terminals")["terminals"])


def at_home(world: World, place: Path) -> dict[str, str]:
    """The same server without a panel: an inventory, and a key that its deploy account knows."""
    from cli.local.inventory import Inventory, Resource, Server, key_file

    place.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WEBOPS_INVENTORY", str(place / "inventory"))
        patch.setenv("WEBOPS_CONFIG", str(place / "config.json"))
        Inventory().put_server(Server(SERVER, world.ready.server.address))
        Inventory().put(Resource("guestbook", "django_app", SERVER))
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key_file())], check=True)
        public = key_file().with_suffix(".pub").read_text()
    known = world.ready.server.known_hosts.read_text()
    (place / "inventory" / "known_hosts").write_text(known)
    world.root("sh", "-c", "cat >> /home/webops-deploy/.ssh/authorized_keys", text=public)
    return {"WEBOPS_INVENTORY": str(place / "inventory"), "WEBOPS_CONFIG": str(place / "config.json")}


@pytest.mark.parametrize("door", ["panel", "local"])
def test_a_shell_of_python_is_a_real_terminal(guestbook: World, door: str, tmp_path: Path) -> None:
    """It computes, knows the window's size and its changes, hears Ctrl-C, has the app's variables; its code is ours."""
    if door == "local":
        child = terminal(guestbook, "--local", "--", "manage.py", "shell", **at_home(guestbook, tmp_path / "home"))
    else:
        child = terminal(guestbook, "--", "manage.py", "shell")
    child.expect(">>> ")
    child.sendline("6*7")
    child.expect(r"\b42\b")
    child.sendline("import shutil; tuple(shutil.get_terminal_size(fallback=(0, 0)))")
    child.expect(r"\(101, 33\)")
    child.setwinsize(41, 121)
    time.sleep(1)
    child.sendline("tuple(shutil.get_terminal_size(fallback=(0, 0)))")
    child.expect(r"\(121, 41\)")
    child.sendline("import time; print('asleep'); time.sleep(300)")
    child.expect(r"\nasleep|\rasleep")
    child.sendintr()
    child.expect("KeyboardInterrupt")
    child.sendline("import os; len(os.environ['CARD']), 'post' + os.environ['DATABASE_URL'][4:10], os.isatty(0)")
    child.expect(rf"\({len(CARD)}, 'postgresql', True\)|\({len(CARD)}, 'postgresql'.*True\)")
    child.sendline("print('\\x1b[31mred\\x1b[0m')")
    child.expect("\x1b\\[31mred\x1b\\[0m")
    child.sendline("import sys; sys.exit(7)")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 7
    if door == "panel":
        last = wait("it is written down", lambda: audited(guestbook)[0]["ended_at"] and audited(guestbook)[0])
        assert (last["actor"], last["door"], last["command"]) == (guestbook.panel.admin, "cli", ["manage.py", "shell"])
        assert last["exit_code"] == 7 and "6*7" not in json.dumps(last)


def test_pipes_and_codes(guestbook: World) -> None:
    done = guestbook.webops("exec", "guestbook", "--", "sh", "-c", "id -un; tty; cd; pwd; exit 3")
    assert done.returncode == 3, done.stderr
    assert done.stdout.split("\n")[:3] == ["wo-guestbook", "not a tty", "/srv/webops/guestbook/shared/data"]
    done = guestbook.webops("exec", "guestbook", "--", "manage.py", "shell", text="print(6 * 7)\n")
    assert (done.returncode, done.stdout.strip().splitlines()[-1]) == (0, "42")
    many = guestbook.webops("exec", "guestbook", "--", "seq", "1", "50000")
    assert many.stdout.split() == [str(number) for number in range(1, 50001)]
    back = guestbook.webops("exec", "guestbook", "--", "cat", text="".join(f"{n}\n" for n in range(20000)))
    assert back.stdout.split() == [str(number) for number in range(20000)]
    none = guestbook.webops("exec", "guestbook", "--", "no-such-program")
    assert none.returncode == 127 and "no-such-program" in none.stdout
    hostile = guestbook.webops("exec", "guestbook", "--", "printf", "%s|", "$(id)", "a'b\"c", "{{ 7*7 }}", "-n", "é\n")
    assert hostile.stdout == "$(id)|a'b\"c|{{ 7*7 }}|-n|é\n|"


def test_who_goes_away_takes_it_along(guestbook: World) -> None:
    """Killed, not even asked: and what was started in the background there, with nohup and a session of its own."""
    child = terminal(guestbook, "--", "sh")
    child.expect(r"\$ ")
    child.sendline("(setsid nohup sleep 9191 >/dev/null 2>&1 &) ; nohup sleep 9292 >/dev/null 2>&1 & echo begun")
    child.expect("begun\r\n")
    assert wait("they run", lambda: "9191" in left(guestbook) and "9292" in left(guestbook))
    child.kill(signal.SIGKILL)
    wait("nothing of it runs there", lambda: not left(guestbook), 40)
    wait("that is written down", lambda: audited(guestbook)[0]["why"] and audited(guestbook)[0]["ended_at"])
    # In pipes nothing tells a program but the pipe.
    quiet = terminal(guestbook, "--", "sh", "-c", "trap '' HUP TERM INT; sleep 9393")
    assert wait("it runs", lambda: "9393" in left(guestbook))
    quiet.kill(signal.SIGKILL)


def test_a_link_that_dies_ends_it(guestbook: World) -> None:
    child = terminal(guestbook, "--", "sh")
    child.expect(r"\$ ")
    guestbook.child("panel.link").kill()
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == Exit.UNREACHABLE
    wait("it is written down", lambda: "link ended" in audited(guestbook)[0]["why"])
    wait("a link runs again", lambda: guestbook.webops("exec", "guestbook", "--", "true").returncode == 0)


def test_who_may_not(guestbook: World, tmp_path: Path) -> None:
    nobody = guestbook.webops("exec", "guestbook", "--", "id", WEBOPS_CONFIG=str(tmp_path / "none.json"))
    assert nobody.returncode == Exit.SIGNED_OUT
    absent = guestbook.webops("exec", "nothing-here", "--", "id")
    assert absent.returncode == Exit.REFUSED
    part = guestbook.webops("exec", "guestbook-db", "--", "id")
    assert part.returncode != 0 and "no live release" in part.stderr
    foreign = guestbook.api("POST", f"/terminals/{'0' * 32}/input", {"number": 1, "data": ""})
    assert foreign.status_code == 404
    bad = guestbook.api("POST", "/resources/guestbook/terminals", {"command": []})
    assert bad.status_code == 422 and "Name a command" in bad.text
    assert CARD not in json.dumps(audited(guestbook))
    guestbook.webops("exec", "guestbook", "--", "echo", CARD)
    assert CARD not in json.dumps(audited(guestbook)), "a secret of the app in the words of a command is masked"


def test_logs_by_process_time_and_text(guestbook: World) -> None:
    def lines(*words: str) -> list[str]:
        done = guestbook.webops("logs", "guestbook", *words)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    every = lines("-n", "500")
    assert not [line for line in every if re.search(r"webops-(begin|end|result) ", line)]
    names = {line.split()[1] for line in every}
    assert "web" in names and {"build", "migrate"} & names
    assert {line.split()[1] for line in lines("--process", "web")} == {"web"}
    assert all("BOOTING" in line.upper() for line in lines("--process", "web", "--grep", "booting"))
    assert lines("--grep", "booting") and lines("--grep", ".*") == []
    assert lines("--since", "2099-01-01") == [] and lines("--until", "2020-01-01T10:00") == []
    assert lines("--since", "1d", "--until", "1s") != []
    for words, said in ((["--process", "nope"], "it has: web"), (["--since", "soon"], "Write a time"),
                        (["--until", "1h", "-f"], "has no end")):
        done = guestbook.webops("logs", "guestbook", *words)
        assert done.returncode != 0 and said in done.stderr, done.stderr
    page = guestbook.page("/resources/guestbook/journal?process=web&grep=booting&since=1d")
    assert "Booting" in page and "webops-begin" not in page


def test_a_command_of_the_panel_is_read_while_it_runs(guestbook: World) -> None:
    """The run page follows the command's own lines: the first is there long before the run's end."""
    world = guestbook
    wait("the panel knows its processes", lambda: "command" in world.page("/resources/guestbook/journal"))
    code = "import time; print('first word', flush=True); time.sleep(20); print('last')"
    number = world.act("guestbook", "command", command=["shell", "-c", code])
    page = world.page(f"/runs/{number}")
    found = re.search(r'data-journal="([^"]+)"', page)
    assert found and "process=command" in found[1]
    with world.browser.get(world.panel.url + html.unescape(found[1]), stream=True, timeout=90) as answer:
        line = next(line for line in answer.iter_lines(chunk_size=1) if b"first word" in line)
    assert b" command first word" in line
    assert world.run(number)["state"] == "running"
    world.succeeded(number)
    assert "first word" in json.dumps(world.events(number)) and "data-journal" not in world.page(f"/runs/{number}")
