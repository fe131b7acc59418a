"""Commands in a server from outside: they work also where its network is cut."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

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


def wait_booted(place: Place, name: str, patience: float = 90) -> str:
    """Wait until systemd has started everything; returns its word for it, `running` or `degraded`.

    Raises SandboxError where it is not ready in time.
    """
    deadline = time.monotonic() + patience
    said = ""
    while time.monotonic() < deadline:
        try:
            # Early in the boot nobody answers systemctl yet, and its --wait gives up: so ask again.
            said = run(place, name, ["systemctl", "is-system-running"], check=False, timeout=2).stdout.strip()
        except subprocess.TimeoutExpired:
            continue
        if said in ("running", "degraded"):
            return said
        time.sleep(0.05)
    raise SandboxError(f"{name} is still {said or 'silent'} after {patience:.0f} s: `systemctl list-jobs` on it "
                       "shows what it waits for.")


def write(place: Place, name: str, path: str, text: str, mode: str = "644") -> None:
    """Write a file of root in the running server, whole or not at all."""
    script = 'set -e; mkdir -p "$(dirname "$1")"; cat > "$1.new"; chmod "$2" "$1.new"; mv "$1.new" "$1"'
    run(place, name, ["sh", "-c", script, "sh", path, mode], text=text)


def trust(place: Place, name: str, *certificates: Path) -> None:
    """Let the running server trust these certificates (PEM), as its administrator would."""
    for path in certificates:
        target = f"/usr/local/share/ca-certificates/sandbox-{path.parent.name}-{path.stem}.crt"
        write(place, name, target, path.read_text())
    run(place, name, ["update-ca-certificates"])


def add_hosts(place: Place, name: str, addresses: Mapping[str, str]) -> None:
    """Let names resolve to addresses inside the running server: {"shop.example.org": "10.77.0.10"}."""
    kept = [line for line in run(place, name, ["cat", "/etc/hosts"]).stdout.splitlines()
            if not set(line.split()[1:]) & set(addresses)]
    new = [f"{address} {host}" for host, address in addresses.items()]
    # Not replaced but rewritten: a service that has the file bound into its own view keeps seeing it.
    run(place, name, ["sh", "-c", "cat > /etc/hosts"], text="\n".join([*kept, *new]) + "\n")
