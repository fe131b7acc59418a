"""The sandbox's own certificate authority: for what it offers to servers over https (Git, Pebble's directory)."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from pathlib import Path

from sandbox.host import call
from sandbox.place import Place, locked

CONFIG = """[req]
distinguished_name = name
prompt = no
[name]
CN = {title}
[root]
basicConstraints = critical, CA:true
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[leaf]
basicConstraints = critical, CA:false
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = {names}
"""
NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]


def root(place: Place) -> Path:
    """The root certificate (PEM) of this sandbox, made once; servers that use its services must trust it."""
    directory = place.state / "authority"
    with locked(place.lock("authority")):
        if not (directory / "root.pem").exists():
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            request(directory, "half", "root", f"WebOps sandbox {place.tag}", "DNS:invalid", [])
            (directory / "half.key").rename(directory / "root.key")
            (directory / "half.pem").rename(directory / "root.pem")
    return directory / "root.pem"


def certificate(place: Place, names: Sequence[str]) -> tuple[Path, Path]:
    """A certificate and its key for these names and addresses; the first name titles its files. Made anew each time."""
    signer = root(place)
    directory, title = signer.parent, names[0]
    request(directory, title, "leaf", title, ",".join(map(alternative, names)),
            ["-CA", str(signer), "-CAkey", str(directory / "root.key")])
    return directory / f"{title}.pem", directory / f"{title}.key"


def alternative(name: str) -> str:
    try:
        return f"IP:{ipaddress.ip_address(name)}"
    except ValueError:
        return f"DNS:{name}"


def request(directory: Path, file: str, section: str, title: str, names: str, signer: Sequence[str]) -> None:
    config = directory / f"{file}.cnf"
    config.write_text(CONFIG.format(title=title, names=names))
    call(["openssl", "req", "-x509", "-config", str(config), "-extensions", section, "-days", "825", *NEW_KEY,
          "-keyout", str(directory / f"{file}.key"), "-out", str(directory / f"{file}.pem"), *signer])
    (directory / f"{file}.key").chmod(0o600)
