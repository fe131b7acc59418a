"""Debian packages that this machine lacks: named with their reasons, then installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence

from sandbox.errors import CannotBoot
from sandbox.host import Requirement


def install(needs: Sequence[Requirement]) -> None:
    """Install what is missing of `needs`, after saying what and why. CannotBoot: no root, or no apt."""
    lacking = [need for need in needs if not need.met]
    if not lacking:
        return
    packages = sorted({need.package for need in lacking})
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise CannotBoot(f"These Debian packages are missing: {' '.join(packages)}. Install them as root "
                         f"(`apt-get install --no-install-recommends {' '.join(packages)}`) and try again.")
    print("Installing Debian packages that are missing:")
    for need in lacking:
        print(f"  {need.package:18} {need.reason}", flush=True)
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install_them = ["apt-get", "install", "-qq", "-y", "--no-install-recommends", *packages]
    for argv in (["apt-get", "update", "-qq"], install_them):
        done = subprocess.run(argv, env=quiet, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.stderr.write(done.stdout[-2000:] + done.stderr[-2000:])
            raise CannotBoot(f"`{' '.join(argv)}` failed with {done.returncode}; its last lines stand above.")
