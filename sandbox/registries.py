"""How servers reach the registries of apt, pip and uv: as this host does, through the package cache on the bridge."""

from __future__ import annotations

import re
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from sandbox import host, packages, process
from sandbox.errors import SandboxError
from sandbox.identity import Disk
from sandbox.place import REPOSITORY, Place, locked


def start_cache(place: Place, gateway: str) -> None:
    """Let the package cache listen at the gateway, unless it does; raises SandboxError if it cannot."""
    log = place.state / "packages.log"
    with locked(place.lock("packages")):
        if not process.find(place, packages.ROLE):
            argv = [sys.executable, "-m", "sandbox.packages", gateway, str(place.cache / "packages")]
            process.start(place, packages.ROLE, argv, log, cwd=REPOSITORY)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            socket.create_connection((gateway, packages.PORT), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise SandboxError(f"The package cache does not listen at {gateway}:{packages.PORT}; see {log}.")


def write_settings(disk: Disk, gateway: str) -> list[Path]:
    """Write the settings of apt, pip and uv; returns directories of this host that the server must see for them."""
    disk.write("etc/resolv.conf", host.resolver())
    own = [line for line in host.apt_settings().splitlines() if not re.match(r"Acquire::http::Proxy\b", line)]
    own.append(f'Acquire::http::Proxy "http://{gateway}:{packages.PORT}/";')
    disk.write("etc/apt/apt.conf.d/90sandbox", "\n".join(own) + "\n")
    settings = host.pip_settings()
    python = through_cache(settings, gateway)
    disk.write("etc/pip.conf", pip_conf(python))
    disk.write("etc/uv/uv.toml", uv_toml(python))
    variables = host.proxies()
    if host.own_certificates():
        # For programs that bring certificates of their own, as uv does.
        variables["SSL_CERT_FILE"] = str(host.BUNDLE)
    disk.write("etc/environment", "".join(f'{key}="{value}"\n' for key, value in variables.items()))
    return host.local_indexes(settings)


def through_cache(settings: Mapping[str, str], gateway: str) -> dict[str, str]:
    """pip's settings with the index replaced by its mirror on the bridge, where it can be mirrored."""
    found = dict(settings)
    if packages.mirrored_index(settings):
        found["index-url"] = f"http://{gateway}:{packages.PORT}/simple/"
        found["trusted-host"] = f"{found.get('trusted-host', '')} {gateway}".strip()
    return found


def pip_conf(settings: Mapping[str, str]) -> str:
    # A virtual environment's pip brings certificates of its own; it shall trust what the server trusts.
    lines = {**settings, "cert": str(host.BUNDLE)}
    return "[global]\n" + "".join(f"{key} = {value}\n" for key, value in lines.items())


def uv_toml(settings: Mapping[str, str]) -> str:
    """uv's settings that say the same as pip's: uv reads none of pip's files."""
    # Newer versions warn of native-tls, older ones know no other word for it: only where an index needs it.
    asked_by_tls = "https://" in settings.get("index-url", "https://") + settings.get("extra-index-url", "")
    lines = ["native-tls = true\n"] if asked_by_tls else []
    if "find-links" in settings:
        quoted = ", ".join(f'"{word}"' for word in settings["find-links"].split())
        lines.append(f"find-links = [{quoted}]\n")
    extra = [word for word in settings.get("extra-index-url", "").split() if word.startswith("http")]
    lines += [f'\n[[index]]\nurl = "{url}"\n' for url in extra]
    if "index-url" in settings:
        lines.append(f'\n[[index]]\nurl = "{settings["index-url"]}"\ndefault = true\n')
    return "".join(lines)
