"""What a repository says: its commits and their files. git runs as the app's user, and knows its login by memory alone.

`params` are those of webops_fetch; `source` among them is the program that does it (plugins/programs/fetch.py).
"""

from __future__ import annotations

import json
import os
import pwd
import subprocess

from ansible.module_utils.webops_unit import Refused, run_task

MOST_TOLD = 8 << 20
PYTHON = ["/usr/bin/python3", "-IS", "-"]


def fetched(releases, params):
    """The wanted commit, fetched into the mirror by the app's one-shot unit, with what its files say."""
    job = {
        "argv": [*PYTHON, json.dumps(asked(releases, params))],
        "cwd": releases.base, "stdin": params["source"], "timeout": params["timeout"],
    }
    ended = run_task(params["name"], "fetch", job, handed=login(params))
    found = understood(ended.result, ended.lines, ended.timeout and params["timeout"])
    return {**found, **told(releases, params, found["commit"])}


def looked(releases, params):
    """The same without fetching."""
    return ask_git(params, {**asked(releases, params), "look": True})


def wanted_commit(params):
    """Which commit is wanted now; None where nobody can say."""
    try:
        return ask_git(params, {"repo": params["repo"], "ref": params["ref"], "look": "resolve"}).get("commit")
    except (Refused, OSError):
        return None


def told(releases, params, commit):
    """What the commit holds, written beside the mirror by its fetch. The app may write there: read with care."""
    if not params.get("told"):
        return {}
    question = asked(releases, params)
    try:
        handle = os.open(question["aside"], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as file:
            found = json.loads(file.read(MOST_TOLD))
    except (OSError, ValueError):
        found = {}
    if not isinstance(found, dict) or found.get("commit") != commit:
        found = ask_git(params, {**question, "look": "told", "commit": commit})
    return {"listing": found["listing"], "files": found["files"]}


def asked(releases, params):
    return {"repo": params["repo"], "ref": params.get("commit") or params["ref"],
            "since": (releases.live() or {}).get("commit"),
            "mirror": os.path.join(releases.base, "shared", "repo.git"), "told": params.get("told"),
            "aside": os.path.join(releases.base, "shared", "told.json") if params.get("told") else None}


def ask_git(params, question):
    """The program's answer, asked as the app's user; before there is one, as ourselves, who then fetch nothing."""
    become = ["sudo", "-n", "-u", "wo-" + params["name"]] if has_user(params) and not is_nobody() else []
    # sudo lets no variable through, and this way none is in a file or among arguments either.
    program = f"import os\nos.environ.update({login(params)!r})\n{params['source']}"
    try:
        ended = subprocess.run([*become, *PYTHON, json.dumps(question)], input=program, capture_output=True,
                               text=True, check=False, cwd="/", timeout=params["timeout"])
    except subprocess.TimeoutExpired:
        return understood({}, [], params["timeout"])
    lines = (ended.stdout + ended.stderr).splitlines()
    report = next((line for line in lines if line.startswith("webops-result ")), None)
    return understood(json.loads(report.split(" ", 1)[1]) if report else {}, lines, False)


def login(params):
    """What opens the repository, as a variable for the program that fetches; nothing where it is public."""
    given = params["login"] or {}
    return {"WEBOPS_LOGIN": json.dumps(given)} if given.get("token") or given.get("key") else {}


def has_user(params):
    try:
        pwd.getpwnam("wo-" + params["name"])
    except KeyError:
        return False
    return True


def is_nobody():
    return os.geteuid() == pwd.getpwnam("nobody").pw_uid


def understood(result, lines, timeout):
    if timeout:
        raise Refused(f"The repository did not answer within {timeout} seconds.",
                      "Look whether this server reaches it, then run this again.", lines)
    if "failed" in result:
        raise Refused(result["failed"], result.get("next", ""), lines)
    if "commit" not in result:
        raise Refused("The code could not be fetched.", "The last lines say why.", lines)
    return result
