"""The versions of vLLM on a server, shared by its models; the one that no model uses any more is removed."""

from __future__ import annotations

import glob
import json
import os
import shutil
import time

from ansible.module_utils.webops_lock import held
from ansible.module_utils.webops_record import RECORDS
from ansible.module_utils.webops_release import Served

HOME = "/opt/webops/engines"
PYTHON = "/usr/bin/python3"
# Raised when what is done to an installation changes: here, in webops_engine, or in what the role tells it.
FORM = 1


def directory(engine, version):
    """Where an engine lies. For another Python of the server, or made in another way, it is another one: what runs from
    the one before goes on, and nobody's files are exchanged under its feet.
    """
    return os.path.join(HOME, f"{engine}-{version}-{os.path.basename(os.path.realpath(PYTHON))}-{FORM}")


def unused(params, check):
    """Engines that no model names any more. One that still finishes its last answers is waited for."""
    names = sorted(os.listdir(HOME)) if os.path.isdir(HOME) else []
    doomed = [name for name in names if not name.startswith(".") and name not in wanted(params)]
    if not doomed or check:
        return {"changed": bool(doomed), "removed": doomed}
    with held("engines", params["timeout"]):
        # A model that came in the meantime names its engine before it installs it.
        doomed = [name for name in doomed if name not in wanted(params)]
        until = time.monotonic() + params["timeout"]
        while any(runs(name) for name in doomed) and time.monotonic() < until:
            time.sleep(1)
        doomed = [name for name in doomed if not runs(name)]
        for name in doomed:
            shutil.rmtree(os.path.join(HOME, name))
        if not [name for name in os.listdir(HOME) if not name.startswith(".")]:
            shutil.rmtree(HOME)
    return {"changed": bool(doomed), "removed": doomed, "webops_summary": ", ".join(doomed)}


def wanted(params):
    """Names of the engines that the models of this server use, or will use."""
    found = {params["keep"]}
    for path in glob.glob(os.path.join(RECORDS, "*.json")):
        name = os.path.basename(path).removesuffix(".json")
        if name != params["name"]:
            with open(path, encoding="utf-8") as file:
                found.add(json.load(file).get("engine"))
            # Until it is applied to its end, it runs from the one before.
            if live := Served(name).live():
                found.add(os.path.relpath(live["serves"]["argv"][0], HOME).partition("/")[0])
    return found


def runs(name):
    """Whether a process of this engine is there."""
    start = os.path.join(HOME, name, "").encode()
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            with open(path, "rb") as file:
                if any(part.startswith(start) for part in file.read().split(b"\0")[:2]):
                    return True
        except OSError:
            continue
    return False
