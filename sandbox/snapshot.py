"""What is on a server, as sorted lines: taken before and after, the difference is what something left behind."""

from __future__ import annotations

from pathlib import Path

from sandbox import guest
from sandbox.place import Place

SCRIPT = Path(__file__).with_name("snapshot_script.py")


def snapshot_list(place: Place, name: str) -> list[str]:
    """Files (with mode, owner and, outside /usr, a hash), users, groups, packages, units, databases, crontabs."""
    done = guest.run(place, name, ["python3", "-"], text=SCRIPT.read_text())
    return done.stdout.splitlines()


def difference(before: list[str], after: list[str]) -> list[str]:
    """What came (`+`) and what went (`-`) between two lists, sorted by what it is about."""
    came = [f"+ {line}" for line in set(after) - set(before)]
    went = [f"- {line}" for line in set(before) - set(after)]
    return sorted(came + went, key=lambda line: line[2:])
