"""Why a model cannot be served as wished."""

from __future__ import annotations

from typing import NamedTuple


class Problem(NamedTuple):
    """A stable `code` for programs, what is wrong, and what to do next."""

    code: str
    message: str
    next: str
