"""The machine that sandbox servers boot on: what it needs, and how it reaches package registries."""

from __future__ import annotations

import configparser
import hashlib
import os
import platform
import re
import shutil
import subprocess
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from sandbox.errors import CannotBoot, SandboxError

INSTEAD = "`make run` starts the panel alone, for servers of your own."
BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
STOCK_CERTIFICATES = Path("/usr/share/ca-certificates")


@dataclass(frozen=True)
class Requirement:
    """A Debian package that the host needs, the command or file that proves it is there, and the reason.

    Servers boot without one that is not `to_boot`; what it is for then says that it is missing.
    """

    package: str
    proof: str
    reason: str
    to_boot: bool = True

    @property
    def met(self) -> bool:
        return Path(self.proof).exists() if self.proof.startswith("/") else bool(shutil.which(self.proof, path=path()))


def path() -> str:
    """The search path with the administrator's directories, which a plain `su` leaves out."""
    return os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/local/sbin:/usr/sbin:/sbin"


def requirements() -> list[Requirement]:
    """Every Debian package that the sandbox needs on the host, with its reason."""
    keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
    return [
        Requirement("systemd-container", "systemd-nspawn", "boots a directory as a server with systemd as PID 1"),
        Requirement("debootstrap", "debootstrap", "builds the Debian base images"),
        Requirement("debian-archive-keyring", keyring, "proves that the images' packages are Debian's"),
        Requirement("iproute2", "ip", "gives every server its own network and address"),
        Requirement("iptables", "iptables", "lets servers reach package registries through this machine"),
        Requirement("openssh-client", "ssh-keygen", "makes SSH keys and reaches the servers"),
        Requirement("openssl", "openssl", "hashes passwords and makes the sandbox's own certificates"),
        Requirement("util-linux", "nsenter", "runs commands in a server even where its network is cut"),
        Requirement("git", "git", "serves repositories to the servers", to_boot=False),
        Requirement("pebble", "pebble", "is the certificate authority (ACME) that tests ask", to_boot=False),
    ]


def missing(to_boot: bool = False) -> list[Requirement]:
    """The requirements that this host lacks: all, or only those without which no server boots."""
    return [need for need in requirements() if not need.met and (need.to_boot or not to_boot)]


def why_not() -> str | None:
    """One sentence on why this machine cannot boot sandbox servers and what works instead; None where it can."""
    if platform.system() != "Linux":
        return f"Sandbox servers need Linux, and this is {platform.system()}; {INSTEAD}"
    if os.geteuid() != 0:
        return f"Sandbox servers need root (try again with sudo); {INSTEAD}"
    if not has_overlay():
        return f"Sandbox servers need overlayfs, and this kernel has none; {INSTEAD}"
    if lacking := missing(to_boot=True):
        packages = " ".join(need.package for need in lacking)
        return (f"Sandbox servers need packages that are not installed "
                f"(`apt-get install --no-install-recommends {packages}`); {INSTEAD}")
    return None


def has_overlay() -> bool:
    if "overlay" in Path("/proc/filesystems").read_text():
        return True
    modprobe = shutil.which("modprobe", path=path())
    return modprobe is not None and subprocess.run([modprobe, "overlay"], capture_output=True).returncode == 0


def must_boot() -> None:
    """Raise CannotBoot with the one sentence where this machine cannot boot sandbox servers."""
    if reason := why_not():
        raise CannotBoot(reason)


def call(argv: Sequence[str], *, text: str | None = None, env: Mapping[str, str] | None = None) -> str:
    """Run a command of the host and return its output; raises SandboxError with its last lines."""
    found = shutil.which(argv[0], path=path())
    if not found:
        raise SandboxError(f"`{argv[0]}` is not installed: `python3 -m sandbox doctor` shows what is missing.")
    done = subprocess.run([found, *argv[1:]], input=text, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip())[-800:]
        raise SandboxError(f"`{' '.join(argv)}` failed with {done.returncode}: {said}")
    return done.stdout


def own_certificates(bundle: Path = BUNDLE, stock: Path = STOCK_CERTIFICATES) -> list[str]:
    """Certificates (PEM) that this host trusts and a fresh Debian would not: a company's or a proxy's own."""
    if not bundle.exists():
        return []
    known = {pem for file in stock.rglob("*.crt") for pem in pems(file.read_text(errors="replace"))}
    return [pem for pem in pems(bundle.read_text(errors="replace")) if pem not in known]


def pems(text: str) -> list[str]:
    """The certificates in a text, each as PEM with one newline at its end."""
    found = re.findall(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", text, re.DOTALL)
    return ["\n".join(line.strip() for line in pem.splitlines()) + "\n" for pem in found]


def certificates_stamp() -> str:
    """A short hash of the certificates that images get from this host."""
    return hashlib.sha256("".join(own_certificates()).encode()).hexdigest()[:12]


def resolver() -> str:
    """A resolv.conf that works inside a server: the host's, or systemd-resolved's upstream where that is a stub."""
    for file in (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf")):
        text = file.read_text() if file.exists() else ""
        if re.search(r"^nameserver\s+(?!127\.|::1)", text, re.MULTILINE):
            return text
    raise SandboxError("No name server in /etc/resolv.conf can be reached from a server (only 127.0.0.1): "
                       "add a `nameserver` line with an address of your network.")


def apt_settings() -> str:
    """The host's own apt settings on how archives are reached, as lines for apt.conf.d."""
    if not shutil.which("apt-config"):
        return ""
    keep = re.compile(r"Acquire::(https?::(?!User-Agent)|Check-|Retries|ForceIPv)")
    lines = call(["apt-config", "dump"]).splitlines()
    return "".join(f"{line}\n" for line in lines if keep.match(line) and not line.endswith(' "";'))


@cache
def package_sources() -> str:
    """What apt on this host says of its sources, a line each; nothing without apt. Asked once: it takes its time."""
    if not shutil.which("apt-get", path=path()):
        return ""
    form = "$(ORIGIN)|$(REPO_URI)|$(RELEASE)|$(COMPONENT)"
    return call(["apt-get", "indextargets", "--format", form, "Created-By: Packages"])


def debian_archive(suite: str = "", described: str | None = None) -> str | None:
    """Where this host itself gets Debian from: the address of its archive, or of its "-security" one.

    None where it is no Debian, or the address is none that a server could use as well. `described`: what apt says.
    """
    for line in (package_sources() if described is None else described).splitlines():
        origin, address, release, component = line.strip().split("|")
        # A source that was never fetched has no origin yet; Debian's own archives have the same end everywhere.
        is_debian = origin == "Debian" or (not origin and address.rstrip("/").endswith(f"/debian{suite}"))
        if is_debian and component == "main" and re.fullmatch(rf"[a-z]+{re.escape(suite)}", release) \
                and re.match(r"https?://[^@]+\Z", address):
            return address.rstrip("/")
    return None


def proxies(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The proxy variables of this host's environment."""
    return {key: value for key, value in environ.items()
            if key.lower() in ("http_proxy", "https_proxy", "no_proxy", "all_proxy") and value}


def pip_settings(environ: Mapping[str, str] = os.environ, home: Path | None = None) -> dict[str, str]:
    """How pip on this host finds packages: index-url (else uv's), extra-index-url, find-links, trusted-host, …"""
    wanted = ("index-url", "extra-index-url", "find-links", "trusted-host", "timeout", "proxy", "no-index")
    home = home or Path.home()
    config = configparser.RawConfigParser(strict=False)
    config.read(["/etc/pip.conf", "/etc/xdg/pip/pip.conf", home / ".pip/pip.conf", home / ".config/pip/pip.conf"])
    found = {key: config.get("global", key) for key in wanted if config.has_option("global", key)}
    for key in wanted:
        variable = "PIP_" + key.upper().replace("-", "_")
        value = environ.get(variable) or environ.get(variable.replace("PIP_", "PIP_DEFAULT_"))
        if value:
            found[key] = value
    if index := found.get("index-url") or uv_index(environ, home):
        found["index-url"] = index
    return {key: " ".join(value.split()) for key, value in found.items()}


def uv_index(environ: Mapping[str, str], home: Path) -> str | None:
    """The default index that uv on this host is set to; None where it is uv's own."""
    for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL"):
        if environ.get(name):
            return environ[name].rpartition("=")[2] if re.match(r"[\w-]+=http", environ[name]) else environ[name]
    for file in (home / ".config/uv/uv.toml", Path("/etc/xdg/uv/uv.toml"), Path("/etc/uv/uv.toml")):
        try:
            settings = tomllib.loads(file.read_text())
        except (OSError, ValueError):
            continue
        named = [one.get("url") for one in settings.get("index", []) if one.get("default")]
        if url := next(iter(named), None) or settings.get("index-url"):
            return str(url)
    return None


def local_indexes(settings: Mapping[str, str]) -> list[Path]:
    """Directories of this host that pip's settings name: servers need to see them at the same path."""
    places = []
    for key in ("index-url", "extra-index-url", "find-links"):
        for word in settings.get(key, "").split():
            found = Path(word.removeprefix("file://"))
            if found.is_absolute() and found.is_dir():
                # An index in the usual form (…/simple) links to files beside it.
                places.append(found.parent if found.name == "simple" else found)
    return sorted(set(places))
