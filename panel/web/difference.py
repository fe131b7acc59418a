"""What a step changed, as lines to read."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from panel.web.words import plain

#: Comparing is quadratic in the worst case, and nobody reads more than this in place.
_MOST_INPUT = 4000
_MOST_SHOWN = 600


class Line(NamedTuple):
    """`tag` is the element that shows it: ins, del, span (as it was), i (place), b (file)."""

    tag: str
    text: str


def _text(side: Any) -> str:
    if side is None:
        return ""
    if isinstance(side, str):
        return side
    if isinstance(side, Mapping):
        return "\n".join(f"{key}: {one if isinstance(one, str) else json.dumps(one)}" for key, one in side.items())
    return json.dumps(side, indent=1)


def _of_prepared(text: str) -> Iterator[Line]:
    for line in text.splitlines():
        if line.startswith(("+++", "---")):
            yield Line("b", line)
        else:
            yield Line({"+": "ins", "-": "del", "@": "i"}.get(line[:1], "span"), line)


def _of_sides(before: str, after: str) -> Iterator[Line]:
    old, new = before.splitlines(), after.splitlines()
    if len(old) > _MOST_INPUT or len(new) > _MOST_INPUT:
        yield Line("i", f"{len(old)} lines became {len(new)}; too many to compare here.")
        return
    found = list(difflib.unified_diff(old, new, lineterm="", n=3))[2:]
    for line in found:
        tag = {"+": "ins", "-": "del", "@": "i"}.get(line[:1], "span")
        yield Line(tag, f"{line[:1]} {line[1:]}" if tag != "i" else "⋯")
    if not found and before != after:
        yield Line("i", "Only the end of the last line differs.")


def lines(diffs: Any) -> list[Line]:
    """The lines of a result's `diff`: one mapping or several, each with before and after, or prepared."""
    shown: list[Line] = []
    for one in diffs if isinstance(diffs, list) else [diffs]:
        if not isinstance(one, Mapping):
            continue
        header = one.get("after_header") or one.get("before_header")
        if header:
            shown.append(Line("b", str(header)))
        body = (_of_prepared(str(one["prepared"])) if one.get("prepared")
                else _of_sides(_text(one.get("before")), _text(one.get("after"))))
        shown += [line for place, line in enumerate(body) if not (place == 0 and line.tag == "i" and line.text == "⋯")]
    cut = len(shown) - _MOST_SHOWN
    if cut > 0:
        shown = [*shown[:_MOST_SHOWN], Line("i", f"{cut} more lines are left out.")]
    return [Line(line.tag, plain(line.text)) for line in shown]
