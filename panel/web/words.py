"""What pages say: states as a shape with a word, runs as sentences. One home for the panel's words on data."""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

from panel.catalog import Action, Kind, NoSuchKind, catalog
from panel.store.models import Mode, Observed, Resource, Run, Server, State
from panel.store.places import Place
from panel.web import clock, verbs

DOORS = {"browser": "in the browser", "cli": "with webops", "api": "through the API"}


class Badge(NamedTuple):
    """A state: `tone` decides shape and colour (ok changed failed running idle stopped), `word` says it."""

    tone: str
    word: str


_RUN = {State.QUEUED: Badge("idle", "Waits"), State.RUNNING: Badge("running", "Running"),
        State.SUCCEEDED: Badge("ok", "Succeeded"), State.FAILED: Badge("failed", "Failed"),
        State.CANCELED: Badge("stopped", "Canceled"), State.LOST: Badge("failed", "Lost")}


def kind_of(name: str) -> Kind | None:
    """The kind, or None where its role is gone."""
    try:
        return catalog().kind(name)
    except NoSuchKind:
        return None


def kind_label(name: str) -> str:
    kind = kind_of(name)
    return kind.label if kind else name


def action_of(kind: str, name: str) -> Action | None:
    found = kind_of(kind)
    return found.actions.get(name) if found else None


def action_label(kind: str, name: str) -> str:
    """What the action is called on its button; readable also when the role is gone."""
    action = action_of(kind, name)
    if kind == "server" and name == "main":
        return "Make ready"
    return action.label if action else ("Apply" if name == "main" else name.replace("_", " ").capitalize())


def run_badge(run: Run) -> Badge:
    if run.state is State.RUNNING and run.cancel_asked_by:
        return Badge("running", "Stopping")
    return _RUN[run.state]


def run_title(run: Run) -> str:
    """The heading of a run's page: what it is doing, did, or did not do."""
    label = _label(run)
    thing = run.resource_name
    if run.state is State.SUCCEEDED:
        return verbs.done(label, thing)
    if run.state is State.RUNNING:
        return verbs.doing(label, thing)
    if run.state is State.QUEUED:
        return verbs.to_do(label, thing)
    return verbs.not_done(label, thing)


def run_name(run: Run) -> str:
    """In a list: Deploy, Check."""
    label = action_label(run.kind, run.action)
    if run.purpose == "drift":
        return "Look at drift"
    if run.purpose == "survey":
        return label
    return f"{_label(run)}: {label.lower()}" if run.mode is Mode.CHECK else label


def seconds_of(run: Run) -> float | None:
    """How long it has been running, or took."""
    if run.started_at is None:
        return None
    end = clock.aware(run.ended_at) if run.ended_at else clock.now()
    return max(0.0, (end - clock.aware(run.started_at)).total_seconds())


def steps_phrase(changed: int, total: int, mode: Mode) -> str:
    """What a finished run changed, in one sentence."""
    if mode is Mode.CHECK:
        return (f"{changed} of {total} steps would change something. Nothing was touched." if changed
                else "Everything is in place. Nothing would change.")
    return (f"{changed} of {total} steps changed something." if changed
            else "Everything was in place already. Nothing was changed.")


def resource_badge(resource: Resource, last: Run | None = None) -> Badge:
    """The state of a resource: a run that is on, else what the link saw, else what is known from its runs."""
    if last is not None and last.state is State.RUNNING:
        return Badge("running", verbs.doing(_label(last), "").strip())
    if last is not None and last.state is State.QUEUED:
        return Badge("idle", "Waits")
    if resource.applied_at and (worst := resource.worst) and is_to_come(worst):
        return Badge("changed", f"Not on {worst.server.name} yet")
    if resource.applied_at is None and resource.observed in (Observed.UNKNOWN, Observed.MISSING):
        failed = last is not None and last.state in (State.FAILED, State.LOST) and last.mode is Mode.APPLY
        return Badge("failed", "Not applied: failed") if failed else Badge("idle", "Not applied yet")
    failed = last is not None and last.state in (State.FAILED, State.LOST) and last.mode is Mode.APPLY
    if failed and last is not None and resource.observed is Observed.OK:
        return Badge("failed", f"Last {_label(last).lower()} failed")
    return _observed_badge(resource, resource.kind)


def place_badge(place: Place) -> Badge:
    """The state of a resource on one of its servers."""
    return Badge("idle", "Not applied yet") if is_to_come(place) else _observed_badge(place, place.resource.kind)


def is_to_come(place: Place) -> bool:
    """Whether the resource was never brought to this server: it came into the group later."""
    return place.applied_at is None and place.observed in (Observed.UNKNOWN, Observed.MISSING)


_OPENING = re.compile(r"(?P<word>[A-Z][a-z]+(?: [a-z]+){0,2}): (?P<rest>.+)", re.DOTALL)


def observed_text(thing: Resource | Server | Place, badge: Badge) -> str:
    """The sentence on what was seen, without its first word where the badge beside it says the same."""
    found = _OPENING.match(thing.observed_text)
    if found is None or found["word"] != badge.word:
        return thing.observed_text
    return found["rest"][:1].upper() + found["rest"][1:]


def _word(thing: Resource | Server | Place, otherwise: str) -> str:
    """The word that the link found for a state: Serving, Running, Stopped."""
    found = _OPENING.match(thing.observed_text)
    return found["word"] if found and len(found["word"]) <= 20 else otherwise


def _observed_badge(seen: Resource | Place, kind_name: str) -> Badge:
    if seen.observed is Observed.OK:
        kind = kind_of(kind_name)
        return Badge("ok", _word(seen, "Serving" if kind and kind.link else "In order"))
    return {Observed.STOPPED: Badge("stopped", "Stopped"), Observed.FAILED: Badge("failed", "Failing"),
            Observed.MISSING: Badge("failed", "Missing"),
            Observed.UNKNOWN: Badge("idle", "Unknown" if seen.observed_at else "Not seen yet")}[seen.observed]


def _label(run: Run) -> str:
    if run.mode is Mode.CHECK:
        return "Plan" if run.purpose == "plan" else "Check"
    return "Reconcile" if run.purpose == "reconcile" else action_label(run.kind, run.action)


def server_badge(server: Server, last: Run | None = None) -> Badge:
    if last is not None and last.state is State.RUNNING:
        return Badge("running", {"main": "Being made ready", "remove": "Being removed"}.get(last.action, "Running"))
    if not server.host_key:
        return Badge("changed", "Host key not accepted")
    if server.offered_host_key:
        return Badge("failed", "Host key changed")
    if server.ready_at is None:
        failed = last is not None and last.action == "main" and last.state in (State.FAILED, State.LOST)
        return Badge("failed", "Could not be made ready") if failed else Badge("changed", "Not ready yet")
    return {Observed.OK: Badge("ok", "In order"), Observed.STOPPED: Badge("stopped", "Stopped"),
            Observed.FAILED: Badge("failed", "Failing"), Observed.MISSING: Badge("failed", "Not reachable"),
            Observed.UNKNOWN: Badge("idle", "Not seen yet")}[server.observed]


def title_of(resource: Resource) -> str:
    """What stands in grey beside its name: usually the domain."""
    kind = kind_of(resource.kind)
    value = resource.values.get(kind.title) if kind and kind.title else None
    return plain(value) if value not in (None, "", []) else ""


def url_of(resource: Resource) -> str | None:
    """Where it can be opened: as observed, else as its values say."""
    kind = kind_of(resource.kind)
    for address in (resource.observed_data.get("url"), kind.url(resource.values) if kind else None):
        if isinstance(address, str) and re.match(r"https?://[!#-&(-;=?-\[\]-~]+\Z", address):
            return address
    return None


_NUMBERS = ("No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine")


def count(number: int, thing: str, things: str = "", *, begins: bool = False) -> str:
    """3 servers; at the beginning of a sentence: Three servers."""
    noun = thing if number == 1 else (things or f"{thing}s")
    return f"{_NUMBERS[number] if begins and number < len(_NUMBERS) else number} {noun}"


# What a terminal would obey: CSI, OSC and other escape sequences, in their 7-bit and 8-bit forms.
_ESCAPES = re.compile(r"(?:\x1b\]|\x9d)[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"
                      r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|\x1b[PX^_].*?(?:\x1b\\|\Z)|\x1b[ -/]*[0-~]?")
_KEPT = "\n\t"


def plain(text: object) -> str:
    """Foreign text as it may be shown: without escape sequences, invisible signs made visible."""
    bare = _ESCAPES.sub("", str(text).replace("\r\n", "\n"))
    return "".join(_visible(char) for char in bare)


def _visible(char: str) -> str:
    if char in _KEPT or unicodedata.category(char) not in ("Cc", "Cf", "Cs"):
        return char
    return f"\\u{ord(char):04x}" if ord(char) > 0xFF else f"\\x{ord(char):02x}"
