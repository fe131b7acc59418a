#!/usr/bin/python
"""A program from the Python package index, in a virtual environment of its own, pinned by hash."""

from __future__ import annotations

DOCUMENTATION = r"""
module: webops_tool
short_description: Install a pinned program from the Python package index
description:
  - The requirement carries its hashes; whatever else the index offers is not installed.
  - The program is linked into C(/usr/local/lib/webops). Where it cannot be had, that is told and nothing fails.
options:
  name:
    description: Name of the program.
    type: str
    required: true
  requirement:
    description: A line (or continued lines) of requirements.txt with version and hashes.
    type: str
    required: true
author: WebOps
"""
EXAMPLES = r"""
- name: Install uv
  webops_tool:
    name: uv
    requirement: "{{ lookup('file', 'uv.txt') }}"
"""
RETURN = r"""
available:
  description: Whether the program is there now.
  type: bool
  returned: always
"""

import os
import re
import shutil
import subprocess

from ansible.module_utils.basic import AnsibleModule


def main():
    module = AnsibleModule(
        argument_spec={"name": {"type": "str", "required": True}, "requirement": {"type": "str", "required": True}},
        supports_check_mode=True,
    )
    name, requirement = module.params["name"], module.params["requirement"].strip() + "\n"
    if not re.fullmatch(r"[a-z][a-z0-9]*", name):
        module.fail_json(msg=f"{name!r} is no name of a program.")
    home, link = f"/opt/webops/{name}", f"/usr/local/lib/webops/{name}"
    if installed(home, link, requirement):
        module.exit_json(changed=False, available=True)
    if module.check_mode:
        module.exit_json(changed=True, available=True, webops_summary=requirement.split()[0])
    lines = install(home, requirement)
    if lines:
        # Not changed: pip inside a plain virtual environment does the same work, only slower.
        module.exit_json(changed=False, available=False, journal=lines, webops_summary=f"{name} cannot be had here")
    put_link(f"{home}/bin/{name}", link)
    module.exit_json(changed=True, available=True, webops_summary=requirement.split()[0])


def installed(home, link, requirement):
    try:
        with open(f"{home}/requirement.txt", encoding="utf-8") as file:
            return file.read() == requirement and os.readlink(link).startswith(home + "/") and os.access(link, os.X_OK)
    except OSError:
        return False


def install(home, requirement):
    """Build it anew beside the old one; what went wrong as a list of lines, empty when nothing did."""
    new = home + ".new"
    shutil.rmtree(new, ignore_errors=True)
    os.makedirs(os.path.dirname(home), mode=0o755, exist_ok=True)
    try:
        run(["python3", "-m", "venv", new])
        with open(f"{new}/requirement.txt", "w", encoding="utf-8") as file:
            file.write(requirement)
        run([f"{new}/bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps",
             "--no-compile", "--only-binary", ":all:", "--require-hashes", "-r", f"{new}/requirement.txt"])
    except subprocess.SubprocessError as error:
        shutil.rmtree(new, ignore_errors=True)
        return (getattr(error, "stdout", "") or str(error)).strip().splitlines()[-10:]
    shutil.rmtree(home, ignore_errors=True)
    os.rename(new, home)
    return []


def run(argv):
    subprocess.run(argv, check=True, text=True, stdin=subprocess.DEVNULL, timeout=600,
                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**os.environ, "PIP_NO_INPUT": "1"})


def put_link(target, link):
    new = link + ".new"
    if os.path.lexists(new):
        os.unlink(new)
    os.makedirs(os.path.dirname(link), mode=0o755, exist_ok=True)
    os.symlink(target, new)
    os.rename(new, link)


if __name__ == "__main__":
    main()
