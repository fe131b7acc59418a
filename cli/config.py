"""Where this person is signed in: one small file, readable by its owner alone."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

import click

from cli.exits import Exit, Stop


@dataclass(frozen=True)
class Login:
    """A panel and the token that opens it. `ca`: a file with certificates to trust besides the system's."""

    url: str
    name: str
    token: str = field(repr=False)
    ca: str = ""


def path() -> Path:
    """~/.config/webops/config.json, or what WEBOPS_CONFIG names."""
    named = os.environ.get("WEBOPS_CONFIG")
    return Path(named) if named else Path(click.get_app_dir("webops")) / "config.json"


def save(login: Login) -> Path:
    """Write the login so that nobody else could ever read it, not even for a moment."""
    target = path()
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    half = target.with_name(f".{target.name}.{os.getpid()}")
    with os.fdopen(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        json.dump(asdict(login), out, indent=2)
        out.write("\n")
    half.replace(target)
    return target


def load() -> Login:
    """The saved login. Stop: nobody is signed in, or the file is not ours."""
    try:
        return Login(**json.loads(path().read_text()))
    except FileNotFoundError:
        raise Stop("You are not signed in to a panel.", Exit.SIGNED_OUT,
                   next_step="webops login http://127.0.0.1:8009 (or --local to work without a panel)") from None
    except (ValueError, TypeError, OSError) as wrong:
        raise Stop(f"{path()} cannot be used: {wrong}.", Exit.SIGNED_OUT,
                   next_step="webops login URL writes it anew") from None


def forget() -> None:
    path().unlink(missing_ok=True)
