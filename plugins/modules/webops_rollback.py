#!/usr/bin/python
"""Let traffic go back to an earlier release, where it is wanted with the data of its time."""

from __future__ import annotations

DOCUMENTATION = r"""
module: webops_rollback
short_description: Go back to a release that is still on the server
description:
  - Runs as webops-deploy. Nothing is built. Code, variables and static files are those of the release; the address of
    the database and the secret key stay the current ones.
  - With C(data) the database is brought back too, to the snapshot taken when that release was left. Processes and jobs
    end first; then visitors see a maintenance page. What was there is kept as a snapshot of the release that is left
    now.
options:
  name: {description: The resource., type: str, required: true}
  release:
    description:
      - "Id of the release, a commit (7 letters or more), or C(run-12): the one that run 12 let go live. Empty: the one
        before the live one."
      - Of several with a commit the newest is meant; where the live one is among them it is refused, as nobody can say.
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
import re

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.webops_process import Processes
from ansible.module_utils.webops_release import Releases, began
from ansible.module_utils.webops_slot import Slots
from ansible.module_utils.webops_snapshots import snapshot
from ansible.module_utils.webops_switching import ARGUMENTS, Switch, alone
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
        with alone(module.params["name"], module.check_mode) as ended:
            result = roll_back(module.params, module.check_mode, ended)
    except Refused as refused:
        module.fail_json(msg=str(refused), next=refused.next, journal=refused.journal, **refused.facts)
    module.exit_json(**result)


def roll_back(params, check, ended):
    releases = Releases(params["name"])
    target = choose(releases, params["release"])
    if params["slots"]:
        Processes(releases).refuse_uninstalled(target)
    if params["data"]:
        return WithData(releases, target, params, check).run(ended)
    result = Switch(params, check, target, ended).serve("serves again")
    return {**result, "webops_plan": {"release": described(target)}}


def choose(releases, wanted):
    """The release that is meant; raises Refused with those there are."""
    live = releases.live()
    if not live:
        raise Refused(f"{releases.name} has no release yet.", "Deploy it first.")
    served = [record for record in releases.all() if record.get("served")]
    if wanted:
        found = named(served, wanted)
        refuse_ambiguous(releases, found, wanted, live)
    else:
        # By id only where the record of the one before is gone, or is from before there were such records.
        found = [one for one in served if one["id"] == live.get("before")] or \
            [one for one in served if one["id"] < live["id"]]
    if found:
        return found[-1]
    there = listed([one for one in served if one["id"] != live["id"]])
    sentence = f"There is no release '{wanted}' of {releases.name}." if wanted else \
        f"{releases.name} has no release before the live one, {live['id']}."
    raise Refused(sentence, f"There are: {there}." if there else "Deploy an earlier commit instead.")


def named(served, wanted):
    """Those that an id, a commit or a run means, oldest first. Ids differ from server to server, runs do not."""
    run = re.fullmatch("run-([0-9]+)", wanted)
    if run:
        return [one for one in served if one.get("run") == int(run[1])]
    commit = wanted if len(wanted) >= 7 else None
    return [one for one in served if wanted == one["id"] or (commit and one["commit"].startswith(commit))]


def refuse_ambiguous(releases, found, wanted, live):
    if len(found) > 1 and any(one["id"] == live["id"] for one in found):
        raise Refused(f"'{wanted}' means several releases of {releases.name}, the live one, {live['id']}, among them.",
                      f"Say which by its id or its run: {listed(found)}.")


def listed(found):
    """In words, newest first."""
    return "; ".join(f"{one['id']} ({'run-{}, '.format(one['run']) if one.get('run') else ''}{one['subject'][:60]})"
                     for one in reversed(found))


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
        self.slots = Slots(releases)
        self.switch, self.former = Switch(params, check, target), Switch(params, check, self.live)

    def run(self, ended):
        lost = self._ask("count")
        facts = {"lost": lost, "webops_plan": {"release": described(self.target), "lost": lost}}
        if self.check:
            return {**self.switch.serve(), **facts, "webops_summary": f"{self.target['id']} · {said(lost)}"}
        self._end_processes(ended)
        # From here on it is brought to an end, one way or the other, whatever becomes of the run.
        with self._maintenance():
            lost = self._serve()
        return {"changed": True, "release": self.target["id"], **facts, "lost": lost,
                "webops_summary": f"{self.target['id']} serves again with its data · {said(lost)}"}

    def _ask(self, step, **more):
        served = sorted([began(one), one["id"]] for one in self.releases.all() if one.get("served"))
        first = [began(self.target), self.target["id"]]
        since = [one for one in served if one >= first and one[1] != self.live["id"]]
        return snapshot(self.releases, self.params, step=step, since=since, release=self.live["id"], **more)

    def _end_processes(self, ended):
        """While visitors are still served: a worker may take its time to finish what it began."""
        processes = Processes(self.releases)
        try:
            processes.end()
            processes.wait_for_end(ended)
        except BaseException:
            processes.follow(self.live, self.params["environment"])
            raise

    @contextlib.contextmanager
    def _maintenance(self):
        """nginx looks for this file with every request. It goes with the first that serves again."""
        with open(self.slots.maintenance, "w"):
            pass
        try:
            yield
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.slots.maintenance)

    def _serve(self):
        """Data first, then code. Where the code cannot follow, the data go back; once traffic moved, both stay."""
        restored = None
        try:
            self.former.stop()
            # It counts again, now that nobody writes any more.
            restored = self._ask("restore")
            self.switch.serve()
        except BaseException:
            if not self._has_turned():
                self._go_back(restored)
            raise
        return restored

    def _has_turned(self):
        slot = self.slots.serving()
        return bool(slot) and (self.slots.described(slot) or {}).get("release") == self.target["id"]

    def _go_back(self, restored):
        if restored:
            try:
                self._ask("undo")
            except Refused:
                # Whoever cancels a run stops its tasks on the server, this one too.
                self._undo_at_last()
        self.former.serve()

    def _undo_at_last(self):
        try:
            self._ask("undo")
        except Refused as refused:
            raise Refused(f"Nothing serves, and the data of {self.live['id']} do not come back: {refused}",
                          f"Those of {self.target['id']} are in place: correct what keeps it from serving, then roll "
                          f"back to it without its data. Those of {self.live['id']} are kept as its snapshot.",
                          refused.journal) from None


def said(lost):
    if not lost["writes"]:
        return "nothing was written since"
    tables = ", ".join(f"{number} in {table.removeprefix('public.')}" for table, number in
                       list(lost["tables"].items())[:3])
    return f"{lost['writes']} writes since are lost ({tables})"


if __name__ == "__main__":
    main()
