"""The life of a resource, as every role promises it; one test of this form serves them all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sandbox.snapshot import difference
from tests.sandbox.roles.conftest import Ready


def nothing(line: str) -> bool:
    """For `stays` of a resource without data."""
    return False


def cycle(ready: Ready, kind: str, name: str, values: dict[str, Any], *,
          works: Callable[[], None] = lambda: None, by_hand: str = "", stays: Callable[[str], bool] = nothing,
          remove_data: dict[str, Any] | None = None) -> None:
    """check → apply → apply → check → remove → remove with data, compared with the list taken before.

    `works` looks at what was made. `by_hand` is a line of a shell that spoils it, as somebody on the server might; it
    is found by check and taken back by apply. `stays` says of a line of the list whether it is data (or its user),
    which `remove` leaves. `remove_data` are the values with which nothing at all is left.
    """
    before = ready.snapshot()
    rehearsed = ready.play(kind, name, values, check=True)
    assert not rehearsed.failed, rehearsed.words() or rehearsed.output
    assert difference(before, ready.snapshot()) == [], "--check changed something"
    applied = ready.play(kind, name, values)
    assert not applied.failed and applied.code == 0, applied.words() or applied.output
    assert applied.changed, "apply changed nothing: the resource was there already"
    assert rehearsed.changed == applied.changed, "--check did not name the steps that apply changed"
    works()
    again = ready.play(kind, name, values)
    assert again.changed == [] and again.code == 0, "a second apply changed something"
    assert ready.play(kind, name, values, check=True).changed == [], "--check sees a change after apply"
    if by_hand:
        taken_back(ready, kind, name, values, by_hand)
        works()
    remove(ready, kind, name, {}, before, stays)
    if remove_data is not None:
        remove(ready, kind, name, remove_data, before, nothing)


def taken_back(ready: Ready, kind: str, name: str, values: dict[str, Any], by_hand: str) -> None:
    ready.run("sh", "-ec", by_hand)
    found = ready.play(kind, name, values, check=True)
    assert found.changed and not found.failed, f"--check does not see what was done by hand: {found.words()}"
    mended = ready.play(kind, name, values)
    assert mended.code == 0 and mended.changed == found.changed, "--check did not name the steps that apply changed"
    assert ready.play(kind, name, values, check=True).changed == [], "something done by hand is still there"


def remove(ready: Ready, kind: str, name: str, values: dict[str, Any], before: list[str],
           stays: Callable[[str], bool]) -> None:
    gone = ready.play(kind, name, values, action="remove")
    assert not gone.failed and gone.code == 0, gone.words() or gone.output
    left = [line for line in difference(before, ready.snapshot()) if not stays(line)]
    assert left == [], f"remove with {values or 'no data named'} left these"
