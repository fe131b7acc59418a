#!/usr/bin/python
"""Build a release in the app's one-shot unit."""

from __future__ import annotations

DOCUMENTATION = r"""
module: webops_build
short_description: Build a release as the app's own user
description:
  - Runs as webops-deploy. The build runs in the one-shot unit C(build), where cancel and later runs can stop it.
  - A release whose build is there already is left as it is; with O(asks) it is asked what is pending.
options:
  name: {description: The resource., type: str, required: true}
  sort: {description: What is built., type: str, choices: [django, site], required: true}
  release: {description: "The release, as C(webops_fetch) gave it. Empty in check mode where it follows.", type: dict}
  arguments: {description: What the build program wants to know., type: dict, default: {}}
  environment: {description: Variables beside those of the release., type: dict, default: {}}
  asks:
    description: Whether variables or bindings are others than those that serve, so that it may find another database.
    type: bool
    default: false
  moved:
    description: Whether it is known that the database is another one, which check mode cannot ask.
    type: bool
    default: false
  timeout: {description: Seconds., type: int, default: 900}
  confirmed:
    description: "Migrations that may take something away; C(*) stands for all of them."
    type: list
    elements: str
    default: []
  source: {description: The program that builds; the action plugin fills it in., type: str, required: true}
author: WebOps
"""
RETURN = r"""
release:
  description: The release, with what its build found out.
  type: dict
  returned: always
pending:
  description: "Migrations that the database does not have yet; C(null) where that is not known before they run."
  type: list
  returned: always
output:
  description: The last lines of the build.
  type: list
  returned: when a build ran
"""

import json
import os
import time

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.webops_release import Releases
from ansible.module_utils.webops_unit import Refused, run_task

SHOWN = 60


def main():
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "sort": {"type": "str", "required": True, "choices": ["django", "site"]},
            "release": {"type": "dict"},
            "arguments": {"type": "dict", "default": {}},
            "environment": {"type": "dict", "default": {}},
            "asks": {"type": "bool", "default": False},
            "moved": {"type": "bool", "default": False},
            "timeout": {"type": "int", "default": 900},
            "confirmed": {"type": "list", "elements": "str", "default": []},
            "source": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    release = module.params["release"]
    built = bool(release and release.get("built"))
    if built and (module.check_mode or not module.params["asks"]):
        pending = None if module.params["moved"] and module.check_mode else []
        module.exit_json(changed=False, release=release, pending=pending, webops_summary="already built")
    if module.check_mode:
        module.exit_json(changed=True, release=release, pending=None, msg="follows: the code is fetched first")
    try:
        do = ask if built else build
        module.exit_json(**do(Releases(module.params["name"]), release, module.params))
    except Refused as refused:
        module.fail_json(msg=str(refused), next=refused.next, journal=refused.journal)


def ask(releases, release, params):
    found = run(releases, release, params, built=release["project"]).result
    refuse_unconfirmed(releases, found.get("takes_away", {}), params["confirmed"])
    return {"changed": False, "release": release, "pending": found.get("pending"), "webops_summary": "already built"}


def build(releases, release, params):
    began = time.monotonic()
    ended = run(releases, release, params)
    project = ended.result
    pending = project.pop("pending", None)
    takes_away = project.pop("takes_away", {})
    release = {**release, "built": round(time.monotonic() - began, 1), "project": project}
    releases.save(release)
    refuse_unconfirmed(releases, takes_away, params["confirmed"])
    return {"changed": True, "release": release, "pending": pending, "output": ended.lines[-SHOWN:],
            "webops_summary": summary(params["sort"], project)}


def run(releases, release, params, **more):
    """The build program in its unit; Refused where it does not come to its end."""
    ended = run_task(params["name"], "build", job(releases, release, params, more))
    if ended.timeout:
        raise Refused(f"The build was not done after {params['timeout']} seconds and was stopped.",
                      "Give it a longer time-out, or look in the last lines for what it waits for.", ended.lines)
    project = ended.result
    if "failed" in project or ended.code:
        raise Refused(project.get("failed", f"The build ended with {ended.code}."),
                      project.get("next", "The last lines say why. What served before goes on serving."), ended.lines)
    return ended


def refuse_unconfirmed(releases, takes_away, confirmed):
    """Before the first release nothing is there that could be lost."""
    left = {name: words for name, words in takes_away.items() if name not in confirmed and "*" not in confirmed}
    if left and releases.live():
        said = "; ".join(f"{name} {', '.join(words)}" for name, words in left.items())
        raise Refused(
            f"Migrations take something away: {said}.",
            "Nothing was migrated, and the release before serves on. Until traffic moves it still needs what goes, and "
            "after a rollback too. If that is meant, plan it and confirm there, or apply with these as confirmed "
            "migrations: " + ", ".join(left))


def job(releases, release, params, more):
    live = releases.live() or {}
    paths = {
        "mirror": os.path.join(releases.base, "shared", "repo.git"),
        "cache": os.path.join(releases.base, "shared", "cache"),
        "release": releases.directory_of(release),
        "public": os.path.join(releases.base, "public", release["build"]),
        "previous": releases.directory_of(live) if live.get("built") else None,
        "commit": release["commit"],
    }
    return {
        "argv": ["/usr/bin/python3", "-I", "-", json.dumps({**params["arguments"], **paths, **more})],
        "cwd": releases.base, "stdin": params["source"], "timeout": params["timeout"],
        "env_files": releases.env_files(release["id"]),
        "env": {name: fill(value, release) for name, value in params["environment"].items() if name},
    }


def fill(value, release):
    """`{build}` in a value of the role stands for the directory of this build."""
    return str(value).replace("{build}", release["build"])


def summary(sort, project):
    files = "{} files".format(project.get("static", 0))
    if sort == "site":
        return files
    return "Django {} · {} packages · {} static {}".format(
        project.get("django", "?"), project.get("requirements", 0), project.get("static", 0), "files")


if __name__ == "__main__":
    main()
