"""What the answers to a resource's probes mean, as one state and one sentence for people. Pure: no network, no rows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from panel.link import kept
from panel.link.certificate import Certificate, read
from panel.link.plain import plain, tidy
from panel.store.models import Observed

_WORD = 300
#: A certificate that lives no longer than this should have been renewed by now.
_RENEWAL_DUE = timedelta(days=7)
#: The gravest counts. A stop or a start explains an answer of 502, so it goes before it; a failed unit explains all.
_ORDER = ("unit_failed", "stopped", "starting", "http_failed", "missing", "certificate_failed", "unknown")
_STATES = {"unit_failed": Observed.FAILED, "stopped": Observed.STOPPED, "http_failed": Observed.FAILED,
           "missing": Observed.MISSING, "certificate_failed": Observed.FAILED, "unknown": Observed.UNKNOWN,
           "starting": Observed.UNKNOWN, "ok": Observed.OK}
_OPENINGS = {"unit_failed": "Failed", "stopped": "Stopped", "http_failed": "Failed", "missing": "Not there",
             "certificate_failed": "Failed", "unknown": "Unknown", "starting": "Starting"}


class Finding(NamedTuple):
    """What one probe contributes: a level of _ORDER or "ok", and words."""

    level: str
    words: str


class Verdict(NamedTuple):
    state: Observed
    text: str
    data: dict[str, Any]

    def same_as(self, state: Observed, text: str) -> bool:
        """Whether a person would notice no difference: how fast it answered this time is none."""
        return (self.state, _without_times(self.text)) == (state, _without_times(text))


def _without_times(text: str) -> str:
    return re.sub(r"\b\d+ ms\b", "ms", text)


def resource(name: str, kind: str, server: str, applied: bool, seen: dict[str, Any]) -> Verdict:
    """What `seen` (a whole look at the server) says about one resource."""
    record = _mapping(seen.get("records")).get(name)
    if record is None:
        before = "" if applied else " yet"
        return Verdict(Observed.MISSING, f"Not there{before}: nothing of {name} is on {server}.", {"probes": []})
    record = _mapping(record)
    if "broken" in record:
        return Verdict(Observed.UNKNOWN, f"Unknown: the record of {name} on {server} cannot be used: "
                       f"{plain(record['broken'], _WORD)}. Apply it again.", {"probes": []})
    if record.get("kind") != kind:
        return Verdict(Observed.FAILED, f"Failed: {name} on {server} is a {plain(record.get('kind'), 64)}, "
                       f"not a {kind}. Remove the one or rename the other.", {"probes": []})
    answers = [_mapping(one) for one in _list(_mapping(seen.get("answers")).get(name))]
    found = _judge(name, server, record, answers)
    releases = kept.releases(_mapping(seen.get("releases")).get(name))
    return found._replace(data={**found.data, "releases": releases}) if releases else found


def _judge(name: str, server: str, record: dict[str, Any], answers: list[dict[str, Any]]) -> Verdict:
    findings = [finding for answer in answers for finding in _findings(answer)]
    data = {"probes": [_shown(answer) for answer in answers], "url": plain(record.get("url") or "", 500),
            **({"model": plain(record["model"], 200)} if record.get("model") else {}),
            "processes": [plain(one, 100) for one in _list(record.get("processes"))[:50]]}
    for level in _ORDER:
        words = [one.words for one in findings if one.level == level]
        if words:
            return Verdict(_STATES[level], f"{_OPENINGS[level]}: {'; '.join(dict.fromkeys(words))}.", data)
    if not findings:
        return Verdict(Observed.OK, f"There: {server} has {name}. Nothing more is known of this kind.", data)
    return Verdict(Observed.OK, _well(findings, answers), data)


def _well(findings: list[Finding], answers: list[dict[str, Any]]) -> str:
    types = {answer.get("type") for answer in answers}
    opening = "Serving: " if "http" in types else "Running: " if "unit" in types else ""
    kinds = ("http", "certificate") if "http" in types else ("unit", "certificate", "path")
    words = [one.words for answer in answers if answer.get("type") in kinds for one in _findings(answer)]
    sentence = ". ".join(dict.fromkeys(words))
    return f"{opening}{sentence}." if opening else f"{sentence[:1].upper()}{sentence[1:]}."


def _findings(answer: dict[str, Any]) -> Iterator[Finding]:
    kind = answer.get("type")
    if kind == "unit":
        yield _unit(answer)
    elif kind == "http":
        yield _http(answer)
    elif kind == "certificate":
        yield _certificate(answer)
    elif kind == "path" and "error" not in answer:
        path = plain(answer.get("path"), _WORD)
        yield Finding("ok", f"{path} is there") if answer.get("there") else Finding("missing", f"{path} is gone")
    else:
        yield Finding("unknown", plain(answer.get("error") or "its probe cannot be understood", _WORD))


def _unit(answer: dict[str, Any]) -> Finding:
    units = [_mapping(unit) for unit in _list(answer.get("units"))]
    good = [unit for unit in units if unit.get("active") in ("active", "reloading")]
    if good and (answer.get("any") or len(good) == len(units)):
        return Finding("ok", f"{_names(good)} {'is' if len(good) == 1 else 'are'} active")
    bad = [unit for unit in units if unit not in good]
    for test, level, words in _UNIT_WORDS:
        found = [unit for unit in bad if test(unit)]
        if found:
            return Finding(level, words(found, len(bad)))
    return Finding("unknown", "systemd gave no answer about its units")


def _is(field: str, *values: str) -> Any:
    return lambda unit: unit.get(field) in values


def _names(units: list[dict[str, Any]]) -> str:
    return " and ".join(plain(unit.get("name"), 200).removesuffix(".service") for unit in units)


def _failed_words(units: list[dict[str, Any]], _of: int) -> str:
    result = plain(units[0].get("result") or "", 40)
    why = {"exit-code": "it ended with an error", "oom-kill": "the server ran out of memory",
           "timeout": "it did not start in time", "signal": "it crashed or was killed", "watchdog": "it hung",
           "start-limit-hit": "it ended too often", "core-dump": "it crashed"}.get(result, result)
    return f"{_names(units[:1])} failed" + (f" ({why})" if why and why != "success" else "")


def _starting_words(units: list[dict[str, Any]]) -> str:
    again = str(units[0].get("restarts") or "0") != "0"
    return f"{_names(units)} is starting" + (" again, after it ended by itself" if again else "")


def _stopped_words(units: list[dict[str, Any]], of: int) -> str:
    if of == 2 and len(units) == 2 and all("@" in str(unit.get("name")) for unit in units):
        return "both slots are down"
    return f"{_names(units)} {'is' if len(units) == 1 else 'are'} not running"


_UNIT_WORDS: tuple[tuple[Any, str, Any], ...] = (
    (_is("active", "failed"), "unit_failed", _failed_words),
    (_is("sub", "auto-restart"), "unit_failed", lambda units, of: f"{_names(units[:1])} ends again and again"),
    (_is("active", "activating"), "starting", lambda units, of: _starting_words(units)),
    (_is("active", "deactivating"), "starting", lambda units, of: f"{_names(units)} is stopping"),
    (_is("load", "not-found", "masked", "bad-setting", "error"), "missing",
     lambda units, of: f"{_names(units)} is not installed"),
    (_is("active", "inactive"), "stopped", _stopped_words),
)


def _http(answer: dict[str, Any]) -> Finding:
    if "error" in answer:
        # What we may not ask says nothing about how it is.
        level = "unknown" if answer["error"] == "permission denied" else "http_failed"
        return Finding(level, f"no answer at {plain(answer.get('url'), _WORD)}: {plain(answer['error'], _WORD)}")
    wanted = [one for one in _list(answer.get("wanted")) if isinstance(one, int)]
    if answer.get("status") in wanted:
        return Finding("ok", f"answered {answer['status']} in {plain(answer.get('ms'), 10)} ms")
    instead = f" instead of {' or '.join(map(str, wanted))}" if len(wanted) <= 3 else ""
    return Finding("http_failed", f"answered {plain(answer.get('status'), 10)}{instead} at "
                   f"{plain(answer.get('url'), _WORD)}")


def _certificate(answer: dict[str, Any]) -> Finding:
    found = read(str(answer["der"])) if "der" in answer else None
    if found is None:
        why = plain(answer.get("error") or "it cannot be read", _WORD)
        level = "unknown" if why == "permission denied" else "certificate_failed"
        return Finding(level, f"no usable certificate at {plain(answer.get('path'), _WORD)}: {why}")
    return _validity(found)


def _validity(found: Certificate) -> Finding:
    left = found.until - datetime.now(UTC)
    day = f"{found.until:%Y-%m-%d}"
    if left < timedelta(0):
        return Finding("certificate_failed", f"the certificate ended on {day}, and browsers refuse it")
    late = ", and its renewal is overdue" if left < min(_RENEWAL_DUE, found.lifetime / 4) else ""
    return Finding("ok", f"Certificate valid until {day} ({found.issuer}){late}")


def _shown(answer: dict[str, Any]) -> dict[str, Any]:
    """An answer as it is kept: the certificate's text in place of its bytes."""
    found = read(str(answer["der"])) if "der" in answer else None
    kept = {key: value for key, value in answer.items() if key != "der"}
    shown: dict[str, Any] = tidy(kept | (found.shown() if found else {}))
    return shown


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
