"""Builds that no release needs any more are deleted, by the app's own user and without a run waiting for it."""

from __future__ import annotations

import json
import os

from ansible.module_utils.webops_unit import systemctl, write_json

# Everything but what belongs to the named builds and releases: what an interrupted run left behind goes too. The
# commits of kept releases stay in the mirror, whatever became of their branch; then git packs it where it is time.
PROGRAM = """
import json, os, shutil, subprocess, sys
needed, commits = json.loads(sys.argv[1])
doomed = [os.path.join(top, name) for top in ("releases", "public", "shared/snapshots") if os.path.isdir(top)
          for name in os.listdir(top) if name.split(".")[0] not in needed]
for path in doomed:
    shutil.rmtree(path, ignore_errors=True) if os.path.isdir(path) else os.unlink(path)
    print("deleted", path)
def git(*words, **more):
    return subprocess.run(["git", "-c", "core.hooksPath=/dev/null", "--git-dir=shared/repo.git", *words],
                          env={**os.environ, "GIT_CONFIG_GLOBAL": os.devnull}, text=True, check=False, **more)
if os.path.isdir("shared/repo.git"):
    listed = git("for-each-ref", "--format=%(refname)", "refs/webops/kept", capture_output=True).stdout.split()
    wanted = {"refs/webops/kept/" + commit: commit for commit in commits}
    git("update-ref", "--stdin", input="".join(
        [f"update {name} {commit}\\n" for name, commit in wanted.items()]
        + [f"delete {name}\\n" for name in listed if name not in wanted]))
    git("gc", "--auto", "--quiet")
"""


def prune(releases, keep, besides=None):
    """Keep the newest `keep` releases that served, the live one and `besides`; start deleting the rest."""
    forgotten = releases.forget(keep, besides)
    kept = releases.all()
    needed = sorted({record["build"] for record in kept} | {record["id"] for record in kept})
    if not forgotten and not unneeded(releases, needed):
        return
    told = json.dumps([needed, sorted({record["commit"] for record in kept})])
    job = {"id": "prune", "argv": ["/usr/bin/python3", "-I", "-", told], "cwd": releases.base, "stdin": PROGRAM}
    write_json(os.path.join(releases.env, "task-prune.json"), job, 0o640)
    systemctl("start", "--no-block", f"wo-{releases.name}.task@prune.service")


def unneeded(releases, needed):
    """Whether something lies there for nobody; `public` can be read by all, `releases` by the app alone."""
    try:
        return bool(set(os.listdir(os.path.join(releases.base, "public"))) - set(needed))
    except OSError:
        return False
