"""For action plugins: packages and modules of ours, which Ansible's own import paths do not reach, and plain values."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any


def load(name: str, home: Path) -> ModuleType:
    """The package of this folder, or the module of this file, under a name that is loaded once."""
    if name not in sys.modules:
        file, inside = (home / "__init__.py", [str(home)]) if home.is_dir() else (home, None)
        spec = importlib.util.spec_from_file_location(name, file, submodule_search_locations=inside)
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


def plain(value: Any) -> Any:
    """Ansible's own kinds of text and lists, as Python's."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, str) else value
