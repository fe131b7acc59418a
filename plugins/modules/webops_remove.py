#!/usr/bin/python
"""Take what an app or a site brought away from a server: units, rights, files; its data only when named."""

from __future__ import annotations

DOCUMENTATION = r"""
module: webops_remove
short_description: Take a resource's units, rights and files away
description:
  - Runs as root. What lies below directories that the app may write to is deleted as the app's own user.
  - The Unix user stays as long as data of it stays; M(webops_account) takes it away.
options:
  name: {description: The resource., type: str, required: true}
  kind: {description: Its kind; a name that belongs to another kind is refused., type: str, required: true}
  data: {description: "Directories below C(shared) that are data.", type: list, elements: str, default: []}
  keeps: {description: "Directories of the resource itself that are data.", type: list, elements: str, default: []}
  delete_data: {description: Whether the data goes too., type: bool, default: false}
author: WebOps
"""
RETURN = r"""
removed:
  description: Paths that were (or in check mode would be) removed.
  type: list
  returned: always
"""

import glob
import json
import os
import pwd
import shutil
import subprocess

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.webops_unit import ROOT, SYSTEMCTL, Refused

UNITS = "/etc/systemd/system"
# Programs that apps and sites share: the last one takes them along.
PROGRAMS = ("/usr/local/lib/webops/launch", "/usr/local/lib/webops/gunicorn.py")
# The same of one kind.
OF_KIND = {"vllm_model": ("/usr/local/lib/webops/engine", "/usr/local/lib/webops/gate")}
# What systemd keeps for a unit of the resource under a user that is made when it starts.
STATE = ("/var/lib/private/webops-{name}-gate", "/var/lib/webops-{name}-gate")
RECORDS = "/etc/webops/resources"
DEPLOY = "webops-deploy"


def main():
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "kind": {"type": "str", "required": True},
            "data": {"type": "list", "elements": "str", "default": []},
            "keeps": {"type": "list", "elements": "str", "default": []},
            "delete_data": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    try:
        removal = Removal(module.params, module.check_mode)
        removed = removal.run()
    except Refused as refused:
        module.fail_json(msg=str(refused), next=refused.next, journal=refused.journal)
    stays = removal.stays()
    module.exit_json(changed=bool(removed), removed=removed,
                     webops_summary=f"its data stays: {', '.join(stays)}" if stays else "")


class Removal:
    """One resource on its way out."""

    def __init__(self, params, check):
        self.name = params["name"]
        self.kind = params["kind"]
        self.data = [] if params["delete_data"] else params["data"]
        self.keeps = [] if params["delete_data"] else params["keeps"]
        self.check = check
        self.user = "wo-" + self.name
        self.base = os.path.join(ROOT, self.name)
        self.removed = []

    def run(self):
        self._refuse_other_kind()
        self._stop()
        units = self._units()
        for path in [*units, f"/etc/sudoers.d/{self.user}"]:
            self._unlink(path)
        for wants in sorted({os.path.dirname(path) for path in units} - {UNITS}):
            # As `systemctl disable` does.
            if not self.check and not os.listdir(wants):
                os.rmdir(wants)
        if units and not self.check:
            subprocess.run([SYSTEMCTL, "daemon-reload"], check=False)
        if not set(glob.glob(f"{UNITS}/wo-*.task@.service")) - set(units):
            for path in PROGRAMS:
                self._unlink(path)
        if self._is_last_of_kind():
            for path in OF_KIND.get(self.kind, ()):
                self._unlink(path)
        for path in STATE:
            self._unlink(path.format(name=self.name))
        self._empty()
        self._secrets()
        self._unlink(os.path.join(RECORDS, f"{self.name}.json"))
        return self.removed

    def stays(self):
        """Directories with data that are left."""
        kept = [os.path.join(self.base, "shared", name) for name in self.data]
        kept += [os.path.join(self.base, name) for name in self.keeps]
        return [path for path in kept if os.path.isdir(path)]

    def _is_last_of_kind(self):
        own = os.path.join(RECORDS, f"{self.name}.json")
        return not any(kind_of(path) == self.kind for path in glob.glob(f"{RECORDS}/*.json") if path != own)

    def _refuse_other_kind(self):
        kind = kind_of(os.path.join(RECORDS, f"{self.name}.json"))
        if kind and kind != self.kind:
            raise Refused(f"{self.name} is a resource of kind {kind} on this server, not {self.kind}.",
                          "Remove it by its own kind.")

    def _units(self):
        """Files of ours alone: the name in them ends at '@' or '.', so shop never means shop-two."""
        forms = [f"{UNITS}/{self.user}@*", f"{UNITS}/{self.user}.*", f"{UNITS}/*.wants/{self.user}@*",
                 f"{UNITS}/*.wants/{self.user}.*"]
        return sorted({path for form in forms for path in glob.glob(form)})

    def _stop(self):
        listed = subprocess.run(
            [SYSTEMCTL, "list-units", "--all", "--plain", "--no-legend", f"{self.user}@*", f"{self.user}.*"],
            capture_output=True, text=True, check=False,
        )
        units = [line.split()[0] for line in listed.stdout.splitlines() if line.strip()]
        if units and not self.check:
            subprocess.run([SYSTEMCTL, "stop", "--", *units], check=False)
            subprocess.run([SYSTEMCTL, "reset-failed", "--", *units], check=False, capture_output=True)

    def _unlink(self, path):
        if os.path.lexists(path):
            self.removed.append(path)
            if self.check:
                return
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path)
            else:
                os.unlink(path)

    def _empty(self):
        """Each directory is emptied by its owner, and taken out of root's own directory by root."""
        if not os.path.isdir(self.base):
            return
        for name in ("releases", "public", "live", "env", "shared", "data"):
            path = os.path.join(self.base, name)
            if name not in self.keeps and os.path.isdir(path) and not os.path.islink(path):
                kept = self.data if name == "shared" else []
                self._delete_below(path, [entry for entry in os.listdir(path) if entry not in kept])
                self._remove_empty(path)
        self._remove_empty(self.base)

    def _delete_below(self, directory, entries):
        paths = [os.path.join(directory, entry) for entry in entries]
        self.removed += paths
        if not paths or self.check:
            return
        owner = pwd.getpwuid(os.lstat(directory).st_uid)
        if owner.pw_name not in (self.user, DEPLOY):
            raise Refused(f"{directory} belongs to {owner.pw_name}, so it is left alone.", "Look at it on the server.")
        done = subprocess.run(["rm", "-rf", "--", *paths], user=owner.pw_uid, group=owner.pw_gid, extra_groups=[],
                              cwd="/", capture_output=True, text=True, check=False)
        if done.returncode:
            raise Refused(f"{directory} could not be emptied.", "Look at it on the server.", done.stderr.splitlines())

    def _remove_empty(self, path):
        if self.check or os.listdir(path):
            return
        os.rmdir(path)
        self.removed.append(path)

    def _secrets(self):
        directory = os.path.join("/etc/webops/secrets", self.name)
        for path in glob.glob(os.path.join(glob.escape(directory), "*")):
            self._unlink(path)
        if os.path.isdir(directory) and not self.check:
            os.rmdir(directory)


def kind_of(path):
    """What a record says that it is; None where there is none."""
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file).get("kind")
    except (OSError, ValueError):
        return None


if __name__ == "__main__":
    main()
