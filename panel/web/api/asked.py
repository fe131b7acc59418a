"""What a program asked for: the body, read strictly, and the query."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from flask import request

from panel.catalog import Problem, Refused
from panel.web.errors import Trouble

#: Deeper than any value of any kind; Python's own limit is about a thousand.
MAX_DEPTH = 32
MAX_LIMIT = 1000
#: The largest number that a column of ours holds.
MAX_ID = 2**31 - 1


class Unreadable(Exception):
    """A request that cannot be read; `trouble` is the whole answer."""

    def __init__(self, code: str, detail: str, status: int = 400, title: str = "This request cannot be read",
                 errors: Sequence[Problem] = ()) -> None:
        super().__init__(detail)
        self.trouble = Trouble(status, code, title, detail, errors)


def bad_query(problems: Sequence[Problem]) -> Unreadable:
    """The answer to a query that cannot be used."""
    return Unreadable("invalid_query", " · ".join(one.message for one in problems), 422, "This cannot be asked so",
                      problems)


def body(required: Iterable[str] = (), optional: Iterable[str] = ()) -> dict[str, Any]:
    """The JSON object that was sent. Unreadable: it is none. Refused: a key is missing, or nobody knows it."""
    if request.mimetype != "application/json":
        raise Unreadable("unsupported_media_type", "Send JSON, with the header 'Content-Type: application/json'.", 415)
    found = parse(request.get_data(cache=False))
    if not isinstance(found, dict):
        raise Unreadable("invalid_json", "Send a JSON object: {…}.")
    required = tuple(required)
    problems = [Problem(key, "required", f"'{key}' is needed.") for key in required if found.get(key) is None]
    known = (*required, *optional)
    problems += [Problem(key, "unknown_field", f"There is no field '{key}' here; there are: {', '.join(known)}.")
                 for key in found if key not in known]
    if problems:
        raise Refused(problems)
    return found


def parse(data: bytes) -> Any:
    """Strict JSON. Unreadable: what RFC 8259 leaves open (duplicate keys, NaN, surrogates) is refused here."""
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_object, parse_constant=_no_number)
    except UnicodeDecodeError:
        raise Unreadable("invalid_json", "The body is not UTF-8.") from None
    except RecursionError:
        raise Unreadable("invalid_json", f"The body is nested deeper than {MAX_DEPTH} levels.") from None
    except ValueError as wrong:
        raise Unreadable("invalid_json", f"The body is not JSON: {wrong}.") from None
    _check(value, 0)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise Unreadable("invalid_json", f"The key {json.dumps(twice)} is there twice in one object.")
    return found


def _no_number(text: str) -> NoReturn:
    raise Unreadable("invalid_json", f"{text} is no JSON number.")


def _check(value: Any, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise Unreadable("invalid_json", f"The body is nested deeper than {MAX_DEPTH} levels.")
    if isinstance(value, dict):
        for key, one in value.items():
            _check(key, depth)
            _check(one, depth + 1)
    elif isinstance(value, list):
        for one in value:
            _check(one, depth + 1)
    elif isinstance(value, float) and not math.isfinite(value):
        raise Unreadable("invalid_json", "A number is too large.")
    elif isinstance(value, str) and re.search("[\ud800-\udfff]", value):
        raise Unreadable("invalid_json", "A text holds half a character (a lone surrogate).")


def text(found: dict[str, Any], key: str, default: str = "", longest: int = 1000) -> str:
    """A field that must be text. Refused: it is something else, or too long."""
    value = found.get(key)
    if value is None:
        return default
    if not isinstance(value, str) or "\0" in value:
        raise Refused([Problem(key, "invalid_type", f"'{key}' must be text.")])
    if len(value) > longest:
        raise Refused([Problem(key, "value_too_long", f"At most {longest} characters are possible.")])
    return value


def mapping(found: dict[str, Any], key: str) -> dict[str, Any]:
    """A field that must be an object; {} where it is missing."""
    value = found.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Refused([Problem(key, "invalid_type", f"'{key}' must be an object.")])
    return value


def names(found: dict[str, Any], key: str) -> list[str]:
    """A field that must be a list of short texts; [] where it is missing."""
    value = found.get(key)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(one, str) and len(one) <= 300 for one in value):
        raise Refused([Problem(key, "invalid_type", f"'{key}' must be a list of names.")])
    return value


def number(found: dict[str, Any], key: str, low: int, high: int) -> int | None:
    """A field that must be a whole number; None where it is missing."""
    value = found.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise Refused([Problem(key, "invalid_number", f"'{key}' must be a whole number, {low}-{high}.")])
    return value


def one_of(found: dict[str, Any], key: str, choices: tuple[str, ...]) -> str:
    """A field with a few possible words; the first where it is missing."""
    value = found.get(key)
    if value is None:
        return choices[0]
    if value not in choices:
        raise Refused([Problem(key, "invalid_choice", f"'{key}' must be one of: {', '.join(choices)}.")])
    return str(value)


def query(*names: str) -> dict[str, str]:
    """The query, with these names only and each once. Unreadable (invalid_query): another one."""
    problems = [Problem(name, "invalid_query", f"'{name}' cannot be asked here" +
                        (f"; there are: {', '.join(names)}." if names else ".")) for name in request.args
                if name not in names]
    problems += [Problem(name, "invalid_query", f"'{name}' is there twice.") for name in names
                 if len(request.args.getlist(name)) > 1]
    if problems:
        raise bad_query(problems)
    return {name: request.args[name] for name in names if name in request.args}


def count(found: dict[str, str], name: str, default: int, low: int = 1, high: int = MAX_LIMIT) -> int:
    """A whole number of the query. Unreadable (invalid_query): it is none, or out of bounds."""
    if name not in found:
        return default
    value = found[name]
    if not re.fullmatch(r"[0-9]{1,10}", value) or not low <= int(value) <= high:
        raise bad_query([Problem(name, "invalid_query", f"'{name}' must be a whole number, {low}-{high}.")])
    return int(value)


def yes(found: dict[str, str], name: str) -> bool:
    """A switch of the query: 1 or 0, missing: 0."""
    if found.get(name, "0") not in ("0", "1"):
        raise bad_query([Problem(name, "invalid_query", f"'{name}' must be 1 or 0.")])
    return found.get(name) == "1"


def event_number() -> int:
    """Where a stream goes on: Last-Event-ID, else `after`, else from the start. Unreadable: it is no number of ours."""
    value = request.headers.get("Last-Event-ID") or request.args.get("after") or "0"
    if not re.fullmatch(r"[0-9]{1,10}", value) or int(value) > MAX_ID:
        raise Unreadable("invalid_event_id", f"The number of an event is 0-{MAX_ID}.")
    return int(value)


def door() -> str:
    """Which of our own doors it came through; a program says so in its User-Agent."""
    return "cli" if (request.user_agent.string or "").startswith("webops/") else "api"
