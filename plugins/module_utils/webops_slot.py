"""Two slots of a resource, and the change of traffic from one to the other.

nginx talks to the symbolic link live/sock. A release is started in the slot that is idle, must answer there, and only
then is the link renamed over. A slot's description (live/a, live/b) exists just while the slot is meant to run.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import itertools
import json
import os
import socket
import subprocess
import time

from ansible.module_utils.webops_unit import Refused, journal, point, show, state, systemctl, write_json

SOCKETS = "/run/webops"
SLOTS = ("a", "b")
# What arrived before the link was renamed is taken from the old socket's queue before its slot is told to end.
QUEUE_SECONDS = 10


class Slots:
    """The slots of one resource; `start_words` is how systemd is told to start one."""

    start_words = ("start",)

    def __init__(self, releases):
        self.releases = releases
        self.name = releases.name
        self.live = releases.live_directory
        self.bindings = os.path.join(releases.env, "bindings.json")
        self.pointer = os.path.join(self.live, "sock")
        # While this file is there, nginx answers with a page that says so.
        self.maintenance = os.path.join(self.live, "maintenance")

    def units(self, slot):
        return [f"wo-{self.name}@{slot}.socket", f"wo-{self.name}@{slot}.service"]

    def service(self, slot):
        return self.units(slot)[-1]

    def socket(self, slot):
        return os.path.join(SOCKETS, f"{self.name}-{slot}.sock")

    def description(self, slot):
        return os.path.join(self.live, slot)

    def pointed(self):
        """The slot that traffic goes to; None before the first release."""
        try:
            target = os.readlink(self.pointer)
        except OSError:
            return None
        return next((slot for slot in SLOTS if target == self.socket(slot)), None)

    def serving(self):
        """The pointed slot, if it is meant to run."""
        slot = self.pointed()
        return slot if slot and self.is_meant_to_run(slot) else None

    def is_meant_to_run(self, slot):
        return os.path.exists(self.description(slot))

    def closed(self):
        return os.path.lexists(self.maintenance)

    def occupied(self, slot):
        """Whether something is meant to run there, or runs there still."""
        return self.is_meant_to_run(slot) or self._runs(slot)

    def _runs(self, slot):
        return any(state(unit) not in ("inactive", "failed") for unit in self.units(slot))

    def idle(self):
        return "b" if self.pointed() == "a" else "a"

    def described(self, slot):
        with contextlib.suppress(OSError, ValueError), open(self.description(slot), encoding="utf-8") as file:
            return json.load(file)
        return None

    def describe(self, release, argv, environment):
        """What the slot of a release shall run; `{python}`, `{wsgi}` and `{build}` stand for what its build found."""
        project = release["project"]
        words = {"{python}": project.get("python", ""), "{wsgi}": project.get("wsgi", ""), "{build}": release["build"]}
        settings = {"DJANGO_SETTINGS_MODULE": project["settings"]} if project.get("settings") else {}
        return {
            "release": release["id"],
            "argv": [fill(part, words) for part in argv],
            "cwd": project["cwd"],
            "env": {name: fill(str(value), words) for name, value in {**settings, **environment}.items() if name},
            "env_files": self.releases.env_files(release["id"]),
            "surroundings": self.surroundings(),
        }

    def serves(self, release, argv, environment):
        """Whether this very release serves, with these units, bindings and options."""
        slot = self.serving()
        return bool(slot) and not self.closed() and self.described(slot) == self.describe(release, argv, environment)

    def surroundings(self):
        """Changes when the units or the bindings do, so that a release is started anew with them."""
        digest = hashlib.sha256()
        for path in (self.unit_file(), self.bindings):
            with contextlib.suppress(OSError), open(path, "rb") as file:
                digest.update(file.read())
        return digest.hexdigest()[:16]

    def unit_file(self):
        return f"/etc/systemd/system/wo-{self.name}@.service"

    def clear(self, slot):
        """Let a slot be idle: an old release may still be finishing its requests there."""
        self.forget(slot)
        if self._runs(slot):
            systemctl("stop", *self.units(slot))
        if any(state(unit) == "failed" for unit in self.units(slot)):
            systemctl("reset-failed", *self.units(slot))

    def forget(self, slot):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.description(slot))

    def start(self, slot, description):
        write_json(self.description(slot), description, 0o644)
        return systemctl(*self.start_words, *self.units(slot))

    def stop_idle(self, slot):
        """Without waiting: requests that it has begun are finished; the next change waits for that."""
        self.forget(slot)
        self.wait_for_empty_queue(slot)
        systemctl("stop", "--no-block", *self.units(slot))

    def wait_for_empty_queue(self, slot):
        until = time.monotonic() + QUEUE_SECONDS
        # nginx looks the link up for every connection: a moment later nobody connects to the old socket any more.
        time.sleep(0.1)
        while waiting(self.socket(slot)) and time.monotonic() < until:
            time.sleep(0.1)

    def turn_to(self, slot):
        """Whoever closed the site, or left it closed: now something serves."""
        point(self.pointer, self.socket(slot))
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.maintenance)


def fill(text, words):
    for sign, word in words.items():
        text = text.replace(sign, word)
    return text


def waiting(path):
    """Connections in the queue of a listening unix socket."""
    asked = subprocess.run(["ss", "-Hxl", "src", path], capture_output=True, text=True, check=False)
    fields = asked.stdout.split()
    return int(fields[2]) if len(fields) > 2 and fields[2].isdigit() else 0


class Probe:
    """Ask a slot as nginx would, until it answers well or it is clear that it will not."""

    def __init__(self, slots, slot, wish, since, ended=lambda: False):
        """`ended`: whether nobody waits for the answer any more."""
        self.ended = ended
        self.unit = slots.service(slot)
        self.path = slots.socket(slot)
        self.host = wish["host"] or "localhost"
        self.target = wish["path"]
        self.good = [int(status) for status in wish["status"]]
        self.timeout = wish["timeout"]
        self.tries = wish["tries"]
        self.since = since
        self.left = "The release before goes on serving." if slots.serving() else "Nothing serves yet."
        self.answer = "no answer"

    def url(self):
        return f"https://{self.host}{self.target}"

    def wait(self):
        """Raises Refused with the cause in its first line."""
        for attempt in range(self.tries):
            if attempt:
                time.sleep(min(1.0, 0.2 * attempt))
            self._refuse_ended()
            if self.ask():
                return self.answer
            self._refuse_dead()
        cause = self._last_words()
        raise self.refusal(f"The new release is not healthy: {self.url()} gave {self.answer}."
                           + (f" {cause}" if cause else ""))

    def ask(self):
        """One request; False for a wrong status, a time-out, or nobody there."""
        until = time.monotonic() + self.timeout
        try:
            status, words = request(self.path, self.host, self.target, until, self._meanwhile)
        except TimeoutError:
            self.answer = f"no answer within {self.timeout} seconds"
            return False
        except OSError as error:
            self.answer = error.strerror or str(error)
            return False
        except http.client.HTTPException as error:
            self.answer = f"no HTTP answer ({type(error).__name__})"
            return False
        self.answer = f"{status} {words}".strip()
        return status in self.good

    def _meanwhile(self):
        self._refuse_ended()
        self._refuse_dead()

    def _refuse_ended(self):
        if self.ended():
            raise self.refusal("The run was ended before the new release had answered.")

    def _refuse_dead(self):
        facts = show(self.unit, "ActiveState", "SubState", "NRestarts")
        ended = facts.get("ActiveState") == "failed" or facts.get("SubState") == "auto-restart"
        if ended or facts.get("NRestarts") != "0":
            plain = [line for line in journal(self.unit, self.since, 200) if "rror" in line]
            cause = self._last_words() or (plain or ["its process ended at once."])[-1][:300]
            raise self.refusal(f"The new release does not start: {cause}")

    def _last_words(self):
        """Python names the error on the last line of a traceback; gunicorn's own only repeats that one."""
        lines = journal(self.unit, self.since, 400)
        ends = [after for before, after in itertools.pairwise(lines) if before.startswith("  ") and _names_error(after)]
        return ends[-1][:300] if ends else ""

    def refusal(self, sentence):
        return Refused(
            sentence,
            self.left + " Correct what the lines below name, then deploy again.",
            journal(self.unit, self.since),
            probe={"url": self.url(), "answer": self.answer},
        )


def _names_error(line):
    head = line.split(":", 1)[0]
    return not head.startswith("gunicorn.") and all(part.isidentifier() for part in head.split("."))


def request(path, host, target, until, meanwhile):
    """Status and reason of GET `target`; looks at `meanwhile` every half second, as a queue can hide a dead process."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(0.5)
        connection.connect(path)
        connection.sendall(
            f"GET {target} HTTP/1.1\r\nHost: {host}\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: {host}\r\n"
            f"X-Forwarded-For: 127.0.0.1\r\nUser-Agent: WebOps health check\r\nConnection: close\r\n\r\n".encode()
        )
        while True:
            try:
                connection.recv(1, socket.MSG_PEEK)
                break
            except TimeoutError:
                if time.monotonic() > until:
                    raise
                meanwhile()
        connection.settimeout(max(0.5, until - time.monotonic()))
        answer = http.client.HTTPResponse(connection, method="GET")
        answer.begin()
        return answer.status, answer.reason
