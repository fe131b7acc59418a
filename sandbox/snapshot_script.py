# Plain strings for paths: there are a hundred thousand of them. Nothing is made in /tmp, it is only left out.
# ruff: noqa: PTH115, PTH118, PTH123, S108
"""Runs in a server: prints what is there, as sorted lines.

What changes by itself on an idle server (logs, caches, counters) is left out.
"""

import grp
import hashlib
import os
import pwd
import stat
import subprocess
from collections.abc import Iterator

SKIPPED = ("/proc", "/sys", "/dev", "/run", "/tmp", "/var/tmp", "/var/log", "/var/cache", "/var/lib/apt",
           "/var/lib/systemd", "/var/lib/dpkg", "/var/lib/ucf", "/root/.ansible", "/root/.cache")
PASSING = (".dpkg-old", ".pyc", "/.updated", "/ld.so.cache", ".lock", "/passwd-", "/group-", "/shadow-", "/gshadow-",
           "/subuid-", "/subgid-")
# PostgreSQL's own files come and go as it works: databases and roles are listed by name instead.
ENGINE = "/var/lib/postgresql/"
UNIT_TYPES = "--type=service,socket,timer,path,mount"
PASSING_UNITS = ("user@", "user-runtime-dir@", "run-", "session-")


USERS = {entry.pw_uid: entry.pw_name for entry in pwd.getpwall()}
GROUPS = {entry.gr_gid: entry.gr_name for entry in grp.getgrall()}


def owner(status: os.stat_result) -> str:
    return f"{USERS.get(status.st_uid, status.st_uid)}:{GROUPS.get(status.st_gid, status.st_gid)}"


def describe(path: str) -> str:
    status = os.lstat(path)
    line = f"file {path} {stat.filemode(status.st_mode)} {owner(status)}"
    if stat.S_ISLNK(status.st_mode):
        return f"{line} -> {os.readlink(path)}"
    if stat.S_ISREG(status.st_mode) and not path.startswith(("/usr/", "/boot/")):
        with open(path, "rb") as file:
            return f"{line} {hashlib.sha256(file.read()).hexdigest()[:16]}"
    return line


def belongs(folder: str) -> bool:
    """Whether a directory is looked into; what is mounted is another's (an index of packages that the host lends)."""
    return folder not in SKIPPED and not folder.endswith("/__pycache__") and not os.path.ismount(folder)


def files() -> Iterator[str]:
    for top, folders, names in os.walk("/"):
        folders[:] = [name for name in folders if belongs(os.path.join(top, name))]
        for name in folders + names:
            path = os.path.join(top, name)
            if path.endswith(PASSING) or path.startswith(ENGINE):
                continue
            try:
                yield describe(path)
            except FileNotFoundError:
                continue


def said(*argv: str) -> list[str]:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return []
    return done.stdout.splitlines() if done.returncode == 0 else []


def systemctl(*argv: str) -> list[str]:
    """An answer that did not come is an error: an empty list would look as if everything had gone."""
    argv = ("systemctl", *argv, "--no-legend", "--no-pager", "--plain")
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()


def units() -> Iterator[str]:
    for line in systemctl("list-unit-files"):
        name, state = line.split()[:2]
        if not name.startswith(PASSING_UNITS):
            yield f"unit-file {name} {state}"
    for line in systemctl("list-units", "--all", UNIT_TYPES):
        name, _, active = line.split()[:3]
        if active in ("active", "failed") and not name.startswith(PASSING_UNITS):
            yield f"unit {name} {active}"


def databases() -> Iterator[str]:
    for query, word in (("select datname from pg_database", "database"), ("select rolname from pg_roles", "role")):
        for name in said("runuser", "-u", "postgres", "--", "psql", "-XAtqc", query):
            yield f"{word} {name}"


def people() -> Iterator[str]:
    for user in pwd.getpwall():
        yield f"user {user.pw_name} {user.pw_uid} {user.pw_dir} {user.pw_shell} {user.pw_gecos}"
        for line in said("crontab", "-l", "-u", user.pw_name):
            yield f"crontab {user.pw_name} {line}"
    for group in grp.getgrall():
        yield f"group {group.gr_name} {group.gr_gid} {','.join(group.gr_mem)}"


def main() -> None:
    packages = said("dpkg-query", "-W", "-f", "package ${binary:Package} ${db:Status-Abbrev}\n")
    os.chdir("/")
    print("\n".join(sorted([*people(), *packages, *files(), *units(), *databases()])))


main()
