"""Fixtures that several unit tests ask for by name."""

from tests.panels import ada, app, filled, grace, redis

__all__ = ["ada", "app", "filled", "grace", "redis"]
