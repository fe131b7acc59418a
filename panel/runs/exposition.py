"""Figures of a resource as Prometheus reads them: the last look at each of its servers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy.orm import Session

from panel.runs import figures
from panel.store.models import Resource

_ENGINE = (("running", "requests_running", "gauge", "Requests that are answered now"),
           ("waiting", "requests_waiting", "gauge", "Requests that wait for their turn"),
           ("kv_cache", "kv_cache_ratio", "gauge", "How much of the KV cache is used, 0 to 1"),
           ("prompt_tokens", "prompt_tokens_total", "counter", "Tokens that were read"),
           ("generation_tokens", "generation_tokens_total", "counter", "Tokens that were written"))
_CARD = (("memory_used", "gpu_memory_used_bytes", "Memory of the GPU that is used"),
         ("memory_total", "gpu_memory_bytes", "Memory of the GPU"), ("busy", "gpu_busy_percent", "How busy the GPU is"))
_KEY = (("requests", "key_requests_total", "Requests of a key that were let in"),
        ("refused", "key_refused_total", "Requests of a key that were over its limit"),
        ("tokens_in", "key_prompt_tokens_total", "Tokens that were read for a key"),
        ("tokens_out", "key_completion_tokens_total", "Tokens that were written for a key"))


def text(session: Session, resource: Resource) -> str:
    """Prometheus' text format. What is not known is not there; `webops_up` says whether a server told anything."""
    found = {place.server.name: (row.data if (row := figures.latest(session, place)) else {})
             for place in resource.places}
    lines = list(_family("up", "gauge", "Whether its engine told its figures within the last minute", [
        (_labels(resource, server), int(bool(data.get("engine")))) for server, data in found.items()]))
    for key, name, kind, words in _ENGINE:
        lines += _family(name, kind, words, [(_labels(resource, server), data["engine"][key])
                                             for server, data in found.items() if key in (data.get("engine") or {})])
    lines += _first_token(resource, found)
    for key, name, words in _CARD:
        lines += _family(name, "gauge", words, [
            (_labels(resource, server, gpu=card["index"]), card[key]) for server, data in found.items()
            for card in data.get("gpus") or [] if card.get(key) is not None])
    for key, name, words in _KEY:
        lines += _family(name, "counter", words, [
            (_labels(resource, server, key=one), use[key]) for server, data in found.items()
            for one, use in (data.get("keys") or {}).items() if use.get(key) is not None])
    return "\n".join(lines) + "\n"


def _first_token(resource: Resource, found: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Buckets, and how many are in them; not called a histogram, as the sum that belongs to one is not known."""
    buckets = [(server, bound, count) for server, data in found.items()
               for bound, count in (data.get("engine") or {}).get("first_token") or []]
    yield from _family("first_token_seconds_bucket", "untyped", "Answers whose first token came within le seconds", [
        (_labels(resource, server, le="+Inf" if bound is None else f"{bound:g}"), count)
        for server, bound, count in buckets])
    yield from _family("first_token_seconds_count", "untyped", "Answers whose first token came", [
        (_labels(resource, server), count) for server, bound, count in buckets if bound is None])


def _family(name: str, kind: str, words: str, rows: list[tuple[str, Any]]) -> Iterator[str]:
    if not rows:
        return
    yield f"# HELP webops_{name} {words}."
    yield f"# TYPE webops_{name} {kind}"
    yield from (f"webops_{name}{{{labels}}} {value:.17g}" for labels, value in rows)


def _labels(resource: Resource, server: str, **more: Any) -> str:
    return ",".join(f'{name}="{_quoted(str(value))}"'
                    for name, value in {"resource": resource.name, "server": server, **more}.items())


def _quoted(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
