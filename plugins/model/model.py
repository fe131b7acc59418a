"""Problems of the model itself: it cannot be had, is not one, or the engine cannot serve it so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .known import ARCHITECTURES
from .problem import Problem
from .shape import Shape, UnknownShape, read
from .weights import stored
from .words import tokens

#: vLLM's own words for these (vllm/config/model.py, _FLOAT16_NOT_SUPPORTED_MODELS): numerically unstable.
_NOT_FLOAT16 = ("gemma2", "gemma3", "gemma3_text", "glm4")
#: Ways of quantization that an x86 CPU serves (docs/features/quantization/supported_hardware.md).
_ON_CPU = ("awq", "gptq", "compressed-tensors", "int8")
#: From which compute capability on (get_min_capability of vllm/model_executor/layers/quantization).
_CAPABILITY = {"awq": 7.5, "gptq": 7.0, "bitsandbytes": 7.0, "fp8": 7.5, "mxfp4": 8.0, "compressed-tensors": 7.5}
#: Names under which one and the same is asked for.
_SAME = {"awq_marlin": "awq", "gptq_marlin": "gptq"}


#: What the hardened unit of the engine does not see.
_HIDDEN = ("/home/", "/root/", "/tmp/", "/var/tmp/", "/run/user/", "/etc/webops/", "/var/lib/webops/")  # noqa: S108


def understood(wanted: Mapping[str, Any], facts: Mapping[str, Any], engine: str,
               ) -> tuple[Shape | None, int, list[Problem]]:
    """The model's shape, bytes of its weights, and what is wrong with it."""
    seen = facts.get("model") or {}
    if str(wanted["model"]).startswith(_HIDDEN):
        return None, 0, [Problem(
            "hidden_place",
            f"{wanted['model']} cannot be seen by the engine, which has no access to "
            "/home, /root and /tmp.", "Move the model below /srv, such as /srv/models.")]
    if wrong := seen.get("problem"):
        return None, 0, [_absent(wanted, wrong)]
    files = seen.get("files") or []
    try:
        shape = read(seen.get("config") or {})
    except UnknownShape as unknown:
        return None, 0, [Problem("unknown_shape", f"{wanted['model']} cannot be sized: {unknown}.",
                                 "Serve a text model in the form of Hugging Face's transformers.")]
    if not (size := stored(files)):
        return None, 0, [_no_weights(wanted, files)]
    return shape, size, [*_served(wanted, shape, facts), *_quantized(wanted, shape, engine, facts),
                         *_typed(wanted, shape, engine, facts), *_measured(wanted, shape)]


def _absent(wanted: Mapping[str, Any], wrong: Mapping[str, Any]) -> Problem:
    model, revision, hub = wanted["model"], wanted.get("revision") or "main", wanted.get("hub", "")
    code, said = str(wrong.get("code")), str(wrong.get("detail", ""))
    sentences = {
        "gated": (f"{model} is gated: {hub} gives it only to those whom its owner let in, and no token was given.",
                  f"Accept its terms at {hub}/{model}, make a token there that may read it, and give it as hub token."),
        "not_let_in": (f"{model} is gated, and the hub token belongs to somebody whom its owner has not let in.",
                       f"Ask for access at {hub}/{model} with the account of that token, then run this again."),
        "token_refused": (f"{hub} refused the hub token.", "Make a new token that may read, and give it as hub token."),
        "no_model": (f"{hub} has no model {model}, or it is private and the hub token may not see it.",
                     "Look at how it is written (owner/name); for a private one give a token that may read it."),
        "no_revision": (f"{model} has no revision '{revision}'.",
                        "Give a branch, a tag or a whole commit of it, or leave it empty for main."),
        "no_config": (f"{model} holds no config.json, so it is not a model that vLLM can load.",
                      "Name the directory (or the repository) in which config.json and *.safetensors lie."),
        "bad_config": (f"The config.json of {model} is not JSON.", "Fetch the model again; the file may be cut short."),
        "no_directory": (f"There is no directory {model} on this server.", "Copy the model there, or name a hub id."),
        "not_readable": (f"{model} cannot be read by the engine's user{': ' + said if said else ''}.",
                         f"Let others read it (chmod -R o+rX {model}), on each directory above it, too."),
        "busy": (f"{hub} answers too many requests of this server now (429).", "Run it again in some minutes."),
    }
    message, then = sentences.get(code, (f"{hub} could not be asked for {model}: {said}.",
                                         "Look whether this server reaches it, then run this again."))
    return Problem(code, message, then)


def _no_weights(wanted: Mapping[str, Any], files: list[Mapping[str, Any]]) -> Problem:
    others = sorted({str(one["name"]).rpartition(".")[2] for one in files
                     if str(one["name"]).endswith((".gguf", ".bin", ".pt", ".pth"))})
    held = f", only .{', .'.join(others)}" if others else ""
    return Problem("no_weights", f"{wanted['model']} holds no *.safetensors{held}.",
                   "Choose a repository that has its weights as safetensors; other forms are not loaded, because a "
                   "pickle can run code.")


def _served(wanted: Mapping[str, Any], shape: Shape, facts: Mapping[str, Any]) -> list[Problem]:
    """Whether the engine knows its architecture, without code of the repository."""
    if shape.remote_code and not wanted.get("trust_remote_code") and not _knows(shape, wanted, facts):
        return [Problem(
            "remote_code",
            f"{wanted['model']} brings Python code of its own (auto_map in its config.json), "
            "which the engine would run on this server as the model's user.",
            "Read that code, pin the revision, and turn on trust_remote_code; or choose another model.")]
    if _knows(shape, wanted, facts) or wanted.get("trust_remote_code"):
        return []
    name = next(iter(shape.architectures), "(none)")
    return [Problem("unknown_architecture", f"The engine does not know the architecture {name} of {wanted['model']}.",
                    "Choose a model that vLLM lists as supported, or a version of the engine that knows it.")]


def _knows(shape: Shape, wanted: Mapping[str, Any], facts: Mapping[str, Any]) -> bool:
    known = facts.get("architectures")
    if known is None:
        # Not installed yet. Only of the versions that the role pins is it known what they can serve.
        return bool(wanted.get("version")) or any(one in ARCHITECTURES for one in shape.architectures)
    return any(one in known for one in shape.architectures)


def unfit(method: str, engine: str, capability: float) -> str:
    """Why this way of quantization cannot be served there; "" where it can."""
    if engine == "cpu":
        return "" if method in _ON_CPU else "a CPU"
    least = _CAPABILITY.get(method, 0.0)
    return f"a GPU of compute capability {capability} (from {least} on)" if 0 < capability < least else ""


def _quantized(wanted: Mapping[str, Any], shape: Shape, engine: str, facts: Mapping[str, Any]) -> list[Problem]:
    asked = _SAME.get(str(wanted.get("quantization") or ""), str(wanted.get("quantization") or ""))
    if shape.quantization and asked and asked != shape.quantization:
        return [Problem(
            "wrong_quantization",
            f"{wanted['model']} is quantized with {shape.quantization}, not with {asked}.",
            "Leave quantization empty: the engine reads it from the model.")]
    if asked in ("awq", "gptq", "compressed-tensors", "mxfp4") and not shape.quantization:
        return [Problem(
            "not_quantized",
            f"{wanted['model']} is not quantized, and {asked} cannot be done while loading.",
            f"Choose a repository that holds it quantized with {asked}, or use fp8 or bitsandbytes.")]
    method = shape.quantization or asked
    if method and (why := unfit(method, engine, _capability(wanted, facts))):
        return [Problem("quantization_not_there", f"{method} is not possible on {why}.",
                        "Choose another way of quantization, or the model without one.")]
    return []


def _capability(wanted: Mapping[str, Any], facts: Mapping[str, Any]) -> float:
    """Of the weakest GPU that may be used; 0 where it is not known."""
    chosen = wanted.get("gpus") or []
    return min((float(one.get("capability") or 0) for one in facts.get("gpus") or []
                if not chosen or one["index"] in chosen), default=0.0)


def _typed(wanted: Mapping[str, Any], shape: Shape, engine: str, facts: Mapping[str, Any]) -> list[Problem]:
    dtype, capability = str(wanted.get("dtype") or "auto"), _capability(wanted, facts)
    if dtype == "float16" and shape.model_type in _NOT_FLOAT16:
        return [Problem("wrong_dtype", f"{wanted['model']} ({shape.model_type}) cannot be served in float16: it is "
                        "numerically unstable there.", "Use bfloat16 or float32, or leave dtype at auto.")]
    if dtype == "bfloat16" and engine == "gpu" and 0 < capability < 8.0:
        return [Problem("wrong_dtype", f"This GPU has compute capability {capability}; bfloat16 needs 8.0 (Ampere) or "
                        "newer.", "Use float16, or leave dtype at auto.")]
    if dtype == "auto" and engine == "gpu" and 0 < capability < 8.0 and shape.model_type in _NOT_FLOAT16:
        return [Problem("wrong_dtype", f"{wanted['model']} needs bfloat16, which this GPU (compute capability "
                        f"{capability}) does not have.", "Use float32, or a GPU of compute capability 8.0 or newer.")]
    if dtype == "float32" and shape.quantization:
        return [Problem(
            "wrong_dtype",
            f"{wanted['model']} is quantized with {shape.quantization}, which is not served in "
            "float32.", "Use float16 or bfloat16, or leave dtype at auto.")]
    return []


def _measured(wanted: Mapping[str, Any], shape: Shape) -> list[Problem]:
    length, peers = int(wanted.get("max_length") or 0), int(wanted.get("tensor_parallel") or 1)
    found = []
    if shape.max_length and length > shape.max_length:
        found.append(Problem(
            "too_long",
            f"{wanted['model']} was made for {tokens(shape.max_length)} tokens; max length "
            f"{tokens(length)} is more.", f"Use {shape.max_length} or less, or 0 for the model's own."))
    if shape.heads % peers:
        possible = [str(count) for count in (1, 2, 4, 8) if shape.heads % count == 0]
        found.append(Problem(
            "heads_do_not_divide",
            f"{wanted['model']} has {shape.heads} attention heads, which cannot be "
            f"spread over {peers} GPUs.", f"Use tensor parallel {', '.join(possible)}."))
    return found
