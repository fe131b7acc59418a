"""Fixtures that several unit tests ask for by name."""

from tests.panels import ada, app, filled, grace, redis
from tests.programs import api, plain

__all__ = ["ada", "api", "app", "filled", "grace", "plain", "redis"]
