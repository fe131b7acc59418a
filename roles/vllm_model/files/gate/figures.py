"""The engine's figures, from the text that Prometheus reads, and the gate's own in the same form."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Any

#: Neither Inf nor NaN: as figures they say nothing, and JSON has no word for them.
_NUMBER = r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
_LINE = re.compile(rf"(?P<name>[a-zA-Z_:][\w:]*)(?:\{{(?P<labels>[^}}]*)\}})? (?P<value>{_NUMBER})(?:\s|$)")
_BOUND = re.compile(rf'le="(\+Inf|{_NUMBER})"')
_GAUGES = {"vllm:num_requests_running": "running", "vllm:num_requests_waiting": "waiting",
           "vllm:kv_cache_usage_perc": "kv_cache", "vllm:gpu_cache_usage_perc": "kv_cache"}
_COUNTERS = {"vllm:prompt_tokens_total": "prompt_tokens", "vllm:generation_tokens_total": "generation_tokens",
             "vllm:request_success_total": "answered"}
_HISTOGRAMS = {"vllm:time_to_first_token_seconds": "first_token", "vllm:inter_token_latency_seconds": "next_token",
               "vllm:time_per_output_token_seconds": "next_token"}
_GATE = (("requests", "requests_total", "Requests that were let in"),
         ("refused", "refused_total", "Requests over a limit"),
         ("tokens_in", "prompt_tokens_total", "Tokens that were read"),
         ("tokens_out", "completion_tokens_total", "Tokens that were written"))


def of_engine(text: str) -> dict[str, Any]:
    """The figures that are shown; one that the engine does not tell is not there. Processes are added up."""
    found: dict[str, float] = defaultdict(float)
    buckets: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for line in text.splitlines():
        if not line.startswith("vllm:") or not (read := _LINE.match(line)):
            continue
        name, value = read["name"], float(read["value"])
        if name in _GAUGES or name in _COUNTERS:
            # The share of the cache is a share: of several processes the fullest counts.
            key = _GAUGES.get(name) or _COUNTERS[name]
            found[key] = max(found[key], value) if key == "kv_cache" else found[key] + value
        elif name.endswith("_bucket") and (key := _HISTOGRAMS.get(name[:-7], "")):
            bound = _BOUND.search(read["labels"] or "")
            if bound:
                buckets[key][bound[1]] += value
    return {**found, **{key: sorted(([_number(bound), count] for bound, count in one.items()),
                                    key=lambda pair: (pair[0] is None, pair[0] or 0)) for key, one in buckets.items()}}


def _number(bound: str) -> float | None:
    """The upper bound of a bucket; None: there is none."""
    return None if bound == "+Inf" else float(bound)


def as_text(keys: dict[str, dict[str, Any]]) -> str:
    """The figures of the keys for Prometheus."""
    lines = []
    for key, name, words in _GATE:
        lines += [f"# HELP webops_gate_{name} {words}.", f"# TYPE webops_gate_{name} counter"]
        lines += [f'webops_gate_{name}{{key="{_label(one)}"}} {use[key]}' for one, use in keys.items()]
    return "\n".join(lines) + "\n"


def _label(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
