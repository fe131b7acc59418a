"""What a config.json says of a model that matters for its memory.

Field names are those of the Hugging Face configurations; which layers remember what follows vLLM
(vllm/v1/kv_cache_interface.py, vllm/config/model.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Config = Mapping[str, Any]


class UnknownShape(ValueError):
    """A config.json that does not say what has to be known; the message names what is missing."""


@dataclass(frozen=True)
class Layer:
    """What one layer remembers of each token: of all (`full`), of the last ones (`sliding`), a compressed vector of
    all (`latent`), or a state that does not grow (`state`)."""

    kind: str
    window: int = 0


@dataclass(frozen=True)
class Experts:
    """The mixture of a layer: how many there are, how wide one is, how many see a token, and those that see all."""

    count: int
    width: int
    chosen: int
    shared: int = 0
    #: Layers in the beginning that have none.
    dense_first: int = 0


@dataclass(frozen=True)
class Shape:
    """A model's measures."""

    architectures: tuple[str, ...]
    model_type: str
    hidden: int
    layers: tuple[Layer, ...]
    heads: int
    kv_heads: int
    head_size: int
    vocabulary: int
    width: int                      # of the feed-forward part
    tied: bool                      # whether input and output share their embedding
    dtype: str                      # of the stored weights: bfloat16, float16, float32
    max_length: int                 # tokens that it was made for; 0 where it does not say
    quantization: str = ""          # awq gptq fp8 mxfp4 compressed-tensors …; "" where it is not quantized
    bits: int = 0
    latent: int = 0                 # numbers per token of a latent layer
    experts: Experts | None = None
    remote_code: bool = False       # whether it brings Python of its own
    config: Config | None = None

    @property
    def widest(self) -> int:
        """The widest thing that a token goes through."""
        routed = self.experts.width * (self.experts.chosen + self.experts.shared) if self.experts else 0
        dense = self.width if not self.experts or self.experts.dense_first else 0
        return max(routed, dense, self.hidden)


_DTYPES = {"half": "float16", "float": "float32"}
_STATES = ("linear_attention", "mamba", "mamba2", "recurrent", "conv")
#: How often a layer of these sees everything where the config gives a window and no list of layers.
_PATTERNS = {"gemma2": 2, "gemma3_text": 6, "gemma3": 6, "cohere2": 4}
_LENGTHS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "model_max_length",
            "max_sequence_length", "max_target_positions")


def read(config: Config) -> Shape:
    """UnknownShape: it lacks what a language model's config has."""
    text = _text(config)
    hidden, count = _needed(text, "hidden_size", "n_embd", "d_model"), _needed(text, "num_hidden_layers", "n_layer",
                                                                             "num_layers")
    heads = _needed(text, "num_attention_heads", "n_head", "num_heads")
    latent = int(text.get("kv_lora_rank") or 0)
    quantized = config.get("quantization_config") or text.get("quantization_config") or {}
    return Shape(
        architectures=tuple(config.get("architectures") or text.get("architectures") or ()),
        model_type=str(text.get("model_type", config.get("model_type", ""))), hidden=hidden,
        layers=_layers(text, count, latent), heads=heads, kv_heads=_kv_heads(text, heads),
        head_size=int(text.get("head_dim") or hidden // heads), vocabulary=_needed(text, "vocab_size"),
        width=_first(text, "intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size") or 4 * hidden,
        tied=bool(text.get("tie_word_embeddings", config.get("tie_word_embeddings", False))),
        dtype=_dtype(config, text),
        max_length=_max_length(text), quantization=str(quantized.get("quant_method") or ""),
        bits=int(quantized.get("bits") or 0), latent=latent + int(text.get("qk_rope_head_dim") or 0) if latent else 0,
        experts=_experts(text), remote_code=bool(config.get("auto_map")), config=text)


def _text(config: Config) -> Config:
    """The language part of a model that also sees or hears."""
    inner = config.get("text_config") or config.get("llm_config") or config.get("language_config")
    return inner if isinstance(inner, Mapping) and inner else config


def _first(config: Config, *names: str) -> int:
    return next((int(config[name]) for name in names if isinstance(config.get(name), int) and config[name]), 0)


def _needed(config: Config, *names: str) -> int:
    found = _first(config, *names)
    if not found:
        raise UnknownShape(f"its config.json has no {names[0]}")
    return found


def _kv_heads(text: Config, heads: int) -> int:
    if text.get("multi_query"):
        return 1
    return _first(text, "num_key_value_heads", "n_head_kv", "num_kv_heads", "multi_query_group_num") or heads


def _dtype(config: Config, text: Config) -> str:
    """Where nothing is said, it is float32, as PyTorch has it."""
    said = text.get("dtype") or text.get("torch_dtype") or config.get("dtype") or config.get("torch_dtype") or "float32"
    return _DTYPES.get(str(said), str(said).removeprefix("torch."))


def _layers(text: Config, count: int, latent: int) -> tuple[Layer, ...]:
    if latent:
        return (Layer("latent"),) * count
    window = int(text.get("sliding_window") or 0) if text.get("use_sliding_window", True) else 0
    named = text.get("layer_types") or text.get("layers_block_type")
    if isinstance(named, list) and len(named) == count:
        return tuple(_layer(str(one), window, text) for one in named)
    return tuple(_by_pattern(text, number, window) for number in range(count))


def _layer(name: str, window: int, text: Config) -> Layer:
    if name in _STATES:
        return Layer("state")
    if "sliding" in name and window:
        return Layer("sliding", window)
    if "chunked" in name and text.get("attention_chunk_size"):
        return Layer("sliding", int(text["attention_chunk_size"]))
    return Layer("full")


def _by_pattern(text: Config, number: int, window: int) -> Layer:
    if not window:
        return Layer("full")
    if text.get("use_sliding_window") and number < int(text.get("max_window_layers") or 0):
        return Layer("full")
    every = int(text.get("sliding_window_pattern") or _PATTERNS.get(str(text.get("model_type")), 0))
    return Layer("full") if every and number % every == every - 1 else Layer("sliding", window)


def _max_length(text: Config) -> int:
    """As vLLM derives it (_get_and_verify_max_len): what the config says; older ways of stretching are not in it."""
    lengths = [int(text[name]) for name in _LENGTHS if isinstance(text.get(name), int) and text[name]]
    derived = min(lengths, default=0)
    scaling = text.get("rope_scaling") or text.get("rope_parameters") or {}
    kind = str(scaling.get("rope_type") or scaling.get("type") or "default")
    if kind == "longrope":
        return int(text.get("original_max_position_embeddings") or derived)
    stretched = kind in ("linear", "dynamic") and not str(text.get("model_type")).startswith("gemma3")
    return int(derived * float(scaling.get("factor") or 1)) if stretched else derived


def _experts(text: Config) -> Experts | None:
    count = _first(text, "n_routed_experts", "num_local_experts", "num_experts", "moe_num_experts")
    if not count:
        return None
    width = _first(text, "moe_intermediate_size", "intermediate_size", "ffn_hidden_size")
    shared = _first(text, "n_shared_experts", "num_shared_experts")
    if not shared and (one := _first(text, "shared_expert_intermediate_size")):
        shared = one // width
    return Experts(count, width, _first(text, "num_experts_per_tok", "experts_per_token", "moe_topk") or 1, shared,
                   int(text.get("first_k_dense_replace") or 0))
