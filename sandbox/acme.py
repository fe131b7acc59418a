"""A real ACME server for tests: Pebble, Let's Encrypt's own test authority, and the name server that it asks."""

from __future__ import annotations

import json
import os
import ssl
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from sandbox import authority, host, network, process
from sandbox.errors import CannotBoot, SandboxError
from sandbox.place import Place

NAME = "acme.sandbox.test"
DIRECTORY_PORT, MANAGEMENT_PORT, DNS_PORT, RECORDS_PORT = 14000, 15000, 8053, 8055


@dataclass(frozen=True)
class Acme:
    """A running ACME server. ``trust`` proves its directory's TLS, ``root`` the certificates that it issues.

    Both are PEM files. Each start makes another root; ``root`` begins with the newest and keeps the ones before it,
    as what they issued is still served after a reboot.
    """

    directory: str
    trust: Path
    root: Path
    records: str


def start(place: Place) -> Acme:
    """Start the ACME server of this sandbox, or find it running.

    Raises CannotBoot where Pebble is not installed, SandboxError where it does not answer.
    """
    lacking = {need.package for need in host.missing()} & {"pebble", "openssl"}
    if lacking:
        raise CannotBoot(f"Certificates need {' and '.join(sorted(lacking))}: `apt-get install "
                         f"--no-install-recommends {' '.join(sorted(lacking))}`.")
    gateway = network.ensure(place).gateway
    acme = describe(place, gateway)
    if not process.find(place, "acme"):
        launch(place, gateway)
        former = acme.root.read_bytes() if acme.root.exists() else b""
        acme.root.write_bytes(wait_root(place, gateway) + former)
    return acme


def describe(place: Place, gateway: str) -> Acme:
    return Acme(f"https://{NAME}:{DIRECTORY_PORT}/dir", authority.root(place), place.state / "acme" / "root.pem",
                f"http://{gateway}:{RECORDS_PORT}")


def launch(place: Place, gateway: str) -> None:
    directory = place.state / "acme"
    directory.mkdir(parents=True, exist_ok=True)
    certificate, key = authority.certificate(place, (NAME, gateway))
    config = {"pebble": {
        "listenAddress": f"{gateway}:{DIRECTORY_PORT}", "managementListenAddress": f"{gateway}:{MANAGEMENT_PORT}",
        "certificate": str(certificate), "privateKey": str(key), "httpPort": 80, "tlsPort": 443,
        "ocspResponderURL": "", "externalAccountBindingRequired": False}}
    (directory / "pebble.json").write_text(json.dumps(config))
    if not process.find(place, "names"):
        process.start(place, "names", [
            "pebble-challtestsrv", "-defaultIPv4", "", "-defaultIPv6", "", "-dns01", f"{gateway}:{DNS_PORT}",
            "-http01", "", "-https01", "", "-tlsalpn01", "", "-management", f"{gateway}:{RECORDS_PORT}"],
            directory / "names.log")
    # Pebble waits, refuses and remembers proofs at random, to harden clients; tests want the same answer each time.
    environment = {**os.environ, "PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0", "PEBBLE_AUTHZREUSE": "0"}
    process.start(place, "acme", ["pebble", "-config", str(directory / "pebble.json"), "-dnsserver",
                                  f"{gateway}:{DNS_PORT}"], directory / "pebble.log", environment)


def wait_root(place: Place, gateway: str) -> bytes:
    """The root of this start of Pebble, as soon as its management port answers."""
    trust = ssl.create_default_context(cafile=str(authority.root(place)))
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.find(place, "acme"):
        try:
            url = f"https://{gateway}:{MANAGEMENT_PORT}/roots/0"
            with urllib.request.urlopen(url, timeout=2, context=trust) as answer:
                return bytes(answer.read())
        except OSError:
            time.sleep(0.05)
    said = (place.state / "acme" / "pebble.log").read_text(errors="replace")[-800:]
    raise SandboxError(f"Pebble does not answer at {gateway}:{MANAGEMENT_PORT}. Its last words:\n{said}")


def point(place: Place, domain: str, address: str | None) -> None:
    """Let the ACME server find the domain at this address; None takes the record away. The server must run."""
    acme = describe(place, network.ensure(place).gateway)
    verb, record = ("clear-a", {"host": f"{domain}."}) if address is None else (
        "add-a", {"host": f"{domain}.", "addresses": [address]})
    try:
        # Only ever our own name server on the bridge.
        urllib.request.urlopen(f"{acme.records}/{verb}", json.dumps(record).encode(), timeout=5).close()  # noqa: S310
    except OSError as error:
        raise SandboxError(f"The sandbox's name server cannot be told of {domain} ({error}): "
                           "start the ACME server first.") from error


def stop(place: Place) -> None:
    """Stop Pebble and its name server. Nothing happens where they do not run."""
    for role in ("acme", "names"):
        process.stop(place, role)
