"""Fixtures that several unit tests ask for by name."""

from tests.panels import ada, app, filled, grace, redis
from tests.programs import api, plain
from tests.unit.plugins import module, program

__all__ = ["ada", "api", "app", "filled", "grace", "module", "plain", "program", "redis"]
