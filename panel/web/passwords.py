"""Passwords: argon2id, never on gevent's own thread, never many at once, as slow for a stranger as for a user."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from functools import cache
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

Result = TypeVar("Result")

#: What a password must have at least; the words of the forms say it too.
SHORTEST = 10
LONGEST = 200
_AT_ONCE = 2

# 19 MiB and two passes: OWASP's floor for argon2id, about 40 ms, so that a handful of sign-ins cannot fill the memory.
_hasher = PasswordHasher(time_cost=2, memory_cost=19456, parallelism=1)
_turn = threading.BoundedSemaphore(_AT_ONCE)


def _aside(work: Callable[[], Result]) -> Result:
    """Do it in a real thread where gevent has replaced the threads, so that streams go on meanwhile."""
    with _turn:
        try:
            from gevent import get_hub, monkey
        except ImportError:
            return work()
        if not monkey.is_module_patched("threading"):
            return work()
        result: Result = get_hub().threadpool.apply(work)
        return result


def hashed(password: str) -> str:
    """What the users table keeps of a password."""
    return _aside(lambda: _hasher.hash(password))


@cache
def _nobody() -> str:
    return hashed(secrets.token_urlsafe(24))


def matches(password: str, stored: str | None) -> bool:
    """Whether it is the password. With None (no such user) it takes the same time and is False."""
    def check() -> bool:
        try:
            return _hasher.verify(stored or nobody, password[:LONGEST + 1])
        except (VerificationError, InvalidHashError):
            return False

    nobody = _nobody()
    return _aside(check) and stored is not None


def problem(password: str) -> str | None:
    """Why a new password is refused, in words, or None."""
    if len(password) < SHORTEST:
        return f"Use at least {SHORTEST} characters. A few words in a row are easy to remember."
    if len(password) > LONGEST:
        return f"Use at most {LONGEST} characters."
    if len(set(password)) < 5:
        return "Use more different characters; this one is guessed at once."
    return None


def random_password() -> str:
    """A password to hand over once: 120 bits, without signs that are easily confused."""
    alphabet = "abcdefghjkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"
    return "-".join("".join(secrets.choice(alphabet) for _ in range(5)) for _ in range(4))
