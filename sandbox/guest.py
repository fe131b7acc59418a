"""Commands in a server from outside: they work also where its network is cut."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence

from sandbox import boot
from sandbox.errors import SandboxError
from sandbox.place import Place

ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root",
               "LANG": "C.UTF-8", "USER": "root", "DEBIAN_FRONTEND": "noninteractive"}


def run(place: Place, name: str, argv: Sequence[str], *, text: str | None = None, check: bool = True,
        timeout: float = 300, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command as root in the server, in its namespaces and at its root.

    Raises SandboxError where the server does not run, or, with `check`, where the command fails.
    """
    first = boot.first_process(place, name)
    if not first:
        raise SandboxError(f"{name} does not run: `up {name}` boots it.")
    entered = ["nsenter", "--target", str(first), "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup",
               "--root", "--wd", "--", *argv]
    # An empty text, not none: a command that asks a question gets an end, never this terminal.
    done = subprocess.run(entered, input=text or "",
                          capture_output=True, text=True, timeout=timeout, check=False,
                          env={**ENVIRONMENT, **(env or {})})
    if check and done.returncode:
        said = (done.stderr.strip() or done.stdout.strip())[-1500:]
        raise SandboxError(f"`{' '.join(argv)}` on {name} failed with {done.returncode}: {said}")
    return done


def wait_booted(place: Place, name: str) -> str:
    """Wait until systemd has started everything; returns its word for it, `running` or `degraded`."""
    return run(place, name, ["systemctl", "is-system-running", "--wait"], check=False, timeout=90).stdout.strip()
