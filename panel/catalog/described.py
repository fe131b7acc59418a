"""A kind as plain data: what the API shows and what the command line makes its options from."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from panel.catalog.kinds import Action, Kind, Parameter


def described(kind: Kind) -> dict[str, Any]:
    """Everything that a client needs to offer this kind; nothing of where it lies."""
    return {
        "name": kind.name, "label": kind.label, "summary": kind.summary, "icon": kind.icon,
        "title": kind.title, "link": kind.link, "addon": kind.addon, "groups": list(kind.groups),
        "offers": list(kind.offers),
        "actions": {name: _action(action) for name, action in kind.actions.items()},
        "includes": [{"kind": one.kind, "as": one.suffix} for one in kind.includes],
        "presets": [asdict(one) for one in kind.presets.all], "presets_label": kind.presets.label,
        "presets_dated": kind.presets.dated,
    }


def _action(action: Action) -> dict[str, Any]:
    return {
        "name": action.name, "label": action.label, "summary": action.summary, "help": action.help,
        "privilege": action.privilege, "dangerous": action.dangerous,
        "parameters": [_parameter(one) for one in action.parameters],
    }


def _parameter(one: Parameter) -> dict[str, Any]:
    return {
        "name": one.name, "key": one.key, "type": one.type, "elements": one.elements, "choices": list(one.choices),
        "required": one.required, "secret": one.secret, "default": one.default, "label": one.label, "help": one.help,
        "format": one.format, "group": one.group, "suboptions": [_parameter(sub) for sub in one.suboptions],
    }
