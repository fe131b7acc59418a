#!/usr/bin/python
"""The few facts about a server that WebOps keeps."""

from __future__ import annotations

DOCUMENTATION = r"""
module: webops_facts
short_description: Read the few facts about a server that WebOps keeps
description:
  - Distribution, version, processors, memory, disk, Python; read from files, in milliseconds.
options: {}
author: WebOps
"""
EXAMPLES = r"""
- name: Read the facts of the server
  webops_facts:
"""
RETURN = r"""
webops_facts:
  description: The facts.
  type: dict
  returned: always
"""

import os
import platform
import re

from ansible.module_utils.basic import AnsibleModule


def main():
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    facts = read()
    module.exit_json(changed=False, webops_facts=facts, webops_summary=in_words(facts))


def read():
    release = dict(re.findall(r'^([A-Z_]+)="?([^"\n]*)"?$', text("/etc/os-release"), re.MULTILINE))
    disk = os.statvfs("/")
    return {
        "distribution": release.get("ID", ""),
        "distribution_name": release.get("PRETTY_NAME", ""),
        "distribution_version": release.get("VERSION_ID", ""),
        "architecture": platform.machine(),
        "kernel": platform.release(),
        "hostname": platform.node(),
        "processors": len(os.sched_getaffinity(0)),
        "memory_mb": memory_mb(),
        "disk_mb": disk.f_blocks * disk.f_frsize >> 20,
        "disk_free_mb": disk.f_bavail * disk.f_frsize >> 20,
        "python_version": platform.python_version(),
    }


def text(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def memory_mb():
    found = re.search(r"^MemTotal:\s+(\d+) kB", text("/proc/meminfo"), re.MULTILINE)
    return int(found[1]) >> 10 if found else 0


def in_words(facts):
    name = facts["distribution_name"].partition(" (")[0]
    return f"{name}, {facts['processors']} processors, {facts['memory_mb'] / 1024:.1f} GB memory"


if __name__ == "__main__":
    main()
