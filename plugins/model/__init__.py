"""How much a language model needs, and whether a server has it: arithmetic on config.json and sizes of files.

Control side only, and pure: what a server and a hub said goes in, figures and sentences come out. Ansible
(plugins/action) and the panel load this package by its path, as they load plugins/contract.
"""

from __future__ import annotations

from .cache import cache_bytes
from .known import ARCHITECTURES, Sibling, siblings
from .memory import Need, Room, Wish, longest, need
from .shape import Shape, UnknownShape, read
from .verdict import Problem, Verdict, judge
from .weights import Weights, loaded, parameters, quantized, stored, weights
from .words import size, tokens

__all__ = [
    "ARCHITECTURES",
    "Need",
    "Problem",
    "Room",
    "Shape",
    "Sibling",
    "UnknownShape",
    "Verdict",
    "Weights",
    "Wish",
    "cache_bytes",
    "judge",
    "loaded",
    "longest",
    "need",
    "parameters",
    "quantized",
    "read",
    "siblings",
    "size",
    "stored",
    "tokens",
    "weights",
]
