"""What units are called by people: `wo-guestbook@a.service` is web, `wo-guestbook.worker@2.service` is worker 2."""

from __future__ import annotations

import re

_UNIT = re.compile(r"wo-[a-z0-9-]+(?:\.(?P<part>[^@]+))?(?:@(?P<instance>[^@]*))?")
_TYPES = re.compile(r"\.(?:service|socket|timer|scope|slice|mount|target|path)\Z")
#: The two slots of an app serve in turns; who reads its log does not care which.
_SLOTS = ("a", "b")


def process(unit: str) -> str:
    """The readable name of a unit; of anything else its own name."""
    bare = _TYPES.sub("", unit).removesuffix(".log")
    found = _UNIT.fullmatch(bare)
    if not found:
        return bare
    part, instance = found["part"] or "", found["instance"] or ""
    if part == "task":
        return instance or part
    if part.startswith("cron-"):
        return f"cron {part[5:]}"
    if part:
        return f"{part} {instance}".rstrip()
    return "web" if instance in _SLOTS else instance or bare


def is_of(wanted: str, unit: str) -> bool:
    """Whether `wanted` names the process of this unit: "worker" means all workers, "worker 2" the second."""
    name = process(unit)
    return not wanted or _plain(wanted) in (_plain(name), _plain(name.split(" ")[0]), _plain(unit))


def _plain(name: str) -> str:
    return re.sub(r"[ @.:]+", " ", _TYPES.sub("", name)).casefold()


def processes(units: list[str]) -> list[str]:
    """All names, each once, in the order of the record."""
    return list(dict.fromkeys(process(unit) for unit in units))
