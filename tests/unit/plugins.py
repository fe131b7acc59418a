"""What runs on servers, imported here as it is found there: programs beside each other, modules as Ansible does."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import ansible.module_utils as home
import pytest

PLUGINS = Path(__file__).parents[2] / "plugins"


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    """A program by its name."""
    programs = PLUGINS / "programs"
    monkeypatch.syspath_prepend(str(programs))
    yield importlib.import_module
    for path in programs.glob("*.py"):
        sys.modules.pop(path.stem, None)


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    """A module or module_util by its name."""
    monkeypatch.setattr(home, "__path__", [*home.__path__, str(PLUGINS / "module_utils")])
    monkeypatch.syspath_prepend(str(PLUGINS / "modules"))
    yield lambda name: importlib.import_module(
        name if (PLUGINS / "modules" / f"{name}.py").exists() else f"ansible.module_utils.{name}")
    for name in [name for name in sys.modules if name.rpartition(".")[2].startswith("webops_")]:
        del sys.modules[name]
