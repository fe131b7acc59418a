#!/usr/bin/python
"""Read what somebody made by hand: what nginx serves, and the services, repositories and certificates behind it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: webops_survey
short_description: Read what is served on this server, as data
description:
  - Asks nginx for its configuration and systemd for the services that run; reads the files that these name.
  - Executes nothing of what it finds. What lies in a user's directory is read with that user's rights, so that a link
    which they planted leads nowhere that they cannot go themselves.
  - The result holds secrets.
options: {}
author: WebOps
"""
EXAMPLES = r"""
- name: Look at what is served
  webops_survey:
"""
RETURN = r"""
webops_found:
  description: C(nginx) as C(nginx -T) prints it, C(services), C(files) by path, C(repositories) by directory.
  type: dict
  returned: always
"""

import contextlib
import os
import re
import stat
import subprocess

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.webops_replaced import plain

MOST_CONFIGURATION = 1_000_000
MOST_FILE = 64 << 10
MOST = 200
ROOT = "/etc/nginx"
PROPERTIES = ("Id", "MainPID", "User", "FragmentPath", "Environment", "EnvironmentFiles")
# What a distribution ships, and what WebOps made.
THEIRS = ("/lib/systemd/", "/usr/lib/systemd/")
OURS = re.compile(r"(?:wo-|webops-)")
LISTENING_TCP, LISTENING_UNIX = "0A", 0x10000


def main():
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    text = configuration(module)
    services = read_services()
    found = {
        "nginx": text,
        "services": services,
        "files": dict(certificates(text)),
        "repositories": dict(repositories(text, services)),
    }
    module.exit_json(changed=False, webops_found=found, webops_summary=in_words(text, services))


def in_words(text, services):
    return f"{len(named(text, 'server_name'))} server names, {len(services)} services of one's own"


def configuration(module):
    """What nginx has read, "" where there is none."""
    try:
        ended = subprocess.run(["nginx", "-T", "-q"], capture_output=True, check=False, timeout=60)
    except FileNotFoundError:
        return ""
    if ended.returncode:
        module.fail_json(msg="nginx does not accept its own configuration, so nobody can say what it serves.",
                         next="Correct what the lines below name, then look again.",
                         journal=ended.stderr.decode(errors="replace").splitlines()[-15:])
    text = ended.stdout.decode(errors="replace")
    if len(text) > MOST_CONFIGURATION:
        module.fail_json(msg=f"The configuration of nginx is larger than {MOST_CONFIGURATION // 1000} KB.",
                         next="Take over its sites by hand: write their values down with webops apply nginx_vhost.")
    return text


def named(text, *directives):
    """The first words behind these directives, comments left out. Only a hint of where to look: the panel reads on."""
    words = re.findall(rf"(?<![\w-])(?:{'|'.join(directives)})\s+([^;{{}}]+);", plain(text))
    return list(dict.fromkeys(word.split()[0].strip("\"'") for word in words if word.split()))[:MOST]


def certificates(text):
    """Path and text of each certificate and key that nginx names, but for our own."""
    for name in named(text, "ssl_certificate", "ssl_certificate_key"):
        path = os.path.normpath(os.path.join(ROOT, name))
        if "$" not in path and not path.startswith("/etc/webops/"):
            found = read(path)
            if found is not None:
                yield name, found


def read_services():
    """The running services that neither the distribution nor WebOps brought."""
    listed = ask("systemctl", "list-units", "--type=service", "--state=running", "--no-legend", "--plain", "--full")
    units = [line.split()[0] for line in listed.splitlines() if line.split()][:MOST]
    if not units:
        return []
    shown = ask("systemctl", "show", f"--property={','.join(PROPERTIES)}", "--", *units)
    several = [properties(block) for block in shown.split("\n\n")]
    sockets = listening()
    return [found for one in several if is_somebodys(one) and (found := service(one, sockets))]


def properties(block):
    """What systemctl shows of one unit; what may be there several times is put together."""
    found = {}
    for line in block.splitlines():
        name, _sign, value = line.partition("=")
        found[name] = f"{found[name]} {value}" if name in found else value
    return found


def ask(*argv):
    return subprocess.run(argv, capture_output=True, text=True, errors="replace", check=False, timeout=60).stdout


def is_somebodys(unit):
    return not OURS.match(unit.get("Id", "wo-")) and not unit.get("FragmentPath", "").startswith(THEIRS)


def service(unit, sockets):
    """A service as its process shows it: that is the truth, whatever files say. None: it has just ended."""
    number = unit.get("MainPID", "0")
    try:
        directory = os.readlink(f"/proc/{number}/cwd")
        command, environment = words(number, "cmdline"), words(number, "environ")
        listens = [sockets[one] for one in opened(number) if one in sockets]
    except OSError:
        return None
    base = os.path.dirname(os.path.dirname(command[0])) if command and command[0].startswith("/") else ""
    wanted = {"manage.py": f"{directory}/manage.py", ".env": f"{directory}/.env",
              "pyvenv.cfg": f"{base}/pyvenv.cfg" if base else ""}
    files = {name: text for name, path in wanted.items() if path and (text := read(path)) is not None}
    # A process that names itself anew (setproctitle) writes over its environment; then these say it.
    named_files = re.findall(r"(/\S+) \(ignore_errors=(?:yes|no)\)", unit.get("EnvironmentFiles", ""))
    files["EnvironmentFile"] = "\n".join(text for path in named_files if (text := read(path)) is not None)
    return {"unit": unit["Id"], "directory": directory, "command": command, "environment": environment,
            "settings": unit.get("Environment", ""), "listens": list(dict.fromkeys(listens)), "files": files}


def words(number, name):
    with open(f"/proc/{number}/{name}", "rb") as file:
        return [word.decode(errors="replace") for word in file.read(MOST_FILE).split(b"\0") if word]


def opened(number):
    """Inodes of the sockets that a process and its children hold."""
    with open(f"/proc/{number}/task/{number}/children", encoding="ascii") as file:
        processes = [number, *file.read().split()]
    for one in processes:
        with contextlib.suppress(OSError):
            for descriptor in os.listdir(f"/proc/{one}/fd"):
                with contextlib.suppress(OSError):
                    found = re.fullmatch(r"socket:\[(\d+)\]", os.readlink(f"/proc/{one}/fd/{descriptor}"))
                    if found:
                        yield found[1]


def listening():
    """{inode: "8000" or "/run/shop.sock"} of all sockets that wait for connections."""
    found = {}
    for name in ("tcp", "tcp6"):
        for fields in table(name):
            if len(fields) > 9 and fields[3] == LISTENING_TCP:
                found[fields[9]] = str(int(fields[1].rpartition(":")[2], 16))
    for fields in table("unix"):
        if len(fields) == 8 and int(fields[3], 16) & LISTENING_UNIX:
            found[fields[6]] = fields[7]
    return found


def table(name):
    with contextlib.suppress(OSError), open(f"/proc/net/{name}", encoding="utf-8", errors="replace") as file:
        for line in file.readlines()[1:]:
            yield line.rstrip("\n").split(maxsplit=7 if name == "unix" else -1)


def repositories(text, services):
    """Directory that is served or worked in, and of the checkout that it lies in: its place, origin and branch."""
    directories = [name for name in named(text, "root", "alias") if name.startswith("/") and "$" not in name]
    for directory in dict.fromkeys([*directories, *(one["directory"] for one in services)]):
        found = checkout(os.path.normpath(directory))
        if found:
            yield directory, found


def checkout(directory):
    """Read, not asked of git: a repository's own configuration can make git run programs."""
    place = os.path.realpath(directory)
    while place not in ("/", "/srv", "/var", "/home", "/opt"):
        inside = os.path.join(place, ".git")
        settings, head = read(f"{inside}/config"), read(f"{inside}/HEAD")
        if settings and head:
            return {"place": place, "within": os.path.relpath(os.path.realpath(directory), place),
                    "config": settings, "head": head}
        place = os.path.dirname(place)
    return None


def read(path):
    """A file's text, read as the user whose directory it lies in: a link of theirs leads no further than they may go.

    None where there is none, where it is too large, or where anybody could have put it into root's directory.
    """
    try:
        place = os.stat(os.path.dirname(path))
        if place.st_uid == 0 and place.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return None
        ended = subprocess.run(["head", "-c", str(MOST_FILE + 1), "--", path], user=place.st_uid, group=place.st_gid,
                               extra_groups=[], capture_output=True, check=False, timeout=5, stdin=subprocess.DEVNULL,
                               cwd="/")
    except (OSError, subprocess.TimeoutExpired):
        return None
    if ended.returncode or not ended.stdout or len(ended.stdout) > MOST_FILE:
        return None
    return ended.stdout.decode(errors="replace")


if __name__ == "__main__":
    main()
