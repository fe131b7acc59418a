#!/usr/bin/python
"""Let traffic go back to an earlier release, where it is wanted with the data of its time."""

from __future__ import annotations

DOCUMENTATION = r"""
module: webops_rollback
short_description: Go back to a release that is still on the server
description:
  - Runs as webops-deploy. Nothing is built. Code, variables and static files are those of the release; the address of
    the database and the secret key stay the current ones.
  - With C(data) the database is brought back too, to the snapshot taken when that release was left. Meanwhile visitors
    see a maintenance page. What was there is kept as a snapshot of the release that is left now.
options:
  name: {description: The resource., type: str, required: true}
  release:
    description: "Id of the release, or a commit (7 letters or more). Empty: the one before the live one."
    type: str
    default: ""
  data: {description: Whether the database goes back too., type: bool, default: false}
  variable: {description: Variable of the database's address., type: str, default: DATABASE_URL}
  slots: {description: Whether processes serve it., type: bool, default: true}
  argv: {description: "As for M(webops_switch).", type: list, elements: str, default: []}
  environment: {description: Variables beside those of the release., type: dict, default: {}}
  health: {description: "C({host, path, status, timeout, tries})", type: dict, default: {}}
  keep: {description: Releases to keep., type: int, default: 5}
  run: {description: "The run that does it, C({id, actor}); the action plugin fills it in.", type: dict, default: {}}
  timeout: {description: Seconds for the database., type: int, default: 1800}
  source: {description: The program; the action plugin fills it in., type: str, required: true}
author: WebOps
"""
RETURN = r"""
release:
  description: Id of the release that serves now.
  type: str
  returned: always
lost:
  description: "What was written since the snapshot, and is not there any more: C({writes, tables, at, snapshot})."
  type: dict
  returned: with data
"""

import contextlib
import os

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.webops_release import Releases, began
from ansible.module_utils.webops_snapshots import snapshot
from ansible.module_utils.webops_switching import ARGUMENTS, Switch
from ansible.module_utils.webops_unit import Refused


def main():
    module = AnsibleModule(
        argument_spec={
            **ARGUMENTS,
            "release": {"type": "str", "default": ""},
            "data": {"type": "bool", "default": False},
            "variable": {"type": "str", "default": "DATABASE_URL"},
            "timeout": {"type": "int", "default": 1800},
            "source": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(**roll_back(module.params, module.check_mode))
    except Refused as refused:
        module.fail_json(msg=str(refused), next=refused.next, journal=refused.journal, **refused.facts)


def roll_back(params, check):
    releases = Releases(params["name"])
    target = choose(releases, params["release"])
    if params["data"]:
        return WithData(releases, target, params, check).run()
    result = Switch(params, check, target).serve("serves again")
    return {**result, "webops_plan": {"release": described(target)}}


def choose(releases, wanted):
    """The release that is meant; raises Refused with those there are."""
    live = releases.live()
    if not live:
        raise Refused(f"{releases.name} has no release yet.", "Deploy it first.")
    served = [record for record in releases.all() if record.get("served")]
    if wanted:
        commit = wanted if len(wanted) >= 7 else None
        found = [one for one in served if wanted == one["id"] or (commit and one["commit"].startswith(commit))]
    else:
        # By id only where the record of the one before is gone, or is from before there were such records.
        found = [one for one in served if one["id"] == live.get("before")] or \
            [one for one in served if one["id"] < live["id"]]
    if found:
        return found[-1]
    there = "; ".join(f"{one['id']} ({one['subject'][:60]})" for one in reversed(served) if one["id"] != live["id"])
    sentence = f"There is no release '{wanted}' of {releases.name}." if wanted else \
        f"{releases.name} has no release before the live one, {live['id']}."
    raise Refused(sentence, f"There are: {there}." if there else "Deploy an earlier commit instead.")


def described(release):
    return {key: release.get(key) for key in ("id", "commit", "subject", "author", "committed")}


class WithData:
    """Code, variables and data go back together: all of it, or nothing."""

    def __init__(self, releases, target, params, check):
        self.releases = releases
        self.target = target
        self.params = params
        self.check = check
        self.live = releases.live()
        if self.live["id"] == target["id"]:
            raise Refused(f"{target['id']} is the live release.", "Choose an earlier one, whose data is to come back.")
        self.flag = os.path.join(releases.live_directory, "maintenance")

    def run(self):
        lost = self._ask("count")
        facts = {"lost": lost, "webops_plan": {"release": described(self.target), "lost": lost}}
        switch = Switch(self.params, self.check, self.target)
        if self.check:
            return {**switch.serve(), **facts, "changed": True, "webops_summary": f"{self.target['id']} · {said(lost)}"}
        with self._maintenance():
            self._stop()
            # Counted again now that nobody writes any more.
            lost = self._serve(switch)
        return {"changed": True, "release": self.target["id"], **facts, "lost": lost,
                "webops_summary": f"{self.target['id']} serves again with its data · {said(lost)}"}

    def _ask(self, step, **more):
        served = sorted([began(one), one["id"]] for one in self.releases.all() if one.get("served"))
        first = [began(self.target), self.target["id"]]
        since = [one for one in served if one >= first and one[1] != self.live["id"]]
        return snapshot(self.releases, self.params, step=step, since=since, release=self.live["id"], **more)

    @contextlib.contextmanager
    def _maintenance(self):
        """nginx looks for this file with every request."""
        with open(self.flag, "w"):
            pass
        try:
            yield
        finally:
            os.unlink(self.flag)

    def _stop(self):
        Switch({**self.params, "slots": True}, False).stop()

    def _serve(self, switch):
        restored = None
        try:
            restored = self._ask("restore")
            switch.serve()
        except BaseException:
            if restored:
                self._ask("undo")
            Switch(self.params, False, self.live).start()
            raise
        return restored


def said(lost):
    if not lost["writes"]:
        return "nothing was written since"
    tables = ", ".join(f"{number} in {table.removeprefix('public.')}" for table, number in
                       list(lost["tables"].items())[:3])
    return f"{lost['writes']} writes since are lost ({tables})"


if __name__ == "__main__":
    main()
