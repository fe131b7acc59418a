"""Builds that no release needs any more are deleted, by the app's own user and without a run waiting for it."""

from __future__ import annotations

import os

from ansible.module_utils.webops_unit import systemctl, write_json

# Everything but the named builds: what an interrupted run left behind goes too.
PROGRAM = """
import os, shutil, sys
doomed = [os.path.join(top, name) for top in ("releases", "public") for name in os.listdir(top)
          if name not in sys.argv[1:]]
for path in doomed:
    shutil.rmtree(path, ignore_errors=True)
    print("deleted", path)
"""


def prune(releases, keep, besides=None):
    """Keep the newest `keep` releases that served, the live one and `besides`; start deleting the rest."""
    releases.forget(keep, besides)
    needed = sorted({record["build"] for record in releases.all()})
    if not unneeded(releases, needed):
        return
    job = {"id": "prune", "argv": ["/usr/bin/python3", "-I", "-", *needed], "cwd": releases.base, "stdin": PROGRAM}
    write_json(os.path.join(releases.env, "task-prune.json"), job, 0o640)
    systemctl("start", "--no-block", f"wo-{releases.name}.task@prune.service")


def unneeded(releases, needed):
    """Whether something lies there for nobody; `public` can be read by all, `releases` by the app alone."""
    try:
        return bool(set(os.listdir(os.path.join(releases.base, "public"))) - set(needed))
    except OSError:
        return False
