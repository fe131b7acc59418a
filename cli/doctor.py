"""`webops doctor`: looks for what is wrong with this installation, and says what to do about each thing."""

from __future__ import annotations

import importlib.util
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from cli.exits import Exit
from cli.processes import configured, health
from panel.settings import ROOT, Settings

#: Less free space than this makes runs fail half way.
_ROOM = 1 << 30


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; `wrong` says what to do where it is not right."""

    what: str
    said: str
    wrong: str = ""


@click.command()
def doctor() -> None:
    """Look for what is wrong here. The exit code is 0 when nothing is."""
    found = configured()
    findings = [one for check in _CHECKS for one in check(found)]
    for one in findings:
        shape, colour = ("▲", "red") if one.wrong else ("●", "green")
        click.echo(f"{click.style(shape, fg=colour)} {one.what}: {one.said}")
        if one.wrong:
            click.echo(f"  Next: {one.wrong}")
    if any(one.wrong for one in findings):
        raise SystemExit(int(Exit.FAILED))


def _python(_found: Settings) -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    yield Finding("Python", version)
    missing = [name for name in ("ansible", "ansible_runner", "flask", "rq", "gunicorn", "gevent")
               if importlib.util.find_spec(name) is None]
    if missing:
        yield Finding("Requirements", f"{', '.join(missing)} missing", "make setup")
    if importlib.util.find_spec("ansible_mitogen") is None:
        yield Finding("Mitogen", "not installed: runs work, three times slower", "make setup")
    if not shutil.which("ssh"):
        yield Finding("SSH", "no ssh program", "apt-get install openssh-client")


def _catalog(_found: Settings) -> Iterator[Finding]:
    from panel.catalog import catalog

    kinds = catalog()
    yield Finding("Kinds", ", ".join(sorted(kinds.kinds)) or "none",
                  "" if kinds.kinds else f"look into {ROOT / 'roles'}")
    for name, why in kinds.broken.items():
        yield Finding(f"Role {name}", why, "mend or remove it; everything else works without it")


def _state(found: Settings) -> Iterator[Finding]:
    if not found.state.exists():
        yield Finding("State", f"{found.state} does not exist yet", "webops up makes it")
        return
    free = shutil.disk_usage(found.state).free
    yield Finding("Room", f"{free >> 20} MiB free at {found.state}",
                  "" if free > _ROOM else "make room: runs fail when the disk is full")
    for name in ("fernet.key", "secret.key"):
        yield from _private(found.state / name)


def _private(path: Path) -> Iterator[Finding]:
    """A key must be its owner's alone."""
    if not path.exists():
        return
    mode = stat.S_IMODE(path.stat().st_mode)
    yield Finding(path.name, f"{path}, mode {mode:04o}", "" if mode & 0o077 == 0 else f"chmod 600 {path}")


def _database(found: Settings) -> Iterator[Finding]:
    from sqlalchemy.exc import SQLAlchemyError

    from panel.store import db
    from panel.store.models import User

    try:
        with db.session() as session:
            people = session.query(User).count()
    except SQLAlchemyError as wrong:
        yield Finding("Database", str(wrong).splitlines()[0],
                      "webops db upgrade; see whether WEBOPS_DATABASE_URL is right")
        return
    yield Finding("Database", f"{people} people may sign in", "" if people else "webops user add NAME --admin")


def _redis(found: Settings) -> Iterator[Finding]:
    import redis

    try:
        info = redis.Redis.from_url(found.redis, socket_timeout=3).info()
    except redis.RedisError as wrong:
        yield Finding("Redis", f"does not answer: {wrong}", "webops up (or start your own and set WEBOPS_REDIS_URL)")
        return
    assert isinstance(info, dict)
    eviction = info.get("maxmemory_policy", "noeviction")
    yield Finding("Redis", f"answers, {info.get('used_memory_human')} used",
                  "" if eviction == "noeviction" else "set maxmemory-policy noeviction: queued runs could vanish")


def _panel(found: Settings) -> Iterator[Finding]:
    why = health(found)
    yield Finding("Panel", f"answers at {found.base_url}" if why is None else why, "" if why is None else "webops up")


def _link(found: Settings) -> Iterator[Finding]:
    import redis

    from panel.link import wire

    try:
        there = bool(redis.Redis.from_url(found.redis, socket_timeout=3).exists(wire.ALIVE))
    except redis.RedisError:
        return
    yield Finding("Link", "runs" if there else "does not run: states and logs are not read",
                  "" if there else "webops up (or webops link)")


_CHECKS: tuple[Callable[[Settings], Iterator[Finding]], ...] = (
    _python, _catalog, _state, _database, _redis, _panel, _link)
