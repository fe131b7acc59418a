"""All settings, read once, from WEBOPS_* (or WEBOPS_*_FILE for what is secret); refused at start when unusable.

Nothing else in WebOps reads the environment.
"""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


class SettingsError(ValueError):
    """A setting that cannot be used; the message names it and says what is allowed."""


@dataclass(frozen=True)
class Settings:
    """What an installation can decide. Each field is the variable WEBOPS_<FIELD>."""

    #: Where everything that WebOps writes lives: database, keys, sockets, logs of its own processes.
    state: Path = ROOT / "var" / "webops"
    #: SQLAlchemy address; empty: SQLite in `state`.
    database_url: str = ""
    #: Redis address; empty: an embedded server on a private socket in `state`.
    redis_url: str = ""
    #: Fernet key (several, newest first, separated by commas, to rotate); empty: `state`/fernet.key, made once.
    fernet_key: str = field(default="", repr=False)
    #: Signs session cookies; empty: `state`/secret.key, made once.
    secret_key: str = field(default="", repr=False)
    #: Where the panel listens.
    bind: str = "127.0.0.1:8009"
    #: The address that people type; decides secure cookies and the origin that forms may come from.
    base_url: str = "http://127.0.0.1:8009"
    #: How many proxies in front add X-Forwarded-* headers.
    proxies: int = 0
    #: Runs at the same time per worker machine.
    workers: int = 1
    #: Private networks where git repositories may live (comma-separated); by default none.
    git_networks: str = ""
    #: A run that is not done after this many seconds is stopped; shown on the run, changeable per run.
    run_timeout: int = 3600
    #: A worker that has not renewed its lease for this many seconds is taken for dead.
    lease: int = 15
    #: Days that runs and their events are kept; 0: for ever.
    keep_runs_days: int = 90
    #: Hours after which a plan is too old to be applied: what it saw on the server may be otherwise by then.
    plan_hours: int = 72
    #: Folder with add-ons.
    addons: Path = ROOT / "addons"
    #: Private directories of runs; a tmpfs, so that nothing of a run reaches a disk.
    scratch: Path = Path("/dev/shm")  # noqa: S108  the directories below it are made 0700, one per run

    def __post_init__(self) -> None:
        for name, low in (("proxies", 0), ("workers", 1), ("run_timeout", 10), ("lease", 5), ("keep_runs_days", 0),
                          ("plan_hours", 1)):
            if getattr(self, name) < low:
                raise SettingsError(f"WEBOPS_{name.upper()} must be a whole number, {low} or more.")
        if not self.base_url.startswith(("http://", "https://")):
            raise SettingsError("WEBOPS_BASE_URL must begin with http:// or https://.")
        for network in self.allowed_networks:
            assert network

    @property
    def database(self) -> str:
        return self.database_url or f"sqlite:///{self.state / 'webops.db'}"

    @property
    def redis(self) -> str:
        return self.redis_url or f"unix://{self.redis_socket}"

    @property
    def redis_socket(self) -> Path:
        return self.state / "redis.sock"

    @property
    def allowed_networks(self) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
        try:
            return [ipaddress.ip_network(part.strip()) for part in self.git_networks.split(",") if part.strip()]
        except ValueError as wrong:
            raise SettingsError(f"WEBOPS_GIT_NETWORKS: {wrong}. Write networks such as 10.77.0.0/24.") from wrong


def _read(name: str) -> str | None:
    """The variable, or the text of the file that <variable>_FILE names."""
    path = os.environ.get(f"{name}_FILE")
    if path:
        try:
            return Path(path).read_text().strip()
        except OSError as wrong:
            raise SettingsError(f"{name}_FILE={path} cannot be read: {wrong.strerror}.") from wrong
    return os.environ.get(name)


def load() -> Settings:
    """Settings from the environment. SettingsError: a value that cannot be used."""
    values: dict[str, object] = {}
    for one in fields(Settings):
        name = f"WEBOPS_{one.name.upper()}"
        text = _read(name)
        if text is None:
            continue
        if one.type == "int":
            if not text.isdecimal():
                raise SettingsError(f"{name} must be a whole number, not '{text}'.")
            values[one.name] = int(text)
        else:
            values[one.name] = Path(text).resolve() if one.type == "Path" else text
    return Settings(**values)  # type: ignore[arg-type]  # each value was made for its field above


@cache
def settings() -> Settings:
    """The settings of this process."""
    return load()
