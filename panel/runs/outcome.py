"""What a run came to, folded from its events as they pass: counts per host, the first failure, facts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from panel.runs.hosts import Hosts
from panel.runs.translate import Row

_COUNTED = ("ok", "changed", "failed", "skipped")
_MOST_JOURNAL = 50
_LONGEST = 2000
_NEXT = "The step below shows all that it said. Mend the cause and run it again: what is done already stays as it is."
_NO_SUDO = r"(incorrect|missing) sudo password|sudo: a password is required|is not in the sudoers file"
#: How Mitogen says that the line broke while something was being done behind sudo: not as "unreachable".
_BROKEN = r"the respondent Context has disconnected|Channel closed by|no route to Context"
#: The last one's sentence is right whether the line broke in the middle or a new one did not come about: which of
#: the two is noticed first is chance.
_NO_CONNECTION = (
    (r"REMOTE HOST IDENTIFICATION HAS CHANGED|Host key verification failed|mismatching host key",
     "{server} shows another host key than the one that was accepted.",
     "If the server was installed anew, look at the new fingerprint on the server's page and accept it. "
     "If not, somebody may be listening: do not accept it."),
    (r"Permission denied|password was rejected|PasswordError|incorrect password|Authentication fail",
     "{server} refused the login.",
     "Check the user, the key and the password, then make the server ready again: webops server ready {server}"),
    (r"Name or service not known|Could not resolve|nodename nor servname",
     "The address of {server} cannot be found by name.",
     "Check the address of the server and the name service of this machine."),
    (_NO_SUDO, "{server} did not allow sudo.",
     "Give the right sudo password with the login, or check that the user may use sudo."),
    (r"", "The SSH connection to {server} failed.",
     "A step that had begun there may still be going on. Before you run it again, check that the server is on and that "
     "its address and port are right: webops server test {server}"),
)


@dataclass
class Counts:
    ok: int = 0
    changed: int = 0
    failed: int = 0
    skipped: int = 0
    unreachable: int = 0


@dataclass
class Outcome:
    """`add` takes every row that is stored; the rest is there to be read."""

    hosts: dict[str, Counts] = field(default_factory=dict)
    #: How far each of them is.
    progress: Hosts = field(default_factory=Hosts)
    error: str = ""
    next_step: str = ""
    #: The host that they are of.
    failed_on: str = ""
    journal: list[str] = field(default_factory=list)
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    #: What a survey read, by host; never stored but sealed.
    found: dict[str, dict[str, Any]] = field(default_factory=dict)
    #: The task that began last.
    step: str = ""
    #: What Ansible said outside of tasks, for when it fails before the first one.
    last_words: str = ""

    def add(self, row: Row) -> None:
        kind, data = row["type"], row["data"]
        self.progress.add(kind, row["host"], row["name"], data)
        if kind == "task":
            self.step = row["name"]
        elif kind == "stats":
            for host, counts in data.get("hosts", {}).items():
                self.hosts[host] = Counts(**{key: counts[key] for key in Counts.__annotations__})
        elif kind == "output" and not row["host"] and ("ERROR" in data["stdout"] or data.get("level") == "error"):
            self.last_words = self.last_words or data["stdout"]
        if row["host"] and "item" not in data:
            self._count(row["host"], kind)
        if kind in ("failed", "unreachable") and not self.error:
            self._failure(kind, row["host"], data)

    def _count(self, host: str, kind: str) -> None:
        counts = self.hosts.setdefault(host, Counts())
        kind = "ok" if kind == "ignored" else kind
        if kind in ("ok", "changed"):
            counts.ok += 1
        if kind in ("changed", "failed", "skipped", "unreachable"):
            setattr(counts, kind, getattr(counts, kind) + 1)

    def _failure(self, kind: str, host: str, data: Mapping[str, Any]) -> None:
        self.failed_on = host
        if kind == "unreachable" or re.search(f"{_NO_SUDO}|{_BROKEN}", str(data.get("msg", "")), re.IGNORECASE):
            self.error, self.next_step = no_access(host.rpartition("@")[2], str(data.get("msg", "")))
        elif data.get("hidden"):
            self.error = f"The step '{self.step}' failed. Its message is hidden, because it handles secrets."
            self.next_step = "Check the values that you gave it, and the journal of the server."
        else:
            self.error = first_line(data)[:_LONGEST] or f"The step '{self.step}' failed."
            self.next_step = str(data.get("next") or _NEXT)[:_LONGEST]
            journal = data.get("journal", [])
            lines = journal.splitlines() if isinstance(journal, str) else journal
            self.journal = [str(line) for line in lines][-_MOST_JOURNAL:]


def first_line(data: Mapping[str, Any]) -> str:
    """The line of a failed task's result that says most to a person."""
    for key in ("msg", "stderr", "module_stderr", "stdout"):
        value = data.get(key)
        lines = [line.strip() for line in (value if isinstance(value, str) else "").splitlines() if line.strip()]
        # "MODULE FAILURE" and "non-zero return code" say nothing; the cause is what the program wrote last.
        if lines and not re.match(r"MODULE FAILURE|non-zero return code|Module result deserialization", lines[0]):
            return re.sub(r"^(Task failed|Module failed): ", "", lines[0]) if key == "msg" else lines[-1]
    return str(data.get("msg", "")).strip().partition("\n")[0]


def no_access(server: str, said: str) -> tuple[str, str]:
    """Why no connection came about, and what to do, in words."""
    for pattern, error, next_step in _NO_CONNECTION:
        if re.search(pattern, said, re.IGNORECASE | re.DOTALL):
            return error.format(server=server), next_step.format(server=server)
    raise AssertionError("the last pattern matches everything")
