"""A language model of some hundred kilobytes with random weights, made by the standard library alone.

It is an ordinary directory of a model, which an engine loads like any other. What it says is nonsense, and always the
same nonsense for the same seed: so a test sees which of two models has answered.

    python -m tests.llm.tiny DIRECTORY [--seed 1] [--length 65536]
"""

from __future__ import annotations

import argparse
import array
import json
import random
import struct
from pathlib import Path
from typing import Any

HIDDEN, LAYERS, HEADS, KV_HEADS, WIDE = 64, 2, 2, 1, 128
SPECIAL = ["<pad>", "<s>", "</s>", "<turn>", "<end>"]
CHAT = ("{{ bos_token }}{% for message in messages %}<turn>{{ message.role }}\n{{ message.content }}<end>\n{% endfor %}"
        "{% if add_generation_prompt %}<turn>assistant\n{% endif %}")


def make(directory: Path, seed: int = 0, length: int = 65536) -> Path:
    """Write the model into `directory`, readable for all."""
    directory.mkdir(parents=True, exist_ok=True)
    written = {
        "config.json": json.dumps(config(length), indent=1).encode(),
        "generation_config.json": json.dumps({"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}).encode(),
        "tokenizer.json": json.dumps(tokenizer()).encode(),
        "tokenizer_config.json": json.dumps(tokenizer_config(length)).encode(),
        "model.safetensors": weights(seed),
    }
    for name, content in written.items():
        (directory / name).write_bytes(content)
        (directory / name).chmod(0o644)
    directory.chmod(0o755)
    return directory


def vocabulary() -> dict[str, int]:
    """The special tokens, then one token per byte under the sign that byte-level tokenizers write for it."""
    plain = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    signs = {byte: chr(byte) for byte in plain} | {byte: chr(256 + place) for place, byte in enumerate(others)}
    return {token: number for number, token in enumerate([*SPECIAL, *(signs[byte] for byte in range(256))])}


def tokenizer() -> dict[str, Any]:
    bytewise = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {
        "version": "1.0", "truncation": None, "padding": None, "normalizer": None,
        "added_tokens": [{"id": number, "content": token, **flags} for number, token in enumerate(SPECIAL)],
        "pre_tokenizer": bytewise, "post_processor": None, "decoder": bytewise,
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": vocabulary(), "merges": []},
    }


def tokenizer_config(length: int) -> dict[str, Any]:
    return {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>",
            "model_max_length": length, "clean_up_tokenization_spaces": False, "chat_template": CHAT}


def config(length: int) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "float32",
        "vocab_size": len(vocabulary()), "hidden_size": HIDDEN, "intermediate_size": WIDE, "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "head_dim": HIDDEN // HEADS,
        "max_position_embeddings": length, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu",
        "attention_bias": False, "mlp_bias": False, "tie_word_embeddings": False, "use_cache": True,
        "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "initializer_range": 0.02,
    }


def shapes() -> dict[str, tuple[int, ...]]:
    narrow = HIDDEN // HEADS * KV_HEADS
    found: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (len(vocabulary()), HIDDEN)}
    for layer in range(LAYERS):
        one = f"model.layers.{layer}"
        found |= {
            f"{one}.input_layernorm.weight": (HIDDEN,), f"{one}.post_attention_layernorm.weight": (HIDDEN,),
            f"{one}.self_attn.q_proj.weight": (HIDDEN, HIDDEN), f"{one}.self_attn.k_proj.weight": (narrow, HIDDEN),
            f"{one}.self_attn.v_proj.weight": (narrow, HIDDEN), f"{one}.self_attn.o_proj.weight": (HIDDEN, HIDDEN),
            f"{one}.mlp.gate_proj.weight": (WIDE, HIDDEN), f"{one}.mlp.up_proj.weight": (WIDE, HIDDEN),
            f"{one}.mlp.down_proj.weight": (HIDDEN, WIDE),
        }
    return {**found, "model.norm.weight": (HIDDEN,), "lm_head.weight": (len(vocabulary()), HIDDEN)}


def weights(seed: int) -> bytes:
    """A file of safetensors: the length of the header, the header as JSON, the numbers."""
    chance = random.Random(seed)
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    numbers = array.array("f")
    spoken = {number for token, number in vocabulary().items() if len(token) == 1 and "!" <= token <= "~"}
    for name, shape in shapes().items():
        begin = len(numbers) * 4
        count = shape[0] * (shape[1] if len(shape) > 1 else 1)
        # Norms are one; the rest is wide enough that two seeds say different things.
        made = [1.0 if len(shape) == 1 else chance.gauss(0, 0.25) for _ in range(count)]
        if name == "lm_head.weight":
            # What it says are plain letters and signs: each token is seen as soon as it is made.
            made = [one if place // HIDDEN in spoken else 0.0 for place, one in enumerate(made)]
        numbers.extend(made)
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [begin, len(numbers) * 4]}
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    return struct.pack("<Q", len(head)) + head + numbers.tobytes()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A tiny language model with random weights.")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--length", type=int, default=65536)
    given = parser.parse_args()
    print(make(given.directory, given.seed, given.length))
