"""Problems of the server: GPUs, driver, CPU, memory, disk, sockets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .memory import Need, Room, Wish
from .problem import Problem
from .weights import loaded
from .words import GIB, size

#: After these it is not known where it would run, so nothing can be said of memory.
STOPS = ("no_gpu", "no_such_gpu", "unmeasured_gpu", "too_few_gpus", "heads_do_not_divide", "gpus_on_cpu")
#: The oldest driver for each CUDA that an engine may be built with (docs.nvidia.com/cuda/cuda-toolkit-release-notes,
#: "CUDA Toolkit and Minimum Required Driver Version for CUDA Minor Version Compatibility").
_DRIVERS = {11: "450.80.02", 12: "525.60.13", 13: "580.65.06"}
#: Room that has to stay on a disk.
_SPARE = GIB


@dataclass(frozen=True)
class Place:
    """One GPU, or the machine's memory."""

    index: int
    room: Room
    free: int                       # without what its own running engine holds
    own: int
    processes: list[Mapping[str, Any]] = field(default_factory=list)

    def unhindered(self, wish: Wish) -> bool:
        return self.room.free >= self.room.usable(wish)


def engine(wanted: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    """`auto` is a GPU where there is one."""
    asked = str(wanted.get("engine") or "auto")
    return asked if asked != "auto" else "gpu" if facts.get("gpus") else "cpu"


def wish(wanted: Mapping[str, Any], engine_name: str) -> Wish:
    more = {str(one["name"]): str(one.get("value", "")) for one in wanted.get("arguments") or []}
    batched = more.get("max-num-batched-tokens", "")
    return Wish(
        engine=engine_name, dtype=str(wanted.get("dtype") or "auto"),
        quantization=str(wanted.get("quantization") or ""),
        max_length=int(wanted.get("max_length") or 0), max_sequences=int(wanted.get("max_sequences") or 0),
        batched=int(batched) if batched.isdigit() else 0, kv_cache=int(wanted.get("kv_cache") or 0),
        kv_dtype=more.get("kv-cache-dtype", "auto"), gpu_memory=float(wanted.get("gpu_memory") or 0.9),
        tensor_parallel=int(wanted.get("tensor_parallel") or 1) if engine_name == "gpu" else 1,
        eager=bool(wanted.get("eager")))


def problems(wanted: Mapping[str, Any], facts: Mapping[str, Any], engine_name: str) -> list[Problem]:
    found = _gpus(wanted, facts) if engine_name == "gpu" else _cpu(wanted, facts)
    for one in facts.get("sockets") or []:
        found.append(Problem("socket_in_use", f"{one['path']} is in use by another process.",
                             "Stop that process, or give this model another name."))
    return found


def _gpus(wanted: Mapping[str, Any], facts: Mapping[str, Any]) -> list[Problem]:
    known = {int(one["index"]): one for one in facts.get("gpus") or []}
    if not known:
        why = facts.get("gpu_error") or "nvidia-smi was not found"
        return [Problem("no_gpu", f"This server has no GPU that could be used: {why}.",
                        "Install NVIDIA's driver, or use the engine 'cpu'.")]
    found = _driver(wanted, facts)
    asked = [int(one) for one in wanted.get("gpus") or []]
    peers = int(wanted.get("tensor_parallel") or 1)
    missing = [index for index in asked if index not in known]
    # Those that share the memory of the server, and parts of one, say [N/A].
    unmeasured = [index for index in asked or sorted(known) if not known.get(index, {}).get("total")]
    listed = ", ".join(f"{index} ({one.get('name', 'GPU')})" for index, one in sorted(known.items()))
    if missing:
        found.append(Problem("no_such_gpu", f"This server has no GPU {missing[0]}.", f"It has {listed}."))
    elif unmeasured and (asked or len(known) - len(unmeasured) < peers):
        found.append(Problem("unmeasured_gpu", f"nvidia-smi does not say how much memory GPU {unmeasured[0]} has, so "
                             "nobody knows what fits.", f"Use another GPU, or the engine 'cpu'; it has {listed}."))
    elif len(asked or known) < peers:
        many = f"{len(asked)} of them are chosen" if asked else f"this server has {len(known)}"
        found.append(Problem("too_few_gpus", f"Tensor parallel {peers} needs {peers} GPUs, but {many}.",
                             f"Use tensor parallel {len(asked or known)} or less; it has {listed}."))
    return found


def _driver(wanted: Mapping[str, Any], facts: Mapping[str, Any]) -> list[Problem]:
    """By major version: a driver serves every CUDA of its own major version (minor version compatibility)."""
    needed = str(wanted.get("cuda") or "")
    major = int(needed.partition(".")[0] or 0)
    driver, has = str(facts.get("driver") or ""), str(facts.get("cuda") or "")
    oldest = _DRIVERS.get(major, "")
    if not major or not (driver or has):
        return []
    enough = int(has.partition(".")[0]) >= major if has else _numbers(driver) >= _numbers(oldest)
    if enough:
        return []
    speaks = f", which speaks CUDA {has}" if has else ""
    return [Problem(
        "old_driver",
        f"The NVIDIA driver is {driver or 'too old'}{speaks}; this engine needs CUDA {needed}.",
        f"Install driver {oldest} or newer, or an older version of the engine.")]


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


def _cpu(wanted: Mapping[str, Any], facts: Mapping[str, Any]) -> list[Problem]:
    cpu = facts.get("cpu") or {}
    found = []
    if cpu.get("machine") == "x86_64" and "avx2" not in (cpu.get("flags") or []):
        found.append(Problem("no_avx2", "This server's CPU has no AVX2, which the engine needs.",
                             "Use a server with a newer CPU (Intel since 2013, AMD since 2015). In a virtual machine, "
                             "pass the host's CPU through."))
    if int(wanted.get("tensor_parallel") or 1) > 1 or wanted.get("gpus"):
        found.append(Problem("gpus_on_cpu", "GPUs are chosen (gpus, tensor parallel), but the engine runs on the CPU.",
                             "Leave both as they are, or use the engine 'gpu'."))
    return found


def places(wanted: Mapping[str, Any], facts: Mapping[str, Any], engine_name: str) -> list[Place]:
    """Where it may run: the GPUs that are chosen, or all; on a CPU the machine's memory."""
    if engine_name == "cpu":
        memory = facts.get("memory") or {}
        own, free = int(memory.get("own") or 0), int(memory.get("available") or 0)
        return [Place(-1, Room(int(memory["total"]), free + own), free, own)] if memory.get("total") else []
    asked = [int(one) for one in wanted.get("gpus") or []]
    return [_place(one, facts) for one in facts.get("gpus") or []
            if one.get("total") and (not asked or int(one["index"]) in asked)]


def _place(gpu: Mapping[str, Any], facts: Mapping[str, Any]) -> Place:
    there = [one for one in facts.get("processes") or [] if one.get("uuid") == gpu.get("uuid")]
    own = sum(int(one.get("used") or 0) for one in there if one.get("own"))
    room = Room(int(gpu["total"]), int(gpu["free"]) + own, float(gpu.get("capability") or 0),
                str(gpu.get("name", "")))
    return Place(int(gpu["index"]), room, int(gpu["free"]), own, [one for one in there if not one.get("own")])


def where(gpus: list[int]) -> str:
    if not gpus:
        return "of the server's memory"
    return f"on GPU {gpus[0]}" if len(gpus) == 1 else f"on each of the GPUs {', '.join(map(str, gpus))}"


def beside(place: Place, found: Need, wish_: Wish) -> bool:
    """Whether another one of it fits while the one that runs goes on. An engine wants its whole share free."""
    wanted = found.total if wish_.kv_cache or wish_.engine == "cpu" else int(place.room.total * wish_.gpu_memory)
    return place.free >= wanted


def taken(chosen: list[Place], all_places: list[Place], found: Need, wish_: Wish) -> list[Problem]:
    """It would fit, but somebody else holds memory that it wants."""
    for one in chosen:
        if one.unhindered(wish_) or wish_.engine == "cpu":
            continue
        share = int(one.room.free / one.room.total * 100 - 1) / 100
        choices = ["stop that process" if one.processes else "free that memory"]
        others = [other.index for other in all_places if other not in chosen and other.unhindered(wish_)]
        choices += [f"choose GPU {index}" for index in others[:1]]
        if share > 0 and found.total <= one.room.total * share:
            choices.append(f"lower the share of the GPU's memory to {share}")
        return [Problem(
            "gpu_taken",
            f"GPU {one.index} has {size(one.room.free)} of its {size(one.room.total)} free, but the "
            f"engine wants {size(one.room.usable(wish_))} ({wish_.gpu_memory}) to itself. {_holders(one)}",
            ", ".join(choices[:-1]).capitalize() + " or " + choices[-1] + "." if choices[1:]
            else choices[0].capitalize() + ".")]
    return []


def _holders(place: Place) -> str:
    held = sorted(place.processes, key=lambda one: -int(one.get("used") or 0))[:3]
    if not held:
        return "Which process holds the rest cannot be seen from here."
    said = [f"{one.get('name') or 'a process'} (process {one['pid']}, user {one.get('user') or 'unknown'}) holds "
            f"{size(int(one.get('used') or 0))}" for one in held]
    return ", ".join(said) + "."


def limited(wanted: Mapping[str, Any], found: Need, engine_name: str) -> list[Problem]:
    """The unit's own limit of memory, on a CPU, where the model lies in it."""
    limit = int(wanted.get("memory") or 0)
    if engine_name != "cpu" or not limit or found.total <= limit:
        return []
    return [Problem("limit_too_small", f"Needs {size(found.total)}, but its memory limit is {size(limit)}.",
                    f"Set its memory to {size(found.total)} or more, or leave it empty.")]


def missing(facts: Mapping[str, Any], stored: int) -> int:
    """Bytes that are still to be downloaded; for a directory there are none."""
    seen = facts.get("model") or {}
    if seen.get("source") != "hub":
        return 0
    cached = set(seen.get("cached") or [])
    here = sum(int(one["size"]) for one in loaded(seen.get("files") or [])
               if one["name"] in cached and str(one["name"]).endswith(".safetensors"))
    return max(0, stored - here - int(seen.get("unfinished") or 0))


def disk(wanted: Mapping[str, Any], facts: Mapping[str, Any], stored: int) -> list[Problem]:
    """What is still to be downloaded, and the engine where it is still to be installed, must fit with some to spare."""
    found, download = [], missing(facts, stored)
    needed: dict[str, tuple[Mapping[str, Any], int, list[str]]] = {}
    for place, bytes_, what in ((facts.get("disk"), download, f"the weights take {size(download)}"),
                                (facts.get("engine_disk"), int(wanted.get("engine_bytes") or 0),
                                 f"the engine takes {size(int(wanted.get('engine_bytes') or 0))}")):
        if place and bytes_:
            before = needed.get(str(place["device"]), (place, 0, []))
            needed[str(place["device"])] = (place, before[1] + bytes_, [*before[2], what])
    for place, total, what in needed.values():
        if int(place["free"]) < total + _SPARE:
            found.append(Problem("disk_full", f"The disk of {place['path']} has {size(int(place['free']))} free, but "
                                 f"{' and '.join(what)}, and {size(_SPARE)} should stay free.",
                                 "Make room on the server, or choose a smaller or quantized model."))
    return found
