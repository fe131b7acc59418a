"""How large a model's weights are: as they are stored, and as the engine holds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .cache import BYTES
from .shape import Shape

#: What is read beside the weights: configuration, tokenizer, chat template.
_BESIDE = (".json", ".txt", ".model", ".jinja", ".tiktoken")
#: Bytes per weight where the engine quantizes while it loads; embeddings stay as they are.
_WHILE_LOADING = {"fp8": 1.0, "bitsandbytes": 0.5}
#: Four bits, and per group of 128 a scale of two bytes and a zero point of half a byte.
_FOUR_BITS = 0.5 + 2.5 / 128


@dataclass(frozen=True)
class Weights:
    """Bytes: in the files, held by the engine while it serves, and at most while it loads."""

    stored: int
    held: int
    loading: int


def stored(files: Sequence[Mapping[str, Any]]) -> int:
    """Bytes of the safetensors files that the engine loads."""
    return sum(int(one["size"]) for one in loaded(files) if str(one["name"]).endswith(".safetensors"))


def loaded(files: Sequence[Mapping[str, Any]], code: bool = False) -> list[Mapping[str, Any]]:
    """Files of a repository that the engine reads: at its top, each weight once, Python only where it is trusted."""
    top = [one for one in files if "/" not in str(one["name"])]
    named = any(str(one["name"]).startswith("model") and _is_weights(one) for one in top)
    return [one for one in top
            if (_is_weights(one) and not (named and str(one["name"]).startswith(("consolidated", "adapter_"))))
            or str(one["name"]).endswith(_BESIDE) or (code and str(one["name"]).endswith(".py"))]


def _is_weights(one: Mapping[str, Any]) -> bool:
    return str(one["name"]).endswith(".safetensors")


def weights(shape: Shape, stored_bytes: int, dtype: str, quantization: str = "") -> Weights:
    """What the engine makes of `stored_bytes` when it serves them in `dtype`."""
    if shape.quantization:
        # What is quantized stays as it is; only what is not (embeddings, norms) would change with the type.
        return Weights(stored_bytes, stored_bytes, stored_bytes)
    plain = stored_bytes * BYTES[dtype] // BYTES[shape.dtype]
    if quantization not in _WHILE_LOADING:
        return Weights(stored_bytes, plain, plain)
    outside = embeddings(shape) * BYTES[dtype]
    held = outside + int(max(0, plain - outside) / BYTES[dtype] * _WHILE_LOADING[quantization])
    # vLLM loads in full precision before it makes fp8 of it (docs/features/quantization/fp8); bitsandbytes by layers.
    return Weights(stored_bytes, held, plain if quantization == "fp8" else held)


def embeddings(shape: Shape) -> int:
    """Weights of the vocabulary, which no quantization here touches."""
    return shape.vocabulary * shape.hidden * (1 if shape.tied else 2)


def quantized(shape: Shape, count: int, quantization: str) -> int:
    """Bytes of a model of `count` weights whose layers are quantized (awq, gptq: 4 bits in groups of 128; fp8)."""
    each = 1.0 if quantization == "fp8" else _FOUR_BITS
    return int(embeddings(shape) * 2 + (count - embeddings(shape)) * each)


def parameters(shape: Shape) -> int:
    """How many weights a Llama-like model has (Llama, Mistral, Mixtral, Qwen2, Qwen3, Phi-3, DeepSeek-V2)."""
    config = shape.config or {}
    total = embeddings(shape) + shape.hidden
    for number in range(len(shape.layers)):
        total += _attention(shape, config) + 2 * shape.hidden + _feed_forward(shape, config, number)
    return total


def _attention(shape: Shape, config: Mapping[str, Any]) -> int:
    if shape.latent:
        return _latent_attention(shape, config)
    queries, keys = shape.heads * shape.head_size, shape.kv_heads * shape.head_size
    total = shape.hidden * (queries + 2 * keys) + queries * shape.hidden
    if shape.model_type.startswith("qwen2"):
        total += queries + 2 * keys
    if shape.model_type.startswith("qwen3"):
        total += 2 * shape.head_size
    return total


def _latent_attention(shape: Shape, config: Mapping[str, Any]) -> int:
    """DeepSeek-V2, section 2.1: keys and values come from one compressed vector per token."""
    rank, rope = int(config["kv_lora_rank"]), int(config["qk_rope_head_dim"])
    inner, values = int(config["qk_nope_head_dim"]), int(config["v_head_dim"])
    queries, query_rank = shape.heads * (inner + rope), int(config.get("q_lora_rank") or 0)
    ask = (shape.hidden * query_rank + query_rank + query_rank * queries) if query_rank else shape.hidden * queries
    return (ask + shape.hidden * (rank + rope) + rank + rank * shape.heads * (inner + values)
            + shape.heads * values * shape.hidden)


def _feed_forward(shape: Shape, config: Mapping[str, Any], number: int) -> int:
    experts = shape.experts
    if experts is None or number < experts.dense_first:
        return 3 * shape.hidden * shape.width
    return 3 * shape.hidden * experts.width * (experts.count + experts.shared) + shape.hidden * experts.count
