"""What the engine remembers of requests: the KV cache.

The formulas are those by which vLLM refuses to start (vllm/v1/kv_cache_interface.py: page_size_bytes and
max_memory_usage_bytes of FullAttentionSpec, SlidingWindowSpec, MLAAttentionSpec): blocks of tokens, per layer.
"""

from __future__ import annotations

from .shape import Layer, Shape

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "fp8": 1}
#: Tokens in a block: vLLM's default on a GPU and on a CPU.
BLOCKS = {"gpu": 16, "cpu": 128}


def layer_bytes(shape: Shape, layer: Layer, tensor_parallel: int, number_bytes: int) -> int:
    """Bytes per token in one layer, on each GPU."""
    if layer.kind == "state":
        return 0
    if layer.kind == "latent":
        # One compressed vector for all heads, so each GPU keeps all of it.
        return shape.latent * number_bytes
    heads = max(1, shape.kv_heads // tensor_parallel)
    return 2 * heads * shape.head_size * number_bytes


def per_token(shape: Shape, dtype: str, tensor_parallel: int = 1) -> int:
    """Bytes per token over all layers, on each GPU, before any window is full."""
    return sum(layer_bytes(shape, layer, tensor_parallel, BYTES[dtype]) for layer in shape.layers)


def cache_bytes(shape: Shape, length: int, dtype: str, *, engine: str = "gpu", tensor_parallel: int = 1,
                batched: int = 2048) -> int:
    """What one request of `length` tokens needs at most, on each GPU. `batched`: tokens that are computed at once."""
    block, total = BLOCKS[engine], 0
    for layer in shape.layers:
        blocks = -(-length // block)
        if layer.kind == "sliding":
            # A window need not begin where a block does, hence one more.
            blocks = -(-min(layer.window - 1 + batched, length) // block) + 1
        total += blocks * block * layer_bytes(shape, layer, tensor_parallel, BYTES[dtype])
    return total
