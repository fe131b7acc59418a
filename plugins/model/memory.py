"""What an engine needs on each GPU (or of the machine's memory), and what would make it fit.

vLLM takes `gpu_memory` of a GPU's memory, subtracts what weights and a trial run took, and gives the rest to the KV
cache; it refuses to start where one request of the maximum length has no place in it (vllm/v1/worker/gpu_worker.py,
vllm/v1/core/kv_cache_utils.py: check_enough_kv_cache_memory). Weights and cache are exact; what the trial run takes is
an allowance, and named so.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from .cache import BYTES, cache_bytes, per_token
from .shape import Shape
from .weights import weights
from .words import GIB

#: Beside weights, cache and activations: the CUDA context, NCCL, the compiler's buffers, captured graphs. Allowances,
#: in keeping with what is seen on an L4 (0.25 context, 0.11 compiler, 0.25 graphs: pypi.org/project/kvplan).
_CONTEXT, _PER_PEER, _GRAPHS = int(0.4 * GIB), int(0.3 * GIB), int(0.4 * GIB)
#: Three processes of the engine on a CPU, measured: 1.4 to 1.5 GiB with next to no model.
_PROCESSES = int(1.5 * GIB)
#: What a trial run samples: logits in float32, sorted, and as probabilities.
_SAMPLER_COPIES = 3
_STEP = 1024


@dataclass(frozen=True)
class Wish:
    """How the model shall be served."""

    engine: str = "gpu"
    dtype: str = "auto"
    quantization: str = ""
    max_length: int = 0             # 0: the model's
    max_sequences: int = 0          # 0: vLLM's default
    batched: int = 0                # tokens computed at once; 0: vLLM's default
    kv_cache: int = 0               # bytes on each GPU; 0: the rest of the share
    kv_dtype: str = "auto"
    gpu_memory: float = 0.9
    tensor_parallel: int = 1
    eager: bool = False


@dataclass(frozen=True)
class Room:
    """Where it shall fit: one GPU (each of those that it is spread over), or the machine's memory."""

    total: int
    #: What nobody else has; what its own running engine holds counts as free.
    free: int
    capability: float = 0.0
    name: str = ""

    def usable(self, wish: Wish) -> int:
        """An engine takes its share of the whole; where the cache has a size, only what is free bounds it."""
        return self.free if wish.engine == "cpu" or wish.kv_cache else int(self.total * wish.gpu_memory)


@dataclass(frozen=True)
class Need:
    """Bytes on each GPU, or of the machine's memory."""

    weights: int
    loading: int
    cache: int                      # for one request of the maximum length, or the size that was given
    one_request: int
    per_token: int
    activations: int
    overhead: int
    max_length: int

    @property
    def total(self) -> int:
        return max(self.weights + self.cache + self.activations, self.loading) + self.overhead


def served_dtype(shape: Shape, wish: Wish, capability: float = 0.0) -> str:
    """What `auto` becomes: bfloat16 for what is stored in it, float16 on GPUs before Ampere (vllm/config/model.py)."""
    if wish.dtype != "auto":
        return wish.dtype
    if wish.engine == "gpu" and capability and capability < 8.0:
        return "float16"
    return "float16" if shape.dtype == "float16" else "bfloat16"


def at_once(wish: Wish, room: Room) -> tuple[int, int]:
    """Tokens and sequences that are computed together: as wished, or vLLM's defaults (vllm/engine/arg_utils.py)."""
    tokens, sequences = (2048, 128) if wish.engine == "cpu" else (2048, 256)
    if wish.engine == "gpu" and room.total >= 160 * GIB:
        tokens, sequences = 16384, 1024
    elif wish.engine == "gpu" and room.total >= 70 * GIB and not re.search("A100|GB10", room.name):
        tokens, sequences = 8192, 1024
    return wish.batched or tokens, wish.max_sequences or sequences


def need(shape: Shape, stored: int, wish: Wish, room: Room) -> Need:
    """What it takes on each of `wish.tensor_parallel` GPUs, or of memory on a CPU."""
    dtype = served_dtype(shape, wish, room.capability)
    batched, sequences = at_once(wish, room)
    peers, held = wish.tensor_parallel, weights(shape, stored, dtype, wish.quantization)
    kv_dtype = dtype if wish.kv_dtype == "auto" else "fp8" if wish.kv_dtype.startswith("fp8") else wish.kv_dtype
    length = wish.max_length or shape.max_length or 2048
    one = cache_bytes(shape, length, kv_dtype, engine=wish.engine, tensor_parallel=peers, batched=batched)
    forward = batched * (3 * shape.widest // peers + 4 * shape.hidden) * BYTES[dtype]
    sampled = sequences * shape.vocabulary * 4 * _SAMPLER_COPIES
    return Need(
        weights=held.held // peers, loading=held.loading // peers, cache=wish.kv_cache or one, one_request=one,
        per_token=per_token(shape, kv_dtype, peers), activations=max(forward, sampled), max_length=length,
        overhead=_PROCESSES if wish.engine == "cpu" else
        _CONTEXT + (_PER_PEER if peers > 1 else 0) + (0 if wish.eager else _GRAPHS))


def fits(found: Need, wish: Wish, room: Room) -> bool:
    return found.total <= room.usable(wish) and found.one_request <= found.cache


def longest(shape: Shape, stored: int, wish: Wish, room: Room) -> int:
    """The largest maximum length, in steps of 1,024, with which it fits; 0 where none does."""
    low, high = 0, (wish.max_length or shape.max_length or 2048) // _STEP
    while low < high:
        middle = (low + high + 1) // 2
        other = replace(wish, max_length=middle * _STEP)
        low, high = (middle, high) if fits(need(shape, stored, other, room), other, room) else (low, middle - 1)
    return low * _STEP


def fewer_sequences(shape: Shape, stored: int, wish: Wish, room: Room) -> int:
    """The most sequences at once, a power of two below what is wanted, with which it fits; 0 where none does."""
    most = at_once(wish, room)[1]
    for count in (512, 256, 128, 64, 32, 16, 8):
        other = replace(wish, max_sequences=count)
        if count < most and fits(need(shape, stored, other, room), other, room):
            return count
    return 0


def more_gpus(shape: Shape, stored: int, wish: Wish, rooms: list[Room]) -> int:
    """The fewest GPUs, a power of two that divides its heads, over which it fits; 0 where there are none."""
    count = wish.tensor_parallel * 2
    while wish.engine == "gpu" and count <= len(rooms):
        other = replace(wish, tensor_parallel=count)
        apt = [room for room in rooms if fits(need(shape, stored, other, room), other, room)]
        if shape.heads % count == 0 and len(apt) >= count:
            return count
        count *= 2
    return 0
