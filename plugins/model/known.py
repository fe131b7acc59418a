"""What is known beforehand: architectures of the engine, and models of the catalogue."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


def _listed() -> frozenset[str]:
    lines = (Path(__file__).parent / "architectures.txt").read_text(encoding="utf-8").splitlines()
    return frozenset(line for line in lines if line and not line.startswith("#"))


#: What the versions of vLLM that the role installs can serve; another version is asked itself.
ARCHITECTURES = _listed()


@dataclass(frozen=True)
class Sibling:
    """A repository with the weights of the same model, stored smaller."""

    repository: str
    quantization: str
    stored: int


def siblings(model: str, presets: Iterable[Mapping[str, Any]]) -> list[Sibling]:
    """Quantized repositories of the catalogue that hold the same model as `model` does, the largest first."""
    listed = [(str(one["values"]["model"]), one["repository"]) for one in presets if one.get("repository")]
    family = next((said["family"] for name, said in listed if name == model), None)
    found = [Sibling(name, str(said["quantization"]), int(said["bytes"])) for name, said in listed
             if said["family"] == family and said["quantization"] and name != model]
    return sorted(found, key=lambda one: -one.stored)
