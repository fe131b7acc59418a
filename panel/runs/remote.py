"""What a stopped run left going on its server: found by the names of its units, and stopped there."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Container
from dataclasses import dataclass, field
from pathlib import Path

from panel.runs.spec import DEPLOY, key_name, known_hosts, ssh_arguments
from panel.runs.spec import key_of as private_key
from panel.store.models import Run, Server

_SECONDS = 40
#: Unit names come from systemd itself; what is stopped is a line that the server allows webops-deploy literally.
_SCRIPT = """
set -f
for unit in $(systemctl list-units --all --plain --no-legend --state=active,activating,reloading,deactivating \
    "wo-$1.task@*.service" | cut -d' ' -f1); do
    if sudo -n systemctl stop "$unit"; then echo "stopped $unit"; else echo "left $unit"; fi
done
# A model's engine that was starting beside what serves would stay in the memory, and start with the next boot.
# An app's slot is started by a module on the server, which goes on to its end.
if [ ! -e "/etc/systemd/system/wo-$1@.socket" ]; then
    serving=$(readlink "/srv/webops/$1/live/sock")
    for slot in a b; do
        unit="wo-$1@$slot.service"
        [ "$serving" = "/run/webops-$1-$slot/engine.sock" ] && continue
        [ "$(systemctl show -p ActiveState --value "$unit")" = activating ] || continue
        rm -f "/srv/webops/$1/live/$slot"
        if sudo -n systemctl stop "$unit"; then echo "stopped $unit"; else echo "left $unit"; fi
    done
fi
echo done
"""


@dataclass
class Left:
    """What was found: units that were stopped, units that go on, servers that could not be asked (with the reason)."""

    stopped: list[str] = field(default_factory=list)
    going_on: list[str] = field(default_factory=list)
    not_asked: dict[str, str] = field(default_factory=dict)

    def words(self) -> str:
        """For people."""
        sentences = []
        if self.stopped:
            sentences.append(f"Stopped there: {', '.join(self.stopped)}.")
        if self.going_on:
            sentences.append(f"Still going on, could not be stopped: {', '.join(self.going_on)}.")
        for server, why in self.not_asked.items():
            sentences.append(f"{server} could not be asked ({why}), so a step may still be going on there.")
        return " ".join(sentences)


def stop_units(run: Run, directory: Path, hosts: Container[str]) -> Left:
    """Stop the one-shot units of the run's resource on these of its hosts, through the deploy account."""
    left = Left()
    if run.resource_id is None or not re.fullmatch(r"[a-z0-9-]+", run.resource_name):
        return left
    for part in run.servers:
        if part.server and part.host in hosts:
            _stop_on(part.server, run.resource_name, directory, left)
    return left


def _stop_on(server: Server, name: str, directory: Path, left: Left) -> None:
    try:
        done = subprocess.run(_ssh(server, directory, name), input=_SCRIPT, capture_output=True, text=True,
                              timeout=_SECONDS, check=False, env={"HOME": str(directory), "PATH": "/usr/bin:/bin"})
    except subprocess.TimeoutExpired:
        left.not_asked[server.name] = "no answer"
        return
    lines = done.stdout.split("\n")
    left.stopped += [line.removeprefix("stopped ") for line in lines if line.startswith("stopped ")]
    left.going_on += [line.removeprefix("left ") for line in lines if line.startswith("left ")]
    if "done" not in lines:
        left.not_asked[server.name] = (done.stderr.strip().splitlines() or ["the connection broke"])[-1]


def _ssh(server: Server, directory: Path, name: str) -> list[str]:
    key = directory / key_name(server)
    for path, text in ((key, private_key(server)), (directory / "known_hosts", known_hosts(server))):
        if not path.exists():
            path.touch(mode=0o600)
            path.write_text(text)
    return ["ssh", "-o", "ConnectTimeout=8", "-o", "ControlMaster=no", "-o", "BatchMode=yes", *ssh_arguments(directory),
            "-i", str(key), "-p", str(server.port), "-l", DEPLOY, "--", server.address, "sh", "-s", name]
