"""How often a password may be tried: per account from one address, per address, per account. Counted in Redis."""

from __future__ import annotations

from time import time

from flask import Flask
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address
from limits import RateLimitItem, parse
from redis.exceptions import RedisError

from panel.settings import Settings

limiter = Limiter(key_func=get_remote_address)

# From one address on one account it soon ends; an account as a whole gives way much later, so that nobody can lock
# its owner out with a few wrong tries.
_PAIR = (parse("5/minute"), parse("20/hour"))
_ADDRESS = (parse("20/minute"), parse("100/hour"))
_ACCOUNT = (parse("100/hour"),)


class TooManyTries(Exception):
    """A password was tried too often; `message` says how long to wait."""

    def __init__(self, wait: int) -> None:
        self.wait = wait
        many = f"{wait // 60} minutes" if wait >= 120 else f"{wait} seconds"
        self.message = f"Too many tries. Wait {many} and try again."
        super().__init__(self.message)


class CannotCount(Exception):
    """Redis does not answer, so tries cannot be counted and signing in stays closed."""

    message = ("Signing in is closed for the moment: the queue (Redis) does not answer, so tries cannot be counted. "
               "Start it again with `webops up`, then retry.")


def _counters(account: str) -> list[tuple[RateLimitItem, tuple[str, ...]]]:
    address, name = get_remote_address(), account.casefold()[:64]
    return [*((limit, ("pair", address, name)) for limit in _PAIR),
            *((limit, ("address", address)) for limit in _ADDRESS),
            *((limit, ("account", name)) for limit in _ACCOUNT)]


def take_a_try(account: str) -> None:
    """Count a try before it is made, so that many at once are no way around. TooManyTries, CannotCount."""
    try:
        for limit, ids in _counters(account):
            if not limiter.limiter.hit(limit, *ids):
                raise TooManyTries(_wait(limit, ids))
    except RedisError as wrong:
        raise CannotCount(CannotCount.message) from wrong


def _wait(limit: RateLimitItem, ids: tuple[str, ...]) -> int:
    reset, _ = limiter.limiter.get_window_stats(limit, *ids)
    return max(1, round(float(reset) - time()))


def forget_tries(account: str) -> None:
    """After the right password: its earlier slips from this address no longer count."""
    try:
        for limit, ids in _counters(account):
            if ids[0] == "pair":
                limiter.limiter.clear(limit, *ids)
    except RedisError:
        return  # they run out by themselves


def init(app: Flask, settings: Settings) -> None:
    address = settings.redis
    app.config["RATELIMIT_STORAGE_URI"] = f"redis+{address}" if address.startswith("unix://") else address
    app.config["RATELIMIT_STORAGE_OPTIONS"] = {"socket_connect_timeout": 2, "socket_timeout": 2}
    app.config["RATELIMIT_STRATEGY"] = "sliding-window-counter"
    app.config["RATELIMIT_KEY_PREFIX"] = "webops:tries"
    limiter.init_app(app)
