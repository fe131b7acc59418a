"""plugins/model as Ansible loads it, and published models to try it on."""

from __future__ import annotations

import importlib.util
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
MODELS: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "models.yml").read_text())
GIB = 1 << 30


@cache
def model() -> ModuleType:
    home = ROOT / "plugins" / "model"
    spec = importlib.util.spec_from_file_location("webops_model_package", home / "__init__.py",
                                                  submodule_search_locations=[str(home)])
    assert spec and spec.loader
    sys.modules["webops_model_package"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["webops_model_package"])
    return sys.modules["webops_model_package"]


def shape(name: str) -> Any:
    return model().read(MODELS[name]["config"])
