"""Read a Procfile: every line but `web` is a process, `release` is a command before traffic goes over."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from .check import Problem, command_line, formats
from .document import LIMIT
from .shown import SHELL

LINE = re.compile(r"([A-Za-z0-9_-]+)\s*:\s*(\S.*)")
MOST = 20


@dataclass
class Procfile:
    """What the lines say; `web` is told and not used, as WebOps starts the web process itself."""

    values: dict[str, Any] = field(default_factory=dict)
    web: str = ""
    found: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def read(file: str, text: str) -> Procfile:
    procfile = Procfile()
    if len(text) > LIMIT:
        procfile.problems.append(Problem("", f"The file is larger than {LIMIT // 1024} KB.", file))
        return procfile
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            reason = _take(procfile, line.strip())
            if reason:
                procfile.problems.append(Problem("", reason, file, number))
    return procfile


def _take(procfile: Procfile, line: str) -> str:
    """Take one line; why it is refused, or nothing."""
    match = LINE.fullmatch(line)
    if not match:
        return "Write a name, a colon and a command, such as worker: celery -A shop worker."
    name, command = match[1], match[2]
    if reason := command_line(command):
        return reason
    if name == "web":
        procfile.web = command
        procfile.found.append(
            f"Procfile names web ({command[:120]}); WebOps starts the web process "
            "itself, in two slots, and leaves this line alone."
        )
        return ""
    if name == "release":
        procfile.values["release"] = [[*SHELL, command]]
        return ""
    return _take_process(procfile, name, command)


def _take_process(procfile: Procfile, name: str, command: str) -> str:
    # A unit's name has neither capitals nor underscores.
    unit = re.sub(r"-+", "-", name.lower().replace("_", "-")).strip("-")
    processes = procfile.values.setdefault("processes", {})
    if bad := formats.problem("process_name", unit):
        return f"'{name[:60]}': {bad.message}"
    if unit in processes:
        return f"'{unit}' is there twice. Give each process a name of its own."
    if len(processes) >= MOST:
        return f"At most {MOST} processes are possible."
    if unit != name:
        procfile.found.append(f"The process {name} of the Procfile is called {unit} on the server.")
    processes[unit] = {"command": [*SHELL, command]}
    return ""
