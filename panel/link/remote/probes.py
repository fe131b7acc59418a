"""Probes: how a resource is looked at. Each gives what it saw; what that means is decided by the link."""

from __future__ import annotations

import base64
import binascii
import http.client
import os
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from panel.link.remote import records

#: Seconds: for one step of one probe, and for all probes of all resources together.
PATIENCE = 5.0
DEADLINE = 8.0
_MOST_PROBES = 20
_CERTIFICATE_BYTES = 32 * 1024
_FIELDS = ("Id", "LoadState", "ActiveState", "SubState", "Result", "NRestarts", "ActiveEnterTimestamp")
#: Threads that ask over HTTP, by resource and place of the probe.
_asking: dict[str, threading.Thread] = {}


def look(found: dict[str, dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Evaluate the probes of all records at once; by resource name, in the order of the record."""
    states = _unit_states([unit for one in found.values() for probe in probes_of(one)
                           for unit in records.units(probe.get("units"))])
    answers: dict[str, list[dict[str, Any]]] = {}
    slow = []
    for name, one in found.items():
        answers[name] = []
        for probe in probes_of(one):
            if probe.get("type") == "http":
                slow.append(_aside(probe, answers[name], f"{name} {len(answers[name])}"))
            else:
                answers[name].append(answer(probe, states))
    until = time.monotonic() + DEADLINE
    for thread in slow:
        thread.join(max(0.0, until - time.monotonic()))
    # Copies: a probe that is late may still write into the lists above.
    return {name: list(seen) for name, seen in answers.items()}


def _aside(probe: dict[str, Any], into: list[dict[str, Any]], key: str) -> threading.Thread:
    """Ask in a thread of its own, which writes its answer over the "no answer" that stands there until then."""
    place = len(into)
    into.append({**_same(probe), "error": f"no answer within {DEADLINE:.0f} seconds"})
    before = _asking.get(key)
    if before and before.is_alive():
        return before  # an app that never ends its answer gets one thread, not one per look

    def run() -> None:
        into[place] = answer(probe, {})

    thread = _asking[key] = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def probes_of(one: dict[str, Any]) -> list[dict[str, Any]]:
    probes = one.get("probes")
    return [probe for probe in probes if isinstance(probe, dict)][:_MOST_PROBES] if isinstance(probes, list) else []


def answer(probe: dict[str, Any], states: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What one probe saw, {"type", …} or {"type", "error"}; a probe never raises."""
    kind = probe.get("type")
    try:
        if kind == "unit":
            return _units(probe, states)
        if kind == "http":
            return {"type": "http", "url": _shown(probe), "wanted": probe.get("status") or [200], **_http(probe)}
        if kind == "certificate":
            return {"type": kind, "path": probe["path"], "der": certificate(probe["path"])}
        if kind == "path":
            return {"type": kind, "path": probe["path"], "there": os.path.lexists(probe["path"])}
    except ssl.SSLError as wrong:
        return {"type": kind, "url": _shown(probe), "error": f"TLS failed: {wrong.reason or wrong}"}
    except OSError as wrong:
        return {**_same(probe), "error": _why(wrong)}
    except (http.client.HTTPException, ValueError, KeyError, TypeError) as wrong:
        return {**_same(probe), "error": (str(wrong) or type(wrong).__name__)[:300]}
    return {"type": str(kind)[:50], "error": "this WebOps does not know this kind of probe"}


def _same(probe: dict[str, Any]) -> dict[str, Any]:
    shown = {"type": probe.get("type"), "path": probe.get("path")}
    return {**shown, "url": _shown(probe)} if probe.get("type") == "http" else shown


def _why(wrong: OSError) -> str:
    if isinstance(wrong, (socket.timeout, TimeoutError)):
        return f"no answer within {PATIENCE:.0f} seconds"
    if isinstance(wrong, socket.gaierror):
        return "its name cannot be found"
    return (wrong.strerror or str(wrong) or type(wrong).__name__).lower()[:300]


def _units(probe: dict[str, Any], states: dict[str, dict[str, Any]]) -> dict[str, Any]:
    wanted = records.units(probe.get("units"))
    missing = {"LoadState": "unknown", "ActiveState": "unknown"}
    return {"type": "unit", "any": bool(probe.get("any")),
            "units": [{"name": unit, **_plain(states.get(unit, missing))} for unit in wanted]}


def _plain(state: dict[str, Any]) -> dict[str, Any]:
    return {"load": state.get("LoadState"), "active": state.get("ActiveState"), "sub": state.get("SubState"),
            "result": state.get("Result"), "restarts": state.get("NRestarts"),
            "since": state.get("ActiveEnterTimestamp")}


def _unit_states(units: list[str]) -> dict[str, dict[str, Any]]:
    """What systemd says of all units, in one question."""
    if not units:
        return {}
    command = ["systemctl", "show", "--no-pager", "--property=" + ",".join(_FIELDS), "--", *dict.fromkeys(units)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False,
                              stdin=subprocess.DEVNULL, errors="replace", env={"PATH": os.defpath, "LC_ALL": "C.UTF-8"})
    except (OSError, subprocess.TimeoutExpired):
        return {}
    blocks = [dict(line.partition("=")[::2] for line in block.splitlines()) for block in done.stdout.split("\n\n")]
    # In the order asked for: an alias answers with the Id of the unit that it stands for.
    return dict(zip(dict.fromkeys(units), [block for block in blocks if block], strict=False))


def _shown(probe: dict[str, Any]) -> str:
    return str(probe.get("url") or f"{probe.get('socket')}:{probe.get('path')}")[:500]


def _http(probe: dict[str, Any]) -> dict[str, Any]:
    began = time.monotonic()
    host, path, tls = _target(probe)
    channel = _connect(probe)
    with channel:
        plain = http.client.HTTPConnection(host, timeout=PATIENCE)
        plain.sock = _secured(channel, host) if tls else channel
        try:
            # As a proxy in front of the app would say it: an app that insists on https answers.
            plain.request("GET", path, headers={"User-Agent": "webops", "Connection": "close", "Accept": "*/*",
                                                **({} if tls else {"X-Forwarded-Proto": "https"})})
            status = plain.getresponse().status
        finally:
            plain.close()
    return {"status": status, "ms": round((time.monotonic() - began) * 1000)}


def _target(probe: dict[str, Any]) -> tuple[str, str, bool]:
    if probe.get("socket"):
        return probe.get("host") or "localhost", probe.get("path") or "/", False
    parts = urlsplit(probe["url"])
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return parts.hostname or "localhost", path, parts.scheme == "https"


def _connect(probe: dict[str, Any]) -> socket.socket:
    if probe.get("socket"):
        channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        channel.settimeout(PATIENCE)
        channel.connect(probe["socket"])
        return channel
    parts = urlsplit(probe["url"])
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    if probe.get("connect"):
        place = urlsplit(f"//{probe['connect']}")
        host, port = place.hostname or host, place.port or port
    return socket.create_connection((host, port), timeout=PATIENCE)


def _secured(channel: socket.socket, host: str) -> ssl.SSLSocket:
    # Whether the certificate is good is the certificate probe's matter; here the question is who answers.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(channel, server_hostname=host)


def certificate(path: str) -> str:
    """The first certificate of a PEM file, as base64 of its DER form; never anything else that lies there."""
    with Path(path).open("rb") as file:
        text = file.read(_CERTIFICATE_BYTES)
    begin, end = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"
    if begin not in text or end not in text:
        raise ValueError("there is no certificate in this file")
    body = b"".join(text.split(begin, 1)[1].split(end, 1)[0].split())
    try:
        return base64.b64encode(base64.b64decode(body, validate=True)).decode()
    except binascii.Error:
        raise ValueError("the certificate in this file is damaged") from None
