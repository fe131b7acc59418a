"""Snapshots of an app's database, taken and brought back by the app's own user in a one-shot unit."""

from __future__ import annotations

import json
import os

from ansible.module_utils.webops_unit import Refused, run_task

PYTHON = ["/usr/bin/python3", "-I", "-"]


def snapshot(releases, params, **wanted):
    """One step of plugins/programs/snapshot.py; its result. Raises Refused in its words."""
    wanted = {**wanted, "variable": params["variable"],
              "directory": os.path.join(releases.base, "shared", "snapshots")}
    ended = run_task(params["name"], "snapshot", {
        "argv": [*PYTHON, json.dumps(wanted)], "cwd": releases.base, "stdin": params["source"],
        "env_files": [os.path.join(releases.env, "bindings.json")], "timeout": params["timeout"],
    })
    if "failed" in ended.result:
        raise Refused(ended.result["failed"], ended.result.get("next", ""), ended.lines)
    if ended.timeout:
        raise Refused(f"The database was not done after {params['timeout']} seconds, and was let alone.",
                      "Raise the time-out of commands, then run this again.", ended.lines)
    if ended.code:
        raise Refused("The snapshot of the database ended in an error.", "The last lines say why.", ended.lines)
    return ended.result
