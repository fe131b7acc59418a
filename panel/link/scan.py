"""Which host keys an address offers, before anybody trusts it."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from panel.catalog.formats import problem
from panel.link import children
from panel.link.client import LinkError
from panel.link.ssh import fingerprint

_TYPES = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa")
_CONNECT = 10.0


async def scan(address: Any, port: Any) -> dict[str, Any]:
    """{"keys", "fingerprints"} in the same order, best first. LinkError: why there are none."""
    _refuse(address, port)
    await _reach(address, int(port))
    try:
        _, output, _ = await children.run("ssh-keyscan", "-T", "8", "-p", str(port), "-t", "ed25519,ecdsa,rsa",
                                          "--", address, timeout=15)
    except (OSError, TimeoutError) as wrong:
        raise LinkError(f"The host key of {address} could not be read: {wrong or 'it took too long'}. "
                        "Try again.", "scan_failed") from wrong
    keys = _keys(output)
    if not keys:
        raise LinkError(f"{address} answers on port {port}, but offers no SSH host key. "
                        "Check that this is the port of its SSH server.", "no_host_key")
    return {"keys": keys, "fingerprints": [fingerprint(key) for key in keys]}


def _refuse(address: Any, port: Any) -> None:
    for format_name, value in (("address", address), ("port", port)):
        found = problem(format_name, value)
        if found:
            raise LinkError(found.message, found.code)


async def _reach(address: str, port: int) -> None:
    """ssh-keyscan says nothing when nobody answers; we say why."""
    try:
        async with asyncio.timeout(_CONNECT):
            _, writer = await asyncio.open_connection(address, port)
        writer.close()
    except TimeoutError:
        raise LinkError(f"{address} did not answer on port {port} within {_CONNECT:.0f} seconds. Check the address, "
                        "and that its firewall lets WebOps in.", "timeout") from None
    except socket.gaierror:
        raise LinkError(f"The name {address} cannot be found. Check it, and the DNS of this machine.",
                        "name") from None
    except ConnectionRefusedError:
        raise LinkError(f"{address} refuses connections on port {port}. Check that its SSH server runs there.",
                        "refused") from None
    except OSError as wrong:
        raise LinkError(f"{address} cannot be reached: {(wrong.strerror or str(wrong)).lower()}.",
                        "network") from wrong


def _keys(output: str) -> list[str]:
    found = []
    for line in output.splitlines():
        parts = line.split()
        if len(parts) == 3 and not line.startswith("#") and parts[1] in _TYPES:
            try:
                fingerprint(key := f"{parts[1]} {parts[2]}")
            except ValueError:
                continue
            found.append(key)
    return sorted(set(found), key=lambda key: _TYPES.index(key.split()[0]))
