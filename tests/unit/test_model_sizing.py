"""How much memory a model needs: held to published models and to what vLLM itself said of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.sized import GIB, MODELS, model, shape

PUBLISHED = [name for name, one in MODELS.items() if one.get("bytes") and "quantization_config" not in one["config"]]


@pytest.mark.parametrize("name", PUBLISHED)
def test_weights_counted_from_the_config_are_the_published_bytes(name: str) -> None:
    one = MODELS[name]
    assert model().parameters(shape(name)) * 2 + one.get("beside", 0) == one["bytes"], one["source"]


def test_a_model_with_compressed_keys_has_its_published_number_of_weights() -> None:
    count = model().parameters(shape("deepseek-v2-lite")) / 1e9
    assert abs(count - MODELS["deepseek-v2-lite"]["billion"]) < 0.05


@pytest.mark.parametrize(("name", "quantization", "published"), [
    # huggingface.co/hugging-quants/Meta-Llama-3.1-8B-Instruct-AWQ-INT4/tree/main: 4.68 and 1.05 GB
    ("llama-3.1-8b", "awq", 5.73e9),
    # huggingface.co/graelo/Qwen2.5-7B-Instruct-1M-AWQ/tree/main: 4.48 and 1.09 GB
    ("qwen2.5-7b", "awq", 5.57e9),
    # 8.79 GiB of Qwen/Qwen3-8B-FP8
    ("qwen3-8b", "fp8", 8.79 * GIB)])
def test_a_quantized_model_is_as_large_as_published(name: str, quantization: str, published: float) -> None:
    found = model().quantized(shape(name), model().parameters(shape(name)), quantization)
    assert abs(found - published) / published < 0.002


@pytest.mark.parametrize(("name", "bytes_"), [
    ("llama-3.1-8b", 131_072),          # vLLM on an L4: "131,072 bytes per token" (pypi.org/project/kvplan)
    ("llama-2-7b", 524_288),            # every head has its own keys
    ("qwen2.5-7b", 57_344),
    ("qwen3-8b", 144 * 1024),           # "144 KiB/token in bf16"
    ("qwen3-30b-a3b", 98_304),          # experts have no part in it
    ("deepseek-v2-lite", 27 * 576 * 2)])    # one vector of 512 and 64 numbers per layer
def test_bytes_per_token_of_the_cache(name: str, bytes_: int) -> None:
    length = 4096
    assert model().cache_bytes(shape(name), length, "bfloat16") == length * bytes_
    assert model().cache_bytes(shape(name), length, "fp8") == length * bytes_ // 2


def test_a_sliding_window_stops_growing() -> None:
    """gpt-oss: every second layer looks at 128 tokens. In flight are 2,048 more, and one block for the edge."""
    one, per_layer = shape("gpt-oss-20b"), 2 * 8 * 64 * 2
    short, long = (model().cache_bytes(one, length, "bfloat16") for length in (65536, 131072))
    assert long - short == 12 * 65536 * per_layer
    window = (-(-(128 - 1 + 2048) // 16) + 1) * 16
    assert long == 12 * (131072 + window) * per_layer


@pytest.mark.parametrize(("config", "kinds"), [
    ({"model_type": "gemma2", "sliding_window": 4096}, "sfsf"),
    ({"model_type": "gemma3_text", "sliding_window": 512}, "sssssf"),
    ({"model_type": "mistral", "sliding_window": 4096}, "ssss"),
    ({"model_type": "qwen2", "sliding_window": 4096, "use_sliding_window": False}, "ffff"),
    ({"model_type": "qwen2", "sliding_window": 4096, "use_sliding_window": True, "max_window_layers": 2}, "ffss"),
    ({"layer_types": ["linear_attention", "full_attention"]}, "-f")])
def test_which_layers_look_at_everything(config: dict[str, object], kinds: str) -> None:
    whole = {"hidden_size": 64, "num_attention_heads": 2, "vocab_size": 100, "num_hidden_layers": len(kinds), **config}
    letters = {"sliding": "s", "full": "f", "state": "-"}
    assert "".join(letters[layer.kind] for layer in model().read(whole).layers) == kinds


def test_gpus_that_share_a_model_share_its_heads_but_not_a_compressed_vector() -> None:
    cache, length = model().cache_bytes, 4096
    llama, deepseek = shape("llama-3.1-8b"), shape("deepseek-v2-lite")
    assert cache(llama, length, "bfloat16", tensor_parallel=4) == cache(llama, length, "bfloat16") // 4
    assert cache(llama, length, "bfloat16", tensor_parallel=16) == cache(llama, length, "bfloat16") // 8
    assert cache(deepseek, length, "bfloat16", tensor_parallel=4) == cache(deepseek, length, "bfloat16")


def test_what_vllm_has_on_an_l4_is_never_promised_to_be_more() -> None:
    """Seen there, with 0.92 of 22.49 GiB: 14.96 GiB of weights, and 40,192 tokens at most (pypi.org/project/kvplan)."""
    one, room = shape("llama-3.1-8b"), model().Room(int(22.49 * GIB), int(22.3 * GIB), 8.9, "NVIDIA L4")
    wish = model().Wish(gpu_memory=0.92)
    need = model().need(one, MODELS["llama-3.1-8b"]["bytes"], wish, room)
    assert round(need.weights / GIB, 2) == 14.96
    longest = model().longest(one, MODELS["llama-3.1-8b"]["bytes"], wish, room)
    assert 40192 * 0.9 < longest <= 40192


def test_other_number_formats_weigh_more_or_less() -> None:
    one, stored = shape("qwen3-4b"), MODELS["qwen3-4b"]["bytes"]
    weigh = model().weights
    assert weigh(one, stored, "float32").held == 2 * stored
    assert weigh(one, stored, "bfloat16").held == stored
    fp8 = weigh(one, stored, "bfloat16", "fp8")
    assert fp8.held < 0.62 * stored and fp8.loading == stored, "it is loaded whole before it is made smaller"
    quantized = replace(one, quantization="awq")
    assert weigh(quantized, 2_600_000_000, "float16").held == 2_600_000_000


def test_a_weight_that_lies_there_twice_is_counted_and_fetched_once() -> None:
    files = [{"name": name, "size": size} for name, size in (
        ("model-00001-of-00002.safetensors", 10), ("model-00002-of-00002.safetensors", 5),
        ("consolidated.safetensors", 15), ("original/model.safetensors", 15), ("config.json", 1),
        ("tokenizer.model", 1), ("modeling_x.py", 1), ("x.bin", 15))]
    assert model().stored(files) == 15
    names = [one["name"] for one in model().loaded(files)]
    assert names == ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "config.json",
                     "tokenizer.model"]
    assert "modeling_x.py" in [one["name"] for one in model().loaded(files, code=True)]


def test_the_length_that_a_model_was_made_for() -> None:
    assert shape("llama-3.1-8b").max_length == 131072
    assert shape("gpt-oss-20b").max_length == 131072, "stretched already in what its config says"
    older = {**MODELS["llama-2-7b"]["config"], "rope_scaling": {"type": "linear", "factor": 4.0}}
    assert model().read(older).max_length == 16384


def test_a_config_without_measures_says_what_is_missing() -> None:
    with pytest.raises(model().UnknownShape, match="hidden_size"):
        model().read({"model_type": "bert"})
