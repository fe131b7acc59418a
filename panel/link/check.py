"""The test of a server: connects with each account as runs would, and says what was found."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

from panel.link import children, ssh
from panel.link.agent import Agent
from panel.link.plain import plain
from panel.store import seal

#: Run there by its python3; prints one JSON line. Writes nothing.
_PROGRAM = """
import json, os, platform, pwd, subprocess, sys
user = pwd.getpwuid(os.getuid()).pw_name
def sudo():
    # The account that must not become root only asks whether it could: a refused attempt would stand in sudo's log.
    ask = ["true"] if user == "webops-admin" else ["-l", "-u", "root", "true"]
    try:
        return subprocess.run(["sudo", "-n", *ask], capture_output=True, timeout=10).returncode == 0
    except Exception:
        return False
system = dict(line.rstrip().split("=", 1) for line in open("/etc/os-release") if "=" in line)
print(json.dumps({"webops": 1, "user": user, "uid": os.getuid(), "root": sudo(),
                  "python": platform.python_version(), "system": system.get("PRETTY_NAME", "").strip('"')}))
"""
_TIMEOUT = 30.0


async def check(target: ssh.Target, place: Path, agent: Agent) -> dict[str, Any]:
    """{"ok", "text", "checks": [{"name", "ok", "text"}]}: one check per account."""
    try:
        await agent.hold(seal.unseal(f"server:{target.name}:private_key", target.private_key))
    except (OSError, TimeoutError, seal.SecretContextError) as wrong:
        return _result(target, [_check("WebOps' key", False, f"It cannot be used: {wrong}")])
    checks = []
    for user, wants_root in ((ssh.DEPLOY, False), (ssh.ADMIN, True)):
        found = await _login(target, place, user)
        checks.append(_judge(user, wants_root, found, target))
        if isinstance(found, ssh.Reason) and found.code not in ("login", "python", "unknown"):
            break  # no second account will be let in where the first met no SSH server
    return _result(target, checks)


async def _login(target: ssh.Target, place: Path, user: str) -> dict[str, Any] | ssh.Reason:
    call = f"exec python3 -I -S -c {shlex.quote(_PROGRAM)}"
    try:
        code, output, errors = await children.run(*ssh.command(target, place, call, user), timeout=_TIMEOUT)
    except TimeoutError:
        return ssh.meaning("timed out", target, user)
    for line in output.splitlines():
        if line.startswith('{"webops": 1'):
            try:
                return dict(json.loads(line))
            except ValueError:
                continue
    return ssh.meaning(errors or f"ended with code {code}", target, user)


def _judge(user: str, wants_root: bool, found: dict[str, Any] | ssh.Reason, target: ssh.Target) -> dict[str, Any]:
    if isinstance(found, ssh.Reason):
        return _check(user, False, f"{found.cause[:1].upper()}{found.cause[1:]}. {found.advice}")
    about = f"{plain(found.get('system') or 'unknown system', 100)}, Python {plain(found.get('python'), 20)}"
    if bool(found.get("root")) is wants_root:
        right = "and may become root, as it should" if wants_root else "and is not root, as it should be"
        return _check(user, True, f"Logged in {right} ({about}).")
    wrong = "but may not become root with sudo" if wants_root else "but may become root, which it must not"
    return _check(user, False, f"Logged in, {wrong} ({about}). Make {target.name} ready again.")


def _check(name: str, ok: bool, text: str) -> dict[str, Any]:
    return {"name": name, "ok": ok, "text": plain(text, 1000)}


def _result(target: ssh.Target, checks: list[dict[str, Any]]) -> dict[str, Any]:
    bad = [one for one in checks if not one["ok"]]
    text = f"{target.name} can be used." if not bad else f"{bad[0]['name']}: {bad[0]['text']}"
    return {"ok": not bad, "text": text, "checks": checks}
