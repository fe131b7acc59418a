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
  - The variable C(webops_planned) holds it to its C(commit). An id refuses every other one; C(live) stays with the
    one that is live, and in check mode says what is newer.
options:
  name: {description: The resource., type: str, required: true}
  repo: {description: Address of the  https or ssh., type: str, required: true}
  ref: {description: "Branch, tag or commit.", type: str, required: true}
  login:
    description: What opens a private  It reaches git alone, through memory.
    type: dict
    default: {}
    suboptions:
      user: {description: "User that the token belongs to; most hosts take any.", type: str, default: x-access-token}
      token: {description: For https., type: str, default: ""}
      key: {description: "An OpenSSH private key, for ssh.", type: str, default: ""}
  inputs: {description: Whatever else a build depends on., type: dict, default: {}}
  other_variables: {description: Whether M(webops_environment) holds other variables ready., type: bool, required: true}
  names: {description: "Names of those variables, as M(webops_environment) returned them.", type: dict, default: {}}
  planned: {description: "The commit it is held to; the action plugin fills it in.", type: dict, default: {}}
  commit:
    description: Fetch this commit, whatever the ref means by now; the action plugin fills it in.
    type: str
    default: ""
  only_planned: {description: Only see whether the planned commit is still the wanted one., type: bool, default: false}
  variables_build: {description: Whether a build depends on the variables., type: bool, default: false}
  keep: {description: Releases to keep., type: int, default: 5}
  slots: {description: Whether processes serve it., type: bool, default: true}
  argv: {description: "Their program, as for M(webops_switch).", type: list, elements: str, default: []}
  environment: {description: "Their variables beside those of the release.", type: dict, default: {}}
  told: {description: "Expressions for the files that matter; the action plugin fills them in.", type: dict}
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
files:
  description: Texts of the commit's files that C(webops_contract) reads, by path.
  type: dict
  returned: when known
listing:
  description: Paths of those and of the other files that matter to it.
  type: list
  returned: when known
installed:
  description: What needed root when Apply was here last, as its record says.
  type: dict
  returned: always
build_needed:
  description: Whether its build is still to come.
  type: bool
  returned: always
webops_plan:
  description: The commit, the one that is live, those between, migrations, names of variables.
  type: dict
  returned: always
migrations:
  description: Migration files that are new since the live release.
  type: list
  returned: always
"""

import json
import os

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.webops_commit import in_plan, other_names, short, summary
from ansible.module_utils.webops_prune import prune
from ansible.module_utils.webops_release import Releases, fingerprint
from ansible.module_utils.webops_repository import fetched, has_user, is_nobody, looked, told, wanted_commit
from ansible.module_utils.webops_slot import Slots
from ansible.module_utils.webops_unit import Refused

RECORDS = "/etc/webops/resources"
LOGIN = {
    "user": {"type": "str", "default": "x-access-token"},
    "token": {"type": "str", "default": "", "no_log": True},
    "key": {"type": "str", "default": "", "no_log": True},
}


def main():
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "repo": {"type": "str", "required": True},
            "ref": {"type": "str", "required": True},
            "login": {"type": "dict", "default": {}, "options": LOGIN},
            "inputs": {"type": "dict", "default": {}},
            "other_variables": {"type": "bool", "required": True},
            "names": {"type": "dict", "default": {}},
            "planned": {"type": "dict", "default": {}},
            "commit": {"type": "str", "default": ""},
            "only_planned": {"type": "bool", "default": False},
            "variables_build": {"type": "bool", "default": False},
            "keep": {"type": "int", "default": 5},
            "slots": {"type": "bool", "default": True},
            "argv": {"type": "list", "elements": "str", "default": []},
            "environment": {"type": "dict", "default": {}},
            "told": {"type": "dict"},
            "timeout": {"type": "int", "default": 600},
            "source": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    releases = Releases(module.params["name"])
    try:
        if module.params["only_planned"]:
            refuse_other(module.params, wanted_commit(module.params))
            module.exit_json(changed=False)
        result = look(releases, module.params) if module.check_mode else fetch(releases, module.params)
    except Refused as refused:
        module.fail_json(msg=str(refused), next=refused.next, journal=refused.journal)
    serving = not result["changed"] and serves(releases, module.params, result["release"])
    module.exit_json(**result, serves=serving, installed=installed(module.params["name"]))


def serves(releases, params, release):
    if params["slots"]:
        return Slots(releases).serves(release, params["argv"], params["environment"])
    return os.path.lexists(os.path.join(releases.live_directory, "current"))


def installed(name):
    """Root's own note of what it installed; nothing where Apply was never here, or kept no such note yet."""
    try:
        with open(os.path.join(RECORDS, f"{name}.json"), encoding="utf-8") as file:
            return json.load(file).get("installed")
    except (OSError, ValueError):
        return None


def fetch(releases, params):
    refuse_unprepared(releases)
    if stays(releases, params):
        return decide(releases, params, as_live(releases, params), write=True)
    found = fetched(releases, params)
    refuse_other(params, found["commit"])
    return decide(releases, params, found, write=True)


def look(releases, params):
    """What would be found; git runs as the app's user, who may not be there yet."""
    if stays(releases, params):
        live = releases.live()
        result = decide(releases, params, as_live(releases, params), write=False)
        result["webops_plan"]["newer"] = newer(params, live)
        return result
    if not has_user(params):
        return look_first(releases, params)
    found = looked(releases, params)
    refuse_other(params, found["commit"])
    return decide(releases, params, found, write=False)


def look_first(releases, params):
    """Before the app has a user. As nobody the repository can be looked into; as ourselves only its commit is asked."""
    result = {"changed": True, "release": None, "build_needed": True, "migrations": [],
              "msg": "follows: the app's own user fetches the code, and is still to come"}
    if not is_nobody():
        return {**result, "webops_plan": {"commit": short(wanted_commit(params)), "from": None}}
    found = looked(releases, params)
    refuse_other(params, found["commit"])
    return {**result, "migrations": found["migrations"], "listing": found.get("listing"), "files": found.get("files"),
            "webops_plan": in_plan(params, found, {}, found["migrations"])}


def stays(releases, params):
    """Whether the code that serves shall stay; after the first release."""
    return params["planned"].get("commit") == "live" and bool((releases.live() or {}).get("commit"))


def as_live(releases, params):
    live = releases.live()
    return {"commit": live["commit"], "subject": live.get("subject", ""), "author": live.get("author", ""),
            "committed": live.get("committed", ""), "migrations": live.get("migration_files", []),
            **told(releases, params, live["commit"])}


def newer(params, live):
    """The commit that its branch has now, where that is another one. A repository that is away is no drift."""
    commit = wanted_commit(params)
    return short(commit) if commit and commit != live["commit"] else None


def refuse_other(params, commit):
    planned = params["planned"].get("commit")
    if planned and commit and planned not in ("live", commit):
        raise Refused(f"The plan was made for {planned[:7]}, but {params['ref']} is now {commit[:7]}.",
                      "Plan again, look at what is new, and apply that plan.")


def refuse_unprepared(releases):
    if not releases.prepared():
        raise Refused(
            f"Needs Apply, because {releases.name} is not on this server yet.",
            "Apply the resource once; after that this action works by itself.",
        )


def decide(releases, params, found, write):
    """Compare what is wanted with what is live, and write down a new release where they differ."""
    live = releases.live() or {}
    inputs = fingerprint({"repo": params["repo"], **params["inputs"]})
    other = params["other_variables"]
    same_build = (live.get("commit") == found["commit"] and live.get("inputs") == inputs
                  and not (other and params["variables_build"]))
    known = set(live.get("migration_files", []))
    result = {
        "webops_summary": summary(found),
        "commit": found["commit"], "subject": found["subject"], "build_needed": not same_build,
        "migrations": [] if same_build else [name for name in found["migrations"] if name not in known],
    }
    result.update({key: found[key] for key in ("listing", "files") if key in found})
    result["webops_plan"] = in_plan(params, found, live, result["migrations"])
    if same_build and not other:
        return {**result, "changed": False, "release": live}
    record = new_release(releases, params, found, inputs)
    result["diff"] = other_names(params.get("names", {})) if other else []
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
