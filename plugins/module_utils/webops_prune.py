"""Builds that no release needs any more are deleted, by the app's own user and without a run waiting for it."""

from __future__ import annotations

import os

from ansible.module_utils.webops_unit import systemctl, write_json

# Everything but what belongs to the named builds and releases: what an interrupted run left behind goes too.
PROGRAM = """
import os, shutil, sys
doomed = [os.path.join(top, name) for top in ("releases", "public", "shared/snapshots") if os.path.isdir(top)
          for name in os.listdir(top) if name.split(".")[0] not in sys.argv[1:]]
for path in doomed:
    shutil.rmtree(path, ignore_errors=True) if os.path.isdir(path) else os.unlink(path)
    print("deleted", path)
"""


def prune(releases, keep, besides=None):
    """Keep the newest `keep` releases that served, the live one and `besides`; start deleting the rest."""
    forgotten = releases.forget(keep, besides)
    kept = releases.all()
    needed = sorted({record["build"] for record in kept} | {record["id"] for record in kept})
    if not forgotten and not unneeded(releases, needed):
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
