"""Releases of a resource, as webops-deploy wrote them down: one JSON file each below live/releases/.

A release is a build (code, environment of Python, static files in releases/<build> and public/<build>) with the
variables in env/<id>.json. Changing only the variables makes a new release of the same build.
"""

from __future__ import annotations

import calendar
import contextlib
import hashlib
import json
import os
import time

from ansible.module_utils.webops_unit import ROOT, point, write_json


class Releases:
    """The releases of one resource; `name` was checked before."""

    def __init__(self, name, root=ROOT):
        self.name = name
        self.base = os.path.join(root, name)
        self.live_directory = os.path.join(self.base, "live")
        self.directory = os.path.join(self.live_directory, "releases")
        self.env = os.path.join(self.base, "env")
        self.pointer = os.path.join(self.live_directory, "release")

    def prepared(self):
        """Whether Apply has been here."""
        return os.path.isdir(self.live_directory)

    def get(self, identity):
        return _read(os.path.join(self.directory, f"{identity}.json"))

    def all(self):
        """Oldest first: ids sort by time."""
        try:
            names = sorted(name[:-5] for name in os.listdir(self.directory) if name.endswith(".json"))
        except FileNotFoundError:
            return []
        return [record for record in map(self.get, names) if record]

    def live(self):
        """The release that serves (or, stopped, that would), or None before the first one."""
        try:
            return self.get(os.path.basename(os.readlink(self.pointer))[:-5])
        except OSError:
            return None

    def save(self, record):
        os.makedirs(self.directory, mode=0o700, exist_ok=True)
        write_json(os.path.join(self.directory, f"{record['id']}.json"), record, 0o600)

    def make_live(self, record):
        point(self.pointer, os.path.join("releases", f"{record['id']}.json"))

    def env_files(self, identity):
        """Bindings (the database's address, …) are always the current ones, so they win."""
        names = [os.path.join(self.env, f"{identity}.json"), os.path.join(self.env, "bindings.json")]
        return [name for name in names if os.path.exists(name)]

    def environment(self, identity):
        return _read(os.path.join(self.env, f"{identity}.json"))

    def write_environment(self, identity, variables):
        write_json(os.path.join(self.env, f"{identity}.json"), variables, 0o640)

    def take_environment(self, identity, wanted):
        """The variables that were held ready become this release's; otherwise it has those of the live one."""
        if wanted:
            os.rename(os.path.join(self.env, "wanted.json"), os.path.join(self.env, f"{identity}.json"))
        else:
            self.write_environment(identity, self.environment(self.live()["id"]))

    def new_id(self, commit):
        """Time (UTC) and commit: 20261122-153000-4f1c9aa."""
        moment = time.time()
        while True:
            identity = time.strftime("%Y%m%d-%H%M%S-", time.gmtime(moment)) + commit[:7]
            if not os.path.exists(os.path.join(self.directory, f"{identity}.json")):
                return identity
            moment += 1

    def directory_of(self, record):
        return os.path.join(self.base, "releases", record["build"])

    def forget(self, keep, besides=None):
        """Drop the records beyond the `keep` newest that served, the live one, the one before it and `besides`.

        What a slot runs or nginx shows stays, whatever the records say. Gives the ids of those that are gone.
        """
        live = self.live() or {}
        records = self.all()
        served = [record["id"] for record in records if record.get("served")]
        kept = {*served[-keep:], live.get("id"), live.get("before"), (besides or {}).get("id")}
        kept |= self._used(records)
        gone = [record["id"] for record in records if record["id"] not in kept]
        for identity in gone:
            for directory in (self.directory, self.env):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(os.path.join(directory, f"{identity}.json"))
        return gone

    def _used(self, records):
        """Ids of what slots are meant to run, and of one with the build whose files nginx shows."""
        used = {(_read(os.path.join(self.live_directory, slot)) or {}).get("release") for slot in ("a", "b")}
        with contextlib.suppress(OSError):
            shown = os.path.basename(os.readlink(os.path.join(self.live_directory, "current")))
            used.update([record["id"] for record in records if record.get("build") == shown][-1:])
        return used


class Served(Releases):
    """What served a language model, apart from an app's releases, which have commits."""

    def __init__(self, name, *root):
        super().__init__(name, *root)
        self.directory = os.path.join(self.live_directory, "served")
        self.pointer = os.path.join(self.live_directory, "serves")

    def make_live(self, record):
        point(self.pointer, os.path.join("served", f"{record['id']}.json"))

    def model_of(self, record):
        """Directory of the model that a record is of; "" for no record."""
        argv = record["serves"]["argv"] if record else []
        return argv[argv.index("serve") + 1] if "serve" in argv else ""


def turned(record, live, run):
    """The record of a release that begins to serve in place of `live`: by whom, when; again: that it was gone back to.

    What it came after (`before`) stays what it was at first, so that going back twice leads on and not to and fro.

    `run`: {id, actor} of the run of WebOps; {} where a play is run by hand.
    """
    now = time.time()
    who = {"run": run["id"], "actor": str(run.get("actor") or "")[:64]} if isinstance(run.get("id"), int) else {}
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
    if record.get("went_live"):
        return {**record, "back": {"at": at, "from": live.get("id"), **who}}
    made = calendar.timegm(time.strptime(record["id"][:15], "%Y%m%d-%H%M%S"))
    return {**record, "before": live.get("id"), "went_live": at, "seconds": round(max(now - made, 0), 1), **who}


def began(record):
    """When a release last began to serve, in ISO 8601; "" for one that never did."""
    return (record.get("back") or {}).get("at") or record.get("went_live") or ""


def fingerprint(value):
    """The same for equal values, whatever the order of their keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _read(path):
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError):
        return None
