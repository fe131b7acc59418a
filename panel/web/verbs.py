"""Titles of runs in English, from the label of an action: Deploy → Deploying, Deployed, was not deployed."""

from __future__ import annotations

import re

_PAST = {"run": ("ran", "run"), "make": ("made", "made"), "set": ("set", "set"), "take": ("took", "taken"),
         "put": ("put", "put"), "send": ("sent", "sent"), "give": ("gave", "given"), "bring": ("brought", "brought"),
         "write": ("wrote", "written"), "read": ("read", "read"), "build": ("built", "built"),
         "get": ("got", "got"), "begin": ("began", "begun"), "reset": ("reset", "reset")}
#: Words that stand behind the thing: make web1 ready, roll guestbook back.
_BEHIND = {"ready", "back", "up", "down", "again", "off", "on"}
#: One short vowel between two consonants in a single syllable: the last one is doubled.
_DOUBLES = re.compile(r"[^aeiou]*[aeiou][bdgklmnprt]")


def _gerund(verb: str) -> str:
    if verb.endswith("e") and not verb.endswith(("ee", "oe", "ye")):
        return verb[:-1] + "ing"
    return verb + (verb[-1] if _DOUBLES.fullmatch(verb) else "") + "ing"


def _past(verb: str) -> tuple[str, str]:
    """Simple past and participle."""
    if verb in _PAST:
        return _PAST[verb]
    if verb.endswith("e"):
        form = verb + "d"
    elif re.search(r"[^aeiou]y$", verb):
        form = verb[:-1] + "ied"
    else:
        form = verb + (verb[-1] if _DOUBLES.fullmatch(verb) else "") + "ed"
    return form, form


def _phrase(first: str, rest: list[str], thing: str) -> str:
    behind = [word for word in rest if word.lower() in _BEHIND]
    before = [word for word in rest if word.lower() not in _BEHIND]
    link = ["of"] if before else []  # Run command · guestbook: Running command of guestbook
    return " ".join([first, *before, *link, thing, *behind])


def doing(label: str, thing: str) -> str:
    """Deploying guestbook"""
    verb, *rest = label.split() or ["Do"]
    return _phrase(_gerund(verb.lower()).capitalize(), rest, thing)


def done(label: str, thing: str) -> str:
    """Deployed guestbook"""
    verb, *rest = label.split() or ["Do"]
    return _phrase(_past(verb.lower())[0].capitalize(), rest, thing)


def to_do(label: str, thing: str) -> str:
    """Deploy guestbook"""
    verb, *rest = label.split() or ["Do"]
    return _phrase(verb, rest, thing)


def not_done(label: str, thing: str) -> str:
    """guestbook was not deployed"""
    verb, *rest = label.split() or ["Do"]
    participle = " ".join([_past(verb.lower())[1], *(word for word in rest if word.lower() in _BEHIND)])
    what = [word for word in rest if word.lower() not in _BEHIND]
    return f"{' '.join(what).capitalize()} of {thing} was not {participle}" if what else f"{thing} was not {participle}"
