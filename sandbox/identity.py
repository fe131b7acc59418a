"""What makes one server different from another: its keys, names and passwords.

All of it is written into the server's upper directory before it boots.
"""

from __future__ import annotations

import re
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path

from sandbox.host import call
from sandbox.place import Place, locked, write_whole

KEY = "id_ed25519"


def key_pair(place: Place) -> Path:
    """The private key that opens every server of this sandbox (its public half beside it), made once."""
    path = place.state / "ssh" / KEY
    with locked(place.lock("ssh")):
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            make_key(path, f"sandbox-{place.tag}")
    return path


def make_key(path: Path, comment: str) -> None:
    call(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)])


def host_key(directory: Path, name: str) -> Path:
    """The server's own host key, kept over resets so that clients go on knowing it."""
    path = directory / "ssh_host_ed25519_key"
    if not path.exists():
        make_key(path, f"root@{name}")
    return path


def write_known_hosts(place: Place) -> Path:
    """The known_hosts file of all servers of this sandbox, by address and by name."""
    path = place.state / "ssh" / "known_hosts"
    with locked(place.lock("ssh")):
        lines = []
        for record in sorted(place.state.glob("servers/*/address")):
            key = (record.parent / "ssh_host_ed25519_key.pub").read_text().split()[:2]
            lines.append(f"{record.read_text().strip()},{record.parent.name} {' '.join(key)}\n")
        write_whole(path, "".join(lines))
    return path


class Disk:
    """A server's disk before it boots: files are written above the layers and keep the layers' modes of directories."""

    def __init__(self, upper: Path, layers: Sequence[Path]) -> None:
        self.upper, self.layers = upper, layers

    def read(self, path: str) -> str:
        """The text of a file as the server would see it; raises FileNotFoundError where no layer has it."""
        for layer in (self.upper, *self.layers):
            if (layer / path).is_file() or (layer / path).is_symlink():
                return (layer / path).read_text()
        raise FileNotFoundError(path)

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        self.make_parent(Path(path).parent)
        target = self.upper / path
        target.unlink(missing_ok=True)
        target.touch(mode=0o600)
        target.write_text(text)
        target.chmod(mode)

    def make_parent(self, path: Path) -> None:
        if path == Path() or (self.upper / path).is_dir():
            return
        self.make_parent(path.parent)
        (self.upper / path).mkdir()
        # A directory of the upper layer decides for all: it must look as it does below.
        below = next((layer / path for layer in self.layers if (layer / path).is_dir()), None)
        if below:
            shutil.copystat(below, self.upper / path)
            shutil.chown(self.upper / path, below.stat().st_uid, below.stat().st_gid)


def write_identity(place: Place, disk: Disk, name: str, address: str, password: str, services: str) -> None:
    """Give the server its names, keys and passwords; `services` is a line for its hosts file."""
    directory = place.server_dir(name)
    key = host_key(directory, name)
    disk.write("etc/hostname", f"{name}\n")
    disk.write("etc/hosts", f"127.0.0.1 localhost\n::1 localhost ip6-localhost\n{address} {name}\n{services}\n")
    disk.write("etc/machine-id", secrets.token_hex(16) + "\n", 0o444)
    disk.write("etc/ssh/ssh_host_ed25519_key", key.read_text(), 0o600)
    disk.write("etc/ssh/ssh_host_ed25519_key.pub", key.with_suffix(".pub").read_text())
    disk.write("root/.ssh/authorized_keys", key_pair(place).with_suffix(".pub").read_text(), 0o600)
    hashed = call(["openssl", "passwd", "-6", "-stdin"], text=password + "\n").strip()
    shadow = re.sub(r"(?m)^debian:[^:]*:", f"debian:{hashed}:".replace("\\", r"\\"), disk.read("etc/shadow"))
    disk.write("etc/shadow", shadow, 0o640)
    shutil.chown(disk.upper / "etc/shadow", 0, group_id(disk, "shadow"))


def group_id(disk: Disk, group: str) -> int:
    found = re.search(rf"(?m)^{group}:[^:]*:(\d+):", disk.read("etc/group"))
    return int(found[1]) if found else 0
