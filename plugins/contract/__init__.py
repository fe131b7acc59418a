"""The app's own contract: what a repository says of itself, checked, and settled with what a person said.

Control side only; pure: texts and names of files go in, settings and sentences come out. Ansible (plugins/action) and
the panel load this package by its path, as they load plugins/test/formats.py. Nothing of a repository is ever
executed, constructed or used as a template.
"""

from __future__ import annotations

from .check import Problem
from .example import make
from .reading import Contract, read
from .repository import NAMED, READ, SKIPPED
from .schema import SCHEMA
from .settle import Refused, gone, needs_apply, offered, plan, settle
from .table import table

__all__ = [
    "NAMED",
    "READ",
    "SCHEMA",
    "SKIPPED",
    "Contract",
    "Problem",
    "Refused",
    "gone",
    "make",
    "needs_apply",
    "offered",
    "plan",
    "read",
    "settle",
    "table",
]
