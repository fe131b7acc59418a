"""Base images: a bare Debian with systemd, sshd, sudo and Python, built once and kept in the cache."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO

from sandbox import host
from sandbox.errors import SandboxError
from sandbox.place import Place, locked

RELEASES = ("bookworm", "trixie")
# What every Debian server that one can rent brings, and nothing that WebOps itself should install.
PACKAGES = ("systemd", "systemd-sysv", "dbus", "libpam-systemd", "openssh-server", "python3", "sudo", "iproute2",
            "procps", "netbase", "ca-certificates")
# apt lists older than this name packages that the archive has dropped.
MAX_AGE_DAYS = 45
LOG_TAIL = 1500


@dataclass(frozen=True)
class Image:
    """A base image: its release, its stamp, and the directory that servers lay their own files over."""

    release: str
    stamp: str
    root: Path


@cache
def mirror() -> str:
    """Where images come from: as told, else where this host's own packages come from, else Debian's public archive."""
    return (os.environ.get("WEBOPS_SANDBOX_MIRROR") or host.debian_archive()
            or "http://deb.debian.org/debian")


@cache
def security_mirror() -> str:
    return (os.environ.get("WEBOPS_SANDBOX_SECURITY_MIRROR") or host.debian_archive("-security")
            or "http://deb.debian.org/debian-security")


def stamp(release: str) -> str:
    """A hash of everything that goes into an image: another recipe, mirror or trust gives another stamp."""
    parts = [release, *PACKAGES, mirror(), security_mirror(), host.certificates_stamp(), FINISH]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def find(place: Place, release: str) -> Image | None:
    """The image of this release if it is built, fits the recipe and is young enough."""
    built = max(place.images().glob(f"{release}-{stamp(release)}*/built"), key=modified, default=None)
    if not built or time.time() - modified(built) > MAX_AGE_DAYS * 86400:
        return None
    return Image(release, stamp(release), built.parent / "root")


def modified(path: Path) -> float:
    return path.stat().st_mtime


def ensure(place: Place, release: str, say: Callable[[str], None] = lambda line: None) -> Image:
    """The image of this release, built now if need be (about two minutes; whoever comes second waits).

    Raises SandboxError for an unknown release or with the end of the log of a build that failed.
    """
    if release not in RELEASES:
        raise SandboxError(f"There is no image for {release!r}: choose one of {', '.join(RELEASES)}.")
    if image := find(place, release):
        return image
    host.must_boot()
    with locked(place.cache / "locks" / f"image-{release}"):
        if image := find(place, release):
            return image
        say(f"Building the {release} base image once (about two minutes) …")
        return build(place, release)


def build(place: Place, release: str) -> Image:
    """Build the image beside its place and rename it: half an image is never found. The caller holds the lock."""
    # With the day in its name, an image is never replaced: layers and stopped servers stand on theirs.
    target = place.images() / f"{release}-{stamp(release)}-{time.strftime('%Y%m%d')}"
    half = place.images() / f"{release}.half"
    shutil.rmtree(half, ignore_errors=True)
    half.mkdir(parents=True)
    half.chmod(0o700)
    with (half / "log").open("w") as log:
        debootstrap(release, half / "root", place.cache / "debootstrap", log)
        configure(release, half / "root")
        finish(half / "root", log)
    (half / "built").write_text(f"{release} {stamp(release)}\n")
    half.rename(target)
    return Image(release, stamp(release), target / "root")


def debootstrap(release: str, root: Path, debs: Path, log: IO[str]) -> None:
    debs.mkdir(parents=True, exist_ok=True)
    # A mount namespace of its own: what debootstrap mounts is gone with it, also after a crash.
    logged(["unshare", "--mount", "debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}",
            f"--cache-dir={debs}", release, str(root), mirror()], log, f"build the {release} image")


def configure(release: str, root: Path) -> None:
    """Write the files that finish() builds on: sources, apt settings, resolver, certificates of the host."""
    sources = (f"Types: deb\nURIs: {mirror()}\nSuites: {release} {release}-updates\nComponents: main\n"
               "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n\n"
               f"Types: deb\nURIs: {security_mirror()}\nSuites: {release}-security\nComponents: main\n"
               "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n")
    (root / "etc/apt/sources.list").unlink(missing_ok=True)
    (root / "etc/apt/sources.list.d/debian.sources").write_text(sources)
    (root / "etc/apt/apt.conf.d/90sandbox").write_text(host.apt_settings())
    (root / "etc/resolv.conf").unlink(missing_ok=True)
    (root / "etc/resolv.conf").write_text(host.resolver())
    trusted = root / "usr/local/share/ca-certificates"
    trusted.mkdir(parents=True, exist_ok=True)
    for number, pem in enumerate(host.own_certificates()):
        (trusted / f"sandbox-host-{number}.crt").write_text(pem)
    policy = root / "usr/sbin/policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)


FINISH = """set -e
update-ca-certificates
apt-get update
apt-get -y dist-upgrade
apt-get clean
useradd --create-home --shell /bin/bash --groups sudo debian
systemctl mask apt-daily.timer apt-daily-upgrade.timer
systemctl disable e2scrub_reap.service || true
rm -f /etc/ssh/ssh_host_* /usr/sbin/policy-rc.d /etc/hostname /var/lib/dbus/machine-id /etc/apt/apt.conf.d/90sandbox
install -d -m 0700 /root/.ssh
rm -rf /var/log/journal/* /tmp/* /var/tmp/*
: > /etc/machine-id
"""


def finish(root: Path, log: IO[str]) -> None:
    """Bring the image up to date and empty what each server must have of its own."""
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive", "LANG": "C.UTF-8",
                   **host.proxies()}
    logged(["unshare", "--mount", "--pid", "--fork", "--kill-child", f"--root={root}", "--mount-proc",
            "sh", "-c", FINISH], log, "finish the image", environment)


def logged(argv: list[str], log: IO[str], purpose: str, env: dict[str, str] | None = None) -> None:
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=env, check=False)
    if done.returncode:
        path = Path(log.name)
        raise SandboxError(f"Could not {purpose} ({path}):\n{path.read_text(errors='replace')[-LOG_TAIL:]}")
