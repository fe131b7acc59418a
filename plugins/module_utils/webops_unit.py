"""Units of a resource on a server: start, stop, look, read the journal, and run a task to its end.

Everything here is done by webops-deploy, which may call exactly the lines of /etc/sudoers.d/wo-<name>.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import threading
import time
import uuid

from ansible.module_utils.webops_mask import bound

SYSTEMCTL = "/usr/bin/systemctl"
SUDO = ["sudo", "-n"]
ROOT = "/srv/webops"
LINES = 2000
#: Lines by which our own launcher says how a task goes: for programs, not for people.
SIGNS = ("webops-begin ", "webops-end ", "webops-timeout ", "webops-result ")


class Refused(Exception):
    """What was asked is not done: `next` says what to do, `journal` holds last lines where there are."""

    def __init__(self, message, then="", journal=(), **facts):
        super().__init__(message)
        self.next = then
        self.journal = list(journal)[-50:]
        self.facts = facts


def systemctl(*arguments):
    """One literal line of the resource's sudoers file; raises Refused where it is not there."""
    ended = subprocess.run(
        [*SUDO, SYSTEMCTL, *arguments], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    if ended.returncode and "sudo:" in ended.stderr:
        raise Refused(
            "Needs Apply, because this server does not yet allow: systemctl {}".format(" ".join(arguments)),
            "Apply the resource once; after that this action works by itself.",
            ended.stderr.splitlines(),
        )
    return ended


def show(unit, *names):
    """Properties of a unit, as systemd writes them."""
    asked = subprocess.run(
        [SYSTEMCTL, "show", "-p", ",".join(names), "--", unit], capture_output=True, text=True, check=False
    )
    return dict(line.split("=", 1) for line in asked.stdout.splitlines() if "=" in line)


def state(unit):
    return show(unit, "ActiveState").get("ActiveState", "inactive")


def units_in(states, pattern):
    """Names of loaded units in one of these states."""
    asked = subprocess.run(
        [SYSTEMCTL, "list-units", "--all", "--plain", "--no-legend", f"--state={','.join(states)}", "--", pattern],
        capture_output=True, text=True, check=False,
    )
    return [line.split()[0] for line in asked.stdout.splitlines() if line.strip()]


def journal(unit, since, lines=50):
    """The last lines that a unit wrote (and what systemd said about it) since a moment (epoch seconds)."""
    read = subprocess.run(
        ["journalctl", "-q", "--no-pager", "-o", "cat", "-n", str(lines), f"--since=@{since:.3f}", "-u", unit],
        capture_output=True, check=False,
    )
    return without_secrets(unit, read.stdout.decode(errors="replace").splitlines())


def own_lines(unit, since):
    """Only what processes of the unit wrote; nobody else can write under its name."""
    read = subprocess.run(
        ["journalctl", "-q", "--no-pager", "-o", "cat", "-n", str(LINES), f"--since=@{since:.3f}",
         "_TRANSPORT=stdout", f"_SYSTEMD_UNIT={unit}"],
        capture_output=True, check=False,
    )
    return without_secrets(unit, read.stdout.decode(errors="replace").splitlines())


def without_secrets(unit, lines):
    """An app may print what was made for it on this server: nobody else knows that, so it is masked here."""
    search = bound(re.split("[@.]", unit.removeprefix("wo-"))[0])
    return [search.mask(line) for line in lines]


class Ended:
    """How a task ended: `code` (None: it was stopped), `lines` it wrote, `result` it reported, `timeout`."""

    def __init__(self, lines, token):
        begin, end = f"webops-begin {token}", f"webops-end {token} "
        start = lines.index(begin) + 1 if begin in lines else 0
        own = lines[start:]
        last = next((line for line in own if line.startswith(end)), None)
        self.code = int(last.rsplit(" ", 1)[1]) if last else None
        self.timeout = any(line.startswith("webops-timeout ") for line in own)
        self.result = {}
        self.lines = []
        for line in own:
            if line.startswith("webops-result "):
                self.result = json.loads(line.split(" ", 1)[1])
            elif not line.startswith(SIGNS):
                self.lines.append(line)


def run_task(name, instance, job, root=ROOT, handed=None):
    """Run `job` (argv, cwd, env, env_files, stdin, timeout) as the unit wo-<name>.task@<instance>, to its end.

    `handed` are further variables, which no file ever holds.
    Returns Ended. Raises Refused where the unit does not exist or may not be started.
    """
    unit = f"wo-{name}.task@{instance}.service"
    stop_left(unit)
    token = uuid.uuid4().hex
    path = os.path.join(root, name, "env", f"task-{instance}.json")
    pipe = os.path.join(root, name, "env", f"task-{instance}.pipe") if handed else None
    since = time.time() - 2
    with hand_over(pipe, handed):
        write_json(path, {**job, "id": token, "env_files": [*job.get("env_files", []), *filter(None, [pipe])]}, 0o640)
        try:
            started = systemctl("start", unit)
            ended = wait_for_end(unit, since, token)
        finally:
            os.unlink(path)
    if ended.code is None:
        raise stopped(name, instance, ended.lines or (started.stderr.splitlines() + journal(unit, since)))
    return ended


def stopped(name, instance, lines):
    return Refused(
        f"The task '{instance}' of {name} was stopped before it was done.",
        "Run it again. Where nobody stopped it, look whether the server ran out of memory.", lines)


def stop_left(unit):
    """Left by a run that was lost: two of them at once would be worse than one that is cut short."""
    if state(unit) not in ("inactive", "failed"):
        systemctl("stop", unit)


def wait_for_end(unit, since, token):
    """The journal is written by another process, so the last lines may be a moment late."""
    until = time.monotonic() + 3
    while True:
        ended = Ended(own_lines(unit, since), token)
        if ended.code is not None or time.monotonic() > until or show(unit, "Result").get("Result") in (
            "signal", "oom-kill", "timeout", "resources",
        ):
            return ended
        time.sleep(0.03)


@contextlib.contextmanager
def hand_over(path, variables):
    """A pipe from which a task reads variables as it would from a file. They are in memory alone, and read once."""
    if path is None:
        yield
        return
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    try:
        os.mkfifo(path, 0o600)
    except FileNotFoundError:
        raise needs_apply(path) from None
    os.chmod(path, 0o640)
    over = threading.Event()
    feeder = threading.Thread(target=_feed, args=(path, json.dumps(variables).encode(), over), daemon=True)
    feeder.start()
    try:
        yield
    finally:
        over.set()
        feeder.join(5)
        os.unlink(path)


def _feed(path, content, over):
    """Write once somebody reads. Nobody may ever: the unit did not start."""
    while not over.wait(0.01):
        with contextlib.suppress(OSError):
            handle = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
            os.set_blocking(handle, True)
            with os.fdopen(handle, "wb") as pipe:
                pipe.write(content)
            return


def needs_apply(path):
    return Refused(f"Needs Apply, because {os.path.dirname(path)} is not there yet.",
                   "Apply the resource once; after that this action works by itself.")


def write_json(path, content, mode):
    """Replace a file in one step; nobody sees half of it."""
    temporary = f"{path}.{os.getpid()}"
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileNotFoundError:
        raise needs_apply(path) from None
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(content, file, indent=1, sort_keys=True)
        os.fchmod(file.fileno(), mode)
    os.rename(temporary, path)


def point(link, target):
    """Let a symbolic link name another target, in one step."""
    temporary = f"{link}.{os.getpid()}"
    os.symlink(target, temporary)
    os.rename(temporary, link)
