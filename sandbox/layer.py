"""Layers: the disk of a prepared server, kept so that new servers boot with it at once.

A layer lies in the cache, where all sandboxes find it. It belongs to the base image that it was made over, and
carries a stamp of the caller (a hash of what prepared it): a layer that does not fit both is refused.
"""

from __future__ import annotations

import json
import re
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from sandbox import image, server
from sandbox.errors import SandboxError, StaleLayer
from sandbox.host import call
from sandbox.place import Place, locked

# What each server must have of its own, and what only fills the disk.
DROPPED = ("etc/ssh/ssh_host_*", "etc/machine-id", "etc/hostname", "etc/hosts", "etc/resolv.conf", "etc/pip.conf",
           "etc/uv/uv.toml", "etc/environment", "etc/apt/apt.conf.d/90sandbox", "root/.ssh/authorized_keys",
           "root/.bash_history", "var/log/journal/*", "var/lib/systemd/random-seed", "var/cache/apt/archives/*.deb",
           "run/*", "tmp/*", "var/tmp/*")


@dataclass(frozen=True)
class Layer:
    """A saved disk. ``roots`` are the directories that a server boots over, the uppermost first, base image last."""

    name: str
    release: str
    stamp: str
    roots: tuple[Path, ...]


def save(place: Place, server_name: str, name: str, stamp: str = "") -> Layer:
    """Keep the server's disk as a layer of this name; an older one of the name is replaced.

    The server is shut down in order first and stays stopped. Raises SandboxError where there is no such server.
    """
    check_name(name)
    one = server.stop(place, server_name)
    home = place.layers() / one.release
    half = home / f"{name}.half"
    with locked(place.cache / "locks" / f"layer-{one.release}-{name}"):
        shutil.rmtree(half, ignore_errors=True)
        half.mkdir(parents=True)
        half.chmod(0o700)
        # cp keeps what overlayfs writes of deleted files: device nodes and trusted.* attributes.
        call(["cp", "--archive", "--reflink=auto", str(place.server_dir(server_name) / "upper"), str(half / "root")])
        make_common(half / "root")
        target = home / f"{name}-{time.time_ns()}"
        layer = Layer(name, one.release, stamp, (target / "root", *one.layers))
        (half / "layer.json").write_text(json.dumps(asdict(layer), default=str))
        half.rename(target)
        # A layer is looked for by this link: the old one serves until the new one is whole.
        link = home / f"{name}.new"
        link.unlink(missing_ok=True)
        link.symlink_to(target.name)
        link.rename(home / name)
    return layer


def check_name(name: str) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,39}", name):
        raise SandboxError(f"{name!r} cannot name a layer: use small letters, digits and dashes, like ready.")


def make_common(root: Path) -> None:
    """Take away what was the server's own, down to the `debian` user's password."""
    for pattern in DROPPED:
        for path in root.glob(pattern):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
    for path in (root / "etc/shadow", root / "etc/shadow-"):
        if path.is_file():
            path.write_text(re.sub(r"(?m)^debian:[^:]*:", "debian:!:", path.read_text()))


def find(place: Place, name: str, release: str, stamp: str | None = None) -> Layer:
    """The layer of this name and release that fits today's base image and, where given, the stamp.

    Raises StaleLayer, with what to do, where there is none or it does not fit.
    """
    check_name(name)
    record = place.layers() / release / name / "layer.json"
    again = f"prepare a server again and save it: python3 -m sandbox save NAME {name}"
    if not record.exists():
        raise StaleLayer(f"There is no layer {name} for {release}: {again}")
    kept = json.loads(record.read_text())
    layer = Layer(kept["name"], kept["release"], kept["stamp"], tuple(map(Path, kept["roots"])))
    base = image.find(place, release)
    if not base or layer.roots[-1] != base.root or not all(root.is_dir() for root in layer.roots):
        raise StaleLayer(f"The layer {name} was made over an older {release} image: {again}")
    if stamp is not None and layer.stamp != stamp:
        raise StaleLayer(f"The layer {name} ({release}) has the stamp {layer.stamp or 'none'}, not {stamp}: {again}")
    return layer


def forget(place: Place, name: str, release: str) -> None:
    """Let nobody boot over the layer any more; `doctor --clear` deletes it. Nothing happens where there is none."""
    check_name(name)
    (place.layers() / release / name).unlink(missing_ok=True)


def layers(place: Place) -> list[Layer]:
    """Every layer in the cache that fits today's base images."""
    found = []
    for link in sorted(place.layers().glob("*/*")):
        if link.is_symlink():
            try:
                found.append(find(place, link.name, link.parent.name))
            except StaleLayer:
                continue
    return found


def up(place: Place, server_name: str, name: str, release: str | None = None,
       stamp: str | None = None) -> server.Server:
    """Boot a new server over the layer; raises StaleLayer where it is missing or does not fit."""
    layer = find(place, name, release or image.RELEASES[0], stamp)
    return server.up(place, server_name, layer.release, layer.roots[:-1])
