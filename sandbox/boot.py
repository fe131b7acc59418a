"""Booting a directory as a server: overlayfs and systemd-nspawn in a mount namespace and control group of their own."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Sequence
from pathlib import Path

from sandbox import network, process
from sandbox.errors import SandboxError
from sandbox.place import Place

PATIENCE = 60.0
CGROUPS = Path("/sys/fs/cgroup")

# Everything is mounted in a mount namespace of its own, so that it is gone when the server is, also after a crash.
SCRIPT = """set -e
groups=$1 layers=$2 dir=$3 space=$4 hide_run=$5; shift 5
for group in $groups; do mkdir -p "$group"; echo $$ > "$group/cgroup.procs"; done
mount -t overlay sandbox -o "lowerdir=$layers,upperdir=$dir/upper,workdir=$dir/work" "$dir/root"
: > "$dir/netns"
mount --bind "/run/netns/$space" "$dir/netns"
if [ "$hide_run" = yes ]; then mount -t tmpfs tmpfs /run; fi
exec systemd-nspawn --quiet --boot --register=no --console=pipe --kill-signal=SIGRTMIN+3 \
  --resolv-conf=off --timezone=off --link-journal=no --capability=CAP_NET_ADMIN \
  --directory="$dir/root" --network-namespace-path="$dir/netns" "$@"
"""


def role(name: str) -> str:
    return f"server:{name}"


def start(place: Place, name: str, layers: Sequence[Path], binds: Sequence[Path]) -> int:
    """Boot the server over its layers (the uppermost first); returns the process id of its systemd-nspawn."""
    directory = place.server_dir(name)
    for part in ("upper", "work", "root"):
        (directory / part).mkdir(parents=True, exist_ok=True)
    systemd_host = Path("/run/systemd/system").is_dir()
    options = [f"--machine={place.tag}-{name}", f"--hostname={name}", *(f"--bind-ro={path}" for path in binds)]
    if not systemd_host:
        options.append("--keep-unit")
    hide_run = "no" if systemd_host or os.path.ismount("/run") else "yes"
    groups = "" if systemd_host else " ".join(map(str, control_groups(place, name)))
    environment = {
        **os.environ,
        # A guest with a newer systemd boots on a host with the old layout of control groups.
        "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1",
        # /tmp on the disk or not is the release's own decision, as on any server.
        "SYSTEMD_NSPAWN_TMPFS_TMP": "0",
        # /sys/class/net and /proc/sys/net are the server's own, not this machine's.
        "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network",
    }
    argv = ["unshare", "--mount", "sh", "-c", SCRIPT, "sh", groups, ":".join(map(str, layers)), str(directory),
            network.namespace(place, name), hide_run, *options]
    return process.start(place, role(name), argv, directory / "console.log", environment)


def control_groups(place: Place, name: str) -> list[Path]:
    """The control groups of a server where no systemd on the host gives it one.

    Without its own, two servers share one tree of groups and each systemd sees the other's services.
    """
    mounts = [CGROUPS / part for part in ("systemd", "unified")] if (CGROUPS / "unified").is_dir() else [CGROUPS]
    return [mount / f"webops-sandbox-{place.tag}-{name}" for mount in mounts if mount.is_dir()]


def wait_ssh(place: Place, name: str, address: str) -> None:
    """Return as soon as the server's sshd greets; raises SandboxError with the console's end if it does not."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if greets(address):
            return
        if not process.find(place, role(name)):
            break
        time.sleep(0.03)
    console = (place.server_dir(name) / "console.log").read_text(errors="replace")[-1500:]
    raise SandboxError(f"{name} did not come up within {PATIENCE:.0f} s. The end of its console:\n{console}")


def greets(address: str) -> bool:
    try:
        with socket.create_connection((address, 22), timeout=0.5) as connection:
            connection.settimeout(3)
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def first_process(place: Place, name: str) -> int | None:
    """The host's number of the server's PID 1, or None where it does not run."""
    supervisor = process.find(place, role(name))
    if not supervisor:
        return None
    try:
        children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
        return next((int(child) for child in children if is_first(int(child))), None)
    except OSError:
        return None


def is_first(pid: int) -> bool:
    """Whether this process is PID 1 of a namespace below ours."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("NSpid:"):
            numbers = line.split()[1:]
            return len(numbers) > 1 and numbers[-1] == "1"
    return False


def shut_down(place: Place, name: str) -> None:
    """Let the server shut down as a real one does (services stop, file systems settle), at most 30 s, then by force."""
    process.stop(place, role(name), patience=30)
    clear(place, name)


def pull_plug(place: Place, name: str) -> None:
    """Stop the server at once, as by a power cut: for servers whose disk is thrown away."""
    if first := first_process(place, name):
        process.send(first, signal.SIGKILL)
    process.stop(place, role(name), patience=2)
    clear(place, name)


def clear(place: Place, name: str) -> None:
    """End what still lives in the server's control groups and delete them."""
    for group in control_groups(place, name):
        deadline = time.monotonic() + 15
        while group.exists():
            try:
                for pid in members(group):
                    process.send(pid, signal.SIGKILL)
                for path, _, _ in os.walk(group, topdown=False):
                    Path(path).rmdir()
            except OSError:
                # Busy for a moment: whoever was killed there is still being taken down.
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)


def members(group: Path) -> list[int]:
    return [int(pid) for path in group.glob("**/cgroup.procs") for pid in path.read_text().split()]


def leftover_groups(place: Place) -> list[str]:
    """Names of servers of this sandbox that have a control group, whatever is on disk."""
    marks = [group.name for mount in {path.parent for path in control_groups(place, "x")}
             for group in mount.glob(f"webops-sandbox-{place.tag}-*")]
    return sorted({mark.removeprefix(f"webops-sandbox-{place.tag}-") for mark in marks})
