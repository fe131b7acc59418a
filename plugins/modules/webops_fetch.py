#!/usr/bin/python
"""Find out which release is wanted: the commit, the build, the variables."""

from __future__ import annotations

DOCUMENTATION = r"""
module: webops_fetch
short_description: Fetch the wanted commit and write down the release that it makes
description:
  - Runs as webops-deploy. git itself runs as the app's user, in its one-shot unit C(fetch).
  - Nothing new (same commit, inputs and variables as the live release) means no new release and C(changed=false).
  - The same commit and inputs with other variables make a new release of the same build.
  - In check mode it looks at the repository without fetching; where the app is not there yet, the release "follows".
options:
  name: {description: The resource., type: str, required: true}
  repo: {description: Address of the repository. https or ssh., type: str, required: true}
  ref: {description: "Branch, tag or commit.", type: str, required: true}
  inputs: {description: Whatever else a build depends on., type: dict, default: {}}
  other_variables: {description: Whether M(webops_environment) holds other variables ready., type: bool, required: true}
  variables_build: {description: Whether a build depends on the variables., type: bool, default: false}
  keep: {description: Releases to keep., type: int, default: 5}
  slots: {description: Whether processes serve it., type: bool, default: true}
  argv: {description: "Their program, as for M(webops_switch).", type: list, elements: str, default: []}
  environment: {description: "Their variables beside those of the release.", type: dict, default: {}}
  timeout: {description: Seconds., type: int, default: 600}
  source: {description: The program that fetches; the action plugin fills it in., type: str, required: true}
author: WebOps
"""
RETURN = r"""
release:
  description: The release that shall be live. None in check mode where it follows.
  type: dict
  returned: always
serves:
  description: Whether it serves already, just as wanted, so that nothing is left to do.
  type: bool
  returned: always
build_needed:
  description: Whether its build is still to come.
  type: bool
  returned: always
migrations:
  description: Migration files that are new since the live release.
  type: list
  returned: always
"""

import json
import os
import pwd
import subprocess

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.webops_prune import prune
from ansible.module_utils.webops_release import Releases, fingerprint
from ansible.module_utils.webops_slot import Slots
from ansible.module_utils.webops_unit import Refused, run_task

PYTHON = ["/usr/bin/python3", "-IS", "-"]


def main():
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "repo": {"type": "str", "required": True},
            "ref": {"type": "str", "required": True},
            "inputs": {"type": "dict", "default": {}},
            "other_variables": {"type": "bool", "required": True},
            "variables_build": {"type": "bool", "default": False},
            "keep": {"type": "int", "default": 5},
            "slots": {"type": "bool", "default": True},
            "argv": {"type": "list", "elements": "str", "default": []},
            "environment": {"type": "dict", "default": {}},
            "timeout": {"type": "int", "default": 600},
            "source": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    releases = Releases(module.params["name"])
    try:
        result = look(releases, module.params) if module.check_mode else fetch(releases, module.params)
    except Refused as refused:
        module.fail_json(msg=str(refused), next=refused.next, journal=refused.journal)
    module.exit_json(**result, serves=not result["changed"] and serves(releases, module.params, result["release"]))


def serves(releases, params, release):
    if params["slots"]:
        return Slots(releases).serves(release, params["argv"], params["environment"])
    return os.path.lexists(os.path.join(releases.live_directory, "current"))


def fetch(releases, params):
    refuse_unprepared(releases)
    job = {
        "argv": [*PYTHON, json.dumps({**asked(params), "mirror": os.path.join(releases.base, "shared", "repo.git")})],
        "cwd": releases.base, "stdin": params["source"], "timeout": params["timeout"],
    }
    ended = run_task(params["name"], "fetch", job)
    found = understood(ended.result, ended.lines, ended.timeout and params["timeout"])
    return decide(releases, params, found, write=True)


def look(releases, params):
    """What would be found; git runs as the app's user, who may not be there yet."""
    user = "wo-" + params["name"]
    try:
        pwd.getpwnam(user)
    except KeyError:
        return {"changed": True, "release": None, "build_needed": True, "migrations": [],
                "msg": "follows: the app's own user fetches the code, and is still to come"}
    argv = ["sudo", "-n", "-u", user, *PYTHON, json.dumps({**asked(params), "look": True})]
    try:
        ended = subprocess.run(argv, input=params["source"], capture_output=True, text=True, check=False, cwd="/",
                               timeout=params["timeout"])
    except subprocess.TimeoutExpired:
        return understood({}, [], params["timeout"])
    lines = (ended.stdout + ended.stderr).splitlines()
    report = next((line for line in lines if line.startswith("webops-result ")), None)
    found = understood(json.loads(report.split(" ", 1)[1]) if report else {}, lines, False)
    return decide(releases, params, found, write=False)


def refuse_unprepared(releases):
    if not releases.prepared():
        raise Refused(
            f"Needs Apply, because {releases.name} is not on this server yet.",
            "Apply the resource once; after that this action works by itself.",
        )


def asked(params):
    return {"repo": params["repo"], "ref": params["ref"]}


def understood(result, lines, timeout):
    if timeout:
        raise Refused(f"The repository did not answer within {timeout} seconds.",
                      "Look whether this server reaches it, then run this again.", lines)
    if "failed" in result:
        raise Refused(result["failed"], result.get("next", ""), lines)
    if "commit" not in result:
        raise Refused("The code could not be fetched.", "The last lines say why.", lines)
    return result


def decide(releases, params, found, write):
    """Compare what is wanted with what is live, and write down a new release where they differ."""
    live = releases.live() or {}
    inputs = fingerprint({"repo": params["repo"], **params["inputs"]})
    other = params["other_variables"]
    same_build = (live.get("commit") == found["commit"] and live.get("inputs") == inputs
                  and not (other and params["variables_build"]))
    known = set(live.get("migration_files", []))
    result = {
        "webops_summary": "{} · {}".format(found["commit"][:7], found["subject"]),
        "commit": found["commit"], "subject": found["subject"], "build_needed": not same_build,
        "migrations": [] if same_build else [name for name in found["migrations"] if name not in known],
    }
    if same_build and not other:
        return {**result, "changed": False, "release": live}
    record = new_release(releases, params, found, inputs)
    if same_build:
        record.update({key: live[key] for key in ("build", "built", "project") if key in live})
        result["webops_summary"] += " · other variables"
    if write:
        releases.take_environment(record["id"], other)
        releases.save(record)
        # What an earlier, failed deploy left on the disk goes now.
        prune(releases, params["keep"], besides=record)
    return {**result, "changed": True, "release": record}


def new_release(releases, params, found, inputs):
    identity = releases.new_id(found["commit"])
    return {
        "id": identity, "build": identity, "repo": params["repo"], "ref": params["ref"], "inputs": inputs,
        "commit": found["commit"], "subject": found["subject"], "author": found["author"],
        "committed": found["committed"], "migration_files": found["migrations"],
    }


if __name__ == "__main__":
    main()
