#!/usr/bin/python
"""Run one program of a release to its end, in a one-shot unit."""

from __future__ import annotations

DOCUMENTATION = r"""
module: webops_task
short_description: Run one program of a release to its end, as the app's own user
description:
  - Runs as webops-deploy. The program runs in a one-shot unit of the app, with the release's code and variables.
  - Without C(release) it is the live one.
  - What a person's command (C(unit=command)) writes is shown while it goes on, by the action plugin of the same name.
options:
  name: {description: The resource., type: str, required: true}
  unit: {description: Instance of the one-shot unit., type: str, choices: [migrate, release, command], required: true}
  release: {description: "The release, as C(webops_build) gave it.", type: dict}
  argv:
    description: Arguments after the release's Python, such as C(manage.py) and C(migrate).
    type: list
    elements: str
    default: []
  commands:
    description: Instead of C(argv), commands of the repository, one after the other; each a list of words.
    type: list
    elements: list
    default: []
  environment: {description: Variables beside those of the release., type: dict, default: {}}
  timeout: {description: Seconds., type: int, default: 900}
  sentence: {description: What to say when it fails., type: str, default: The command failed.}
  then: {description: What to do next when it fails., type: str, default: The last lines say why.}
  summary: {description: A regular expression; what it finds in the lines is the summary., type: str, default: ""}
  reached:
    description: "When it fails: begins a sentence that ends with the last of what C(summary) found."
    type: str
    default: ""
  going: {description: "What the call before said; the action plugin's.", type: dict, default: {}}
author: WebOps
"""
RETURN = r"""
output:
  description: What the program wrote.
  type: list
  returned: always
found:
  description: What C(summary) found.
  type: list
  elements: str
  returned: always
"""

import re

from ansible.module_utils import webops_going
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.webops_process import place
from ansible.module_utils.webops_release import Releases
from ansible.module_utils.webops_unit import Refused, journal, run_task, stopped


def main():
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "unit": {"type": "str", "required": True, "choices": ["migrate", "release", "command"]},
            "release": {"type": "dict"},
            "argv": {"type": "list", "elements": "str", "default": []},
            "commands": {"type": "list", "elements": "list", "default": []},
            "environment": {"type": "dict", "default": {}},
            "timeout": {"type": "int", "default": 900},
            "sentence": {"type": "str", "default": "The command failed."},
            "then": {"type": "str", "default": "The last lines say why."},
            "summary": {"type": "str", "default": ""},
            "reached": {"type": "str", "default": ""},
            "going": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    if module.check_mode:
        what = [module.params["argv"]] if module.params["argv"] else module.params["commands"]
        module.exit_json(changed=True, output=[], found=[], msg="follows: " + "; ".join(map(shown, what)))
    try:
        module.exit_json(**run(Releases(module.params["name"]), module.params))
    except Refused as refused:
        module.fail_json(msg=str(refused), next=refused.next, journal=refused.journal, output=refused.journal,
                         **refused.facts)


def run(releases, params):
    release = params["release"] or releases.live()
    if not release or not release.get("project"):
        raise Refused(f"{params['name']} has no release yet.", "Deploy it first.")
    lines = []
    for job in jobs(releases, release, params):
        words = job.pop("words")
        job.update(env_files=releases.env_files(release["id"]), timeout=params["timeout"])
        if params["unit"] == "command":
            return watch(params, job, words)
        lines += outcome(params, words, run_task(params["name"], params["unit"], job))
    found = matches(params["summary"], lines)
    return {"changed": True, "output": lines, "found": found,
            "webops_summary": summary(found) if params["summary"] else (lines or ["done"])[-1][:120]}


def jobs(releases, release, params):
    """What is run, where and with which variables: the project's Python, or commands of the repository."""
    if not params["commands"]:
        project = release["project"]
        environment = {"DJANGO_SETTINGS_MODULE": project["settings"],
                       **{name: str(value).replace("{build}", release["build"])
                          for name, value in params["environment"].items() if name}}
        return [{"argv": [project["python"], *params["argv"]], "words": shown(params["argv"]), "cwd": project["cwd"],
                 "env": environment}]
    where = place(releases, release, params["environment"])
    if params["unit"] == "command":
        where["cwd"] = release["project"]["cwd"]  # as in a terminal
    return [{"argv": argv, "words": shown(argv), **where} for argv in params["commands"]]


def watch(params, job, words):
    """A call begins it, those that follow look: what it wrote meanwhile, and at last the same as of any other."""
    name, unit = params["name"], params["unit"]
    going = params["going"] or webops_going.begin(name, unit, job)
    said, ended = webops_going.look(going)
    if ended is None:
        return {"changed": True, "going": going, "said": said}
    try:
        if ended.code is None:
            raise stopped(name, unit, ended.lines or journal(going["unit"], going["since"]))
        lines = outcome(params, words, ended)
    except Refused as refused:
        refused.facts["said"] = said
        raise
    return {"changed": True, "said": said, "output": lines, "found": [],
            "webops_summary": (lines or ["done"])[-1][:120]}


def outcome(params, words, ended):
    """The lines of one that ended well. Refused: it did not."""
    if ended.timeout:
        raise Refused(f"'{words}' was not done after {params['timeout']} seconds and was stopped.",
                      then(params, ended), ended.lines)
    if ended.code:
        sentence = params["sentence"] if params["argv"] else f"{params['sentence']} ({words})"
        raise Refused(failure(sentence, ended), then(params, ended), ended.lines)
    return ended.lines


def then(params, ended):
    found = matches(params["summary"], ended.lines) if params["reached"] else []
    return f"{params['reached']} {found[-1]}. {params['then']}" if found else params["then"]


def shown(argv):
    return argv[2] if argv[:2] == ["/bin/sh", "-c"] and len(argv) == 3 else " ".join(argv)


def failure(sentence, ended):
    """The sentence, with the last line: in Python that is the one that names the error."""
    last = next((line for line in reversed(ended.lines) if line.strip()), "")
    return f"{sentence.rstrip('.')}: {last[:300]}" if last else f"{sentence.rstrip('.')} (it ended with {ended.code})."


def matches(expression, lines):
    return [match[1] for line in lines if (match := re.search(expression, line))] if expression else []


def summary(found):
    return ", ".join(found[:2]) + (f" and {len(found) - 2} more" if len(found) > 2 else "") or "nothing to do"


if __name__ == "__main__":
    main()
