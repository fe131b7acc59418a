"""The formats of values, from the one file that Ansible loads too (plugins/test/formats.py)."""

from __future__ import annotations

import importlib.util
from types import ModuleType
from typing import Any, NamedTuple

from panel.settings import ROOT


class FormatProblem(NamedTuple):
    """Why one value is refused."""

    code: str
    message: str


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("webops_formats", ROOT / "plugins" / "test" / "formats.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_formats = _load()
NAMES: frozenset[str] = frozenset(_formats.FORMATS)


def problem(format_name: str, value: Any) -> FormatProblem | None:
    """Why `value` breaks the format, or None. KeyError: there is no such format."""
    found = _formats.problem(format_name, value)
    return FormatProblem(*found) if found else None


def public_half(private: str) -> str | None:
    """The public line of an OpenSSH private key; None where it is none."""
    line: str | None = _formats.public_half(private)
    return line


def git_host(address: str) -> str | None:
    """The host in a git address, None where there is none."""
    host: str | None = _formats.git_host(address)
    return host
