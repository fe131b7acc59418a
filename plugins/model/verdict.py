"""Whether a server can serve a model as wished: figures, or refusals in words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from . import machine, model
from .known import siblings
from .memory import Need, Room, Wish, fewer_sequences, fits, longest, more_gpus, need
from .problem import Problem
from .shape import Shape
from .words import either, size, tokens

__all__ = ["Problem", "Verdict", "judge"]

Facts = Mapping[str, Any]


@dataclass
class Verdict:
    """What was found: `problems` (none: it fits), the engine and GPUs it would run on, and figures for the plan."""

    problems: list[Problem] = field(default_factory=list)
    engine: str = "cpu"
    gpus: list[int] = field(default_factory=list)
    #: Whether a second one fits beside the one that runs now.
    beside: bool = True
    figures: dict[str, Any] = field(default_factory=dict)
    sentence: str = ""


def judge(wanted: Mapping[str, Any], facts: Facts, presets: Iterable[Mapping[str, Any]] = ()) -> Verdict:
    """`wanted`: values of the role by their short names; `facts`: what plugins/programs/model_look.py saw."""
    verdict = Verdict(engine=machine.engine(wanted, facts))
    shape, stored, problems = model.understood(wanted, facts, verdict.engine)
    problems += machine.problems(wanted, facts, verdict.engine)
    if shape is not None:
        problems += machine.disk(wanted, facts, stored)
        problems += _memory(verdict, wanted, facts, shape, stored, list(presets), problems)
    verdict.problems = problems
    return verdict


def _memory(verdict: Verdict, wanted: Mapping[str, Any], facts: Facts, shape: Shape, stored: int,
            presets: list[Mapping[str, Any]], before: list[Problem]) -> list[Problem]:
    """Where it would run and whether it fits there; figures go into the verdict."""
    wish = machine.wish(wanted, verdict.engine)
    places = machine.places(wanted, facts, verdict.engine)
    if not places or any(one.code in machine.STOPS for one in before):
        return []
    chosen = _choose(places, wish, lambda room: fits(need(shape, stored, wish, room), wish, room), _changes(facts))
    room = min((one.room for one in chosen), key=lambda one: one.usable(wish))
    found = need(shape, stored, wish, room)
    verdict.gpus = [one.index for one in chosen] if verdict.engine == "gpu" else []
    verdict.beside = all(machine.beside(one, found, wish) for one in chosen)
    verdict.figures = _figures(verdict, facts, shape, stored, found, room, wish)
    where = machine.where(verdict.gpus)
    verdict.sentence = f"Needs {size(found.total)} of {size(room.usable(wish))} {where}: {_parts(found)}."
    problems = _too_small(shape, stored, wish, room, found, where, presets, wanted, [one.room for one in places])
    return problems or machine.taken(chosen, places, found, wish) + machine.limited(wanted, found, verdict.engine)


def _changes(facts: Facts) -> bool:
    """Whether another model serves than the one that shall."""
    seen = facts.get("model") or {}
    return bool(seen.get("serves")) and seen["serves"] != (seen.get("snapshot") or seen.get("id"))


def _choose(places: list[machine.Place], wish: Wish, enough: Callable[[Room], bool],
            changes: bool) -> list[machine.Place]:
    """As many as are asked for: where it runs already, then where it fits and memory is free, then in their order.

    Another model goes first where it fits beside what serves until it has answered.
    """
    def rank(one: machine.Place) -> tuple[bool, bool, bool, bool, int]:
        has_room = enough(one.room) and one.unhindered(wish)
        is_beside = changes and has_room and not one.own
        return not is_beside, not one.own, not has_room, not enough(one.room), one.index

    return sorted(sorted(places, key=rank)[:max(1, wish.tensor_parallel)], key=lambda one: one.index)


def _parts(found: Need) -> str:
    return (f"weights {size(found.weights)}, KV cache {size(found.cache)} for {tokens(found.max_length)} tokens, "
            f"working memory about {size(found.activations + found.overhead)}")


def _too_small(shape: Shape, stored: int, wish: Wish, room: Room, found: Need, where: str,
               presets: list[Mapping[str, Any]], wanted: Mapping[str, Any], rooms: list[Room]) -> list[Problem]:
    if fits(found, wish, room):
        return []
    others = _alternatives(shape, stored, wish, room, presets, wanted, rooms)
    if found.one_request > found.cache:
        held = found.cache // max(1, found.per_token)
        return [Problem(
            "cache_too_small",
            f"A KV cache of {size(found.cache)} holds about {tokens(held)} tokens, but one request may "
            f"have {tokens(found.max_length)}, which take {size(found.one_request)}.",
            _next([f"a KV cache of {size(found.one_request)} or more", *others]))]
    return [Problem(
        "does_not_fit",
        f"Does not fit: needs {size(found.total)}, has {size(room.usable(wish))} {where} ({_parts(found)}).",
        _next(others) if others else "No shorter length and no smaller model of the catalogue fits here. "
        "Choose a smaller model, or a server with more memory.")]


def _next(choices: list[str]) -> str:
    return f"It fits with {either(choices)}."


def _alternatives(shape: Shape, stored: int, wish: Wish, room: Room, presets: list[Mapping[str, Any]],
                  wanted: Mapping[str, Any], rooms: list[Room]) -> list[str]:
    """What was computed to fit, in words; the gentlest first."""
    found = []
    if count := fewer_sequences(shape, stored, wish, room):
        found.append(f"at most {count} sequences at once")
    if length := longest(shape, stored, wish, room):
        found.append(f"max length {length}")
    if count := more_gpus(shape, stored, wish, rooms):
        found.append(f"{count} GPUs (tensor parallel {count})")
    for one in siblings(str(wanted.get("model", "")), presets):
        other = replace(shape, quantization=one.quantization)
        plain = replace(wish, quantization="")
        if model.unfit(one.quantization, wish.engine, room.capability):
            continue
        if fits(small := need(other, one.stored, plain, room), plain, room):
            found.append(f"{one.repository} ({one.quantization}, needs {size(small.total)})")
            break
        if length := longest(other, one.stored, plain, room):
            found.append(f"{one.repository} ({one.quantization}) and max length {length}")
            break
    return found


def _figures(verdict: Verdict, facts: Facts, shape: Shape, stored: int, found: Need, room: Room, wish: Wish,
             ) -> dict[str, Any]:
    """For the plan (`webops_plan`, key `model`): bytes, and what they rest on."""
    seen = facts.get("model") or {}
    return {
        "id": seen.get("id", ""), "commit": seen.get("commit", ""), "engine": verdict.engine, "gpus": verdict.gpus,
        "architecture": next(iter(shape.architectures), ""), "dtype": wish.dtype, "quantization": shape.quantization
        or wish.quantization, "stored": stored, "download": machine.missing(facts, stored),
        "weights": found.weights, "kv_per_token": found.per_token, "kv_wanted": found.cache,
        "working": found.activations + found.overhead, "total": found.total, "has": room.usable(wish),
        "max_length": found.max_length, "beside": verdict.beside,
    }
