"""The link: what is not a run. One SSH connection per server, for observed state, journals and questions.

`python -m panel.link` is a process of its own beside the worker. Other processes speak to it through Redis,
with `panel.link.client`; they hold no SSH key. `docs/link.md` tells how it works.
"""
