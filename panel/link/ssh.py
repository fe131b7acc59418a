"""How OpenSSH is called, and what it means when it says no."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path

DEPLOY = "webops-deploy"
ADMIN = "webops-admin"

_OPTIONS = {
    "BatchMode": "yes",
    "StrictHostKeyChecking": "yes",
    "GlobalKnownHostsFile": "/dev/null",
    "UpdateHostKeys": "no",
    "VerifyHostKeyDNS": "no",
    "CheckHostIP": "no",
    "IdentitiesOnly": "yes",
    "PreferredAuthentications": "publickey",
    "ForwardAgent": "no",
    "ForwardX11": "no",
    "ClearAllForwardings": "yes",
    "PermitLocalCommand": "no",
    "ControlMaster": "no",
    "ControlPath": "none",
    "EscapeChar": "none",
    "ConnectTimeout": "15",
    "ServerAliveInterval": "15",
    "ServerAliveCountMax": "4",
    "LogLevel": "ERROR",
}


@dataclass(frozen=True)
class Target:
    """A server as the link needs it; two that are equal need no new connection."""

    server_id: int
    name: str
    address: str
    port: int
    host_key: str
    public_key: str
    private_key: bytes = field(repr=False)


@dataclass(frozen=True)
class Reason:
    """Why there is no connection: a code for programs, a cause and an advice for people."""

    code: str
    cause: str
    advice: str


class NoConnection(Exception):
    """There is no connection to the server, or there is none any more."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(f"{reason.cause}. {reason.advice}")
        self.reason = reason


def command(target: Target, place: Path, remote: str, user: str = DEPLOY) -> list[str]:
    """The argv that runs `remote` (ours, a constant) on the server; writes the two files that OpenSSH wants.

    The host key is pinned under a name of our own, so that no address, port or DNS answer leads to another key.
    """
    known, identity = place / f"{target.server_id}.known", place / f"{target.server_id}.pub"
    alias = f"webops-{target.server_id}"
    known.write_text("".join(f"{alias} {line}\n" for line in target.host_key.splitlines() if line.strip()))
    identity.write_text(target.public_key.strip() + "\n")
    identity.chmod(0o600)
    options = _OPTIONS | {"HostKeyAlias": alias, "UserKnownHostsFile": str(known), "IdentityFile": str(identity),
                          "IdentityAgent": str(place / "agent")}
    # -F none: neither this account's nor the machine's ssh_config may change what is written here.
    return ["ssh", "-F", "none", "-T", *(f"-o{key}={value}" for key, value in options.items()),
            "-p", str(target.port), "-l", user, "--", target.address, remote]


def fingerprint(key: str) -> str:
    """The SHA256 fingerprint of a "type base64" line, as ssh-keygen prints it. ValueError: not such a line."""
    import base64

    digest = hashlib.sha256(base64.b64decode(key.split()[1], validate=True)).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


_FIREWALL = "Check that the server is on and that its firewall lets WebOps in on port {port}."
#: What OpenSSH prints -> code, cause, advice. The first that is found counts.
_MEANINGS: tuple[tuple[str, str, str, str], ...] = (
    (r"REMOTE HOST IDENTIFICATION HAS CHANGED|Host key verification failed|host key is known for",
     "host_key", "its host key is not the accepted one, so nothing was sent",
     "If the server was installed anew, compare the new fingerprint and accept it; if not, ask who answers there."),
    (r"Permission denied|Too many authentication failures", "login",
     "{user} may not log in with WebOps' key", "Make the server ready again; that puts the key back."),
    (r"Could not resolve hostname", "name", "the name {address} cannot be found",
     "Check the address of the server, and the DNS of this machine."),
    (r"Connection refused", "refused", "connection refused on port {port}",
     "Check that the SSH server runs there and that the port is right."),
    (r"timed out|Timeout, server", "timeout", "connection timed out", _FIREWALL),
    (r"No route to host|Network is unreachable", "network", "there is no way to its network", _FIREWALL),
    (r"python3: .*not found|python3: No such file", "python", "it has no python3", "Make the server ready again."),
    (r"closed by|reset by|kex_exchange|Broken pipe", "closed", "it closed the connection",
     "Check that its SSH server is not overloaded and does not block WebOps' address."),
    (r"the private key cannot be used", "key", "WebOps' own key for it cannot be used",
     "Look at the link's log; make the server ready again to get a new key."),
)


def meaning(errors: str, target: Target, user: str = DEPLOY) -> Reason:
    """What OpenSSH's complaint means for a person."""
    words = {"port": target.port, "address": target.address, "user": user}
    for pattern, code, cause, advice in _MEANINGS:
        if re.search(pattern, errors, re.IGNORECASE):
            return Reason(code, cause.format(**words), advice.format(**words))
    said = " ".join(errors.split())[-200:]
    return Reason("unknown", f"SSH said '{said}'" if said else "the connection ended",
                  _FIREWALL.format(**words))


def silent(target: Target) -> Reason:
    """The connection stands and nothing comes."""
    return Reason("silent", "it does not answer any more", _FIREWALL.format(port=target.port))
