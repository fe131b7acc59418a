"""Host keys as people compare them."""

from __future__ import annotations

from typing import NamedTuple

from panel.link.ssh import fingerprint


class Fingerprint(NamedTuple):
    """Of one host key, as `ssh-keygen -l` prints it."""

    type: str
    text: str

    @property
    def kind(self) -> str:
        """ed25519, nistp256, rsa: the type without what all have in front."""
        return self.type.removeprefix("ssh-").removeprefix("ecdsa-sha2-")


def fingerprints(lines: str) -> list[Fingerprint]:
    """The fingerprints of known_hosts lines without their host ("ssh-ed25519 AAAA…"), best first."""
    return [Fingerprint(line.split()[0], fingerprint(line)) for line in lines.splitlines() if line.strip()]
