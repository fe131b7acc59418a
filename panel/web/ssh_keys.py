"""Host keys as people compare them."""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import NamedTuple


class Fingerprint(NamedTuple):
    """Of one host key, as `ssh-keygen -l` prints it."""

    kind: str
    text: str


def fingerprints(lines: str) -> list[Fingerprint]:
    """The fingerprints of known_hosts lines without their host ("ssh-ed25519 AAAA…")."""
    found = []
    for line in lines.splitlines():
        kind, _, rest = line.strip().partition(" ")
        try:
            digest = hashlib.sha256(base64.b64decode(rest.split(" ")[0], validate=True)).digest()
        except binascii.Error:
            continue
        if rest:
            found.append(Fingerprint(kind.removeprefix("ssh-").removeprefix("ecdsa-sha2-"),
                                     "SHA256:" + base64.b64encode(digest).decode().rstrip("=")))
    return found
