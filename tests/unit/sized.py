"""plugins/model as Ansible loads it, and published models to try it on."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
MODELS: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "models.yml").read_text())
GIB = 1 << 30


@cache
def action() -> ModuleType:
    """The action plugin of the preflight."""
    spec = importlib.util.spec_from_file_location("webops_model_preflight_action",
                                                  ROOT / "plugins" / "action" / "webops_model_preflight.py")
    assert spec and spec.loader
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def model() -> ModuleType:
    found: ModuleType = action().load("webops_model_package", ROOT / "plugins" / "model")
    return found


def shape(name: str) -> Any:
    return model().read(MODELS[name]["config"])
