"""Secrets at rest: encrypted, and bound to the place that they belong to."""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from panel.settings import settings


class SecretContextError(Exception):
    """A sealed secret was moved from another place, or sealed with a key that this installation does not have."""


def seal(context: str, value: str | dict[str, Any]) -> bytes:
    """`value`, encrypted for `context` ("server:web1:private_key"), the place where it will lie."""
    # Fernet has no associated data: without the context inside, a blob copied to another row would open there.
    return _fernet().encrypt(json.dumps({"context": context, "value": value}).encode())


def unseal(context: str, blob: bytes) -> Any:
    """What was sealed for `context`. SecretContextError: it was sealed for another place or with another key."""
    try:
        inside = json.loads(_fernet().decrypt(bytes(blob)))
    except InvalidToken as wrong:
        raise SecretContextError(
            f"The secret of {context} cannot be opened with this installation's key. Was the database restored "
            f"without its key? Put the old key into WEBOPS_FERNET_KEY (behind the new one, after a comma)."
        ) from wrong
    if inside["context"] != context:
        raise SecretContextError(f"The secret of {context} was sealed for {inside['context']}: somebody moved it.")
    return inside["value"]


def renew(blob: bytes) -> bytes:
    """The same secret under the newest key."""
    return _fernet().rotate(bytes(blob))


@cache
def _fernet() -> MultiFernet:
    keys = settings().fernet_key or key_file(settings().state / "fernet.key", Fernet.generate_key().decode())
    return MultiFernet([Fernet(key.strip()) for key in keys.split(",") if key.strip()])


def key_file(path: Path, fresh: str) -> str:
    """The text of a private file, made with `fresh` the first time; whoever comes second reads the first one's."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        draft = path.with_name(f"{path.name}.{os.getpid()}")
        draft.touch(mode=0o600)
        draft.write_text(fresh + "\n")
        try:
            os.link(draft, path)
        except FileExistsError:
            pass  # another process was faster: its key holds
        finally:
            draft.unlink()
    return path.read_text().strip()
