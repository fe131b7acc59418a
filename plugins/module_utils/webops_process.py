"""What an app runs beside its web process: processes, in numbers, and jobs at set times.

As with slots, a description (live/run/<process>@<n>, live/run/cron-<job>) exists just while the thing is meant to run;
the launcher reads it as the app's user. Which units there are is root's business (Apply); what they run, the release's.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time

from ansible.module_utils.webops_unit import Refused, journal, show, state, systemctl, units_in, write_json

UNITS = "/etc/systemd/system"
RUNNING = ("active", "activating", "reloading", "deactivating")
PATH = "/usr/local/bin:/usr/bin:/bin"
# A process that lives this long after its start was no typing error.
SETTLED_SECONDS = 1.5
# An old one may be finishing what it began; a deploy does not wait for that.
WAIT_SECONDS = 20
# systemd kills one that does not end within 120 seconds; a job has all the time it wants.
END_SECONDS = 150


class Processes:
    """The processes and jobs of one resource."""

    def __init__(self, releases, units=UNITS):
        self.releases = releases
        self.name = releases.name
        self.directory = os.path.join(releases.live_directory, "run")
        self.units = units

    def unit(self, instance):
        """worker@1 is wo-shop.worker@1.service, cron-nightly is wo-shop.cron-nightly.timer."""
        return f"wo-{self.name}.{instance}" + (".timer" if is_job(instance) else ".service")

    def there(self):
        """Instances that are meant to run now."""
        with contextlib.suppress(OSError):
            return sorted(name for name in os.listdir(self.directory) if "." not in name)
        return []

    def wanted(self, release, environment):
        """Instance and description of all that belongs to a release; `environment` as for a slot."""
        contract = release.get("contract") or {}
        found = {f"{one['name']}@{number}": self._describe(release, one["command"], environment)
                 for one in contract.get("processes", []) for number in range(1, one["count"] + 1)}
        found.update({f"cron-{one['name']}": self._describe(release, one["command"], environment)
                      for one in contract.get("cron", [])})
        return {instance: {**description, "surroundings": self._surroundings(instance)}
                for instance, description in found.items()}

    def _describe(self, release, argv, environment):
        return {"release": release["id"], "argv": argv, "env_files": self.releases.env_files(release["id"]),
                **place(self.releases, release, environment)}

    def _surroundings(self, instance):
        """Changes when the unit or the bindings do."""
        digest = hashlib.sha256()
        template = instance.partition("@")[0] + ("" if is_job(instance) else "@")
        for path in (os.path.join(self.units, f"wo-{self.name}.{template}.service"),
                     os.path.join(self.releases.env, "bindings.json")):
            with contextlib.suppress(OSError), open(path, "rb") as file:
                digest.update(file.read())
        return digest.hexdigest()[:16]

    def differs(self, release, environment):
        """Names of what does not run as this release wants it."""
        wanted = self.wanted(release, environment)
        other = [name for name, description in wanted.items() if self._read(name) != description]
        return sorted({*other, *(set(self.there()) - set(wanted))})

    def refuse_uninstalled(self, release):
        """Before anything changes: units of this release that Apply has not installed, or took away again."""
        for instance in self.wanted(release, {}):
            target = "timers" if is_job(instance) else "multi-user"
            if not os.path.lexists(os.path.join(self.units, f"{target}.target.wants", self.unit(instance))):
                what = f"the job {instance[5:]}" if is_job(instance) else f"the process {instance.replace('@', ' ')}"
                raise Refused(f"Needs Apply, because {what} of that release is not installed.",
                              "Apply the resource; or choose a release that has the same processes as the live one.")

    def follow(self, release, environment, anew=False):
        """Start them (again) as the release says, stop what it does not know; names of those that were started."""
        wanted = self.wanted(release, environment)
        self._end(sorted(set(self.there()) - set(wanted)))
        started = [name for name, description in wanted.items()
                   if anew or self._read(name) != description or not self._runs(name)]
        since = time.time() - 0.5
        before = {name: self._invocation(name) for name in started}
        os.makedirs(self.directory, mode=0o755, exist_ok=True)
        for name in started:
            write_json(os.path.join(self.directory, name), wanted[name], 0o644)
            verb = ["start"] if is_job(name) else ["restart", "--no-block"]
            done = systemctl(*verb, self.unit(name))
            if done.returncode:
                raise self._refusal(name, done.stderr.strip() or "systemd gave no reason", since)
        self._settle({name: before[name] for name in started if not is_job(name)}, since)
        return started

    def end(self):
        """Stop them all; whether there were any."""
        there = self.there()
        self._end(there)
        return bool(there)

    def wait_for_end(self, ended):
        """Until none runs any more, and no job either. Raises Refused with those that do not end, or where `ended`."""
        until = time.monotonic() + END_SECONDS
        while not ended():
            left = self._left()
            if not left:
                return
            if time.monotonic() > until:
                raise Refused(f"{' and '.join(left)} of {self.name} did not end within {END_SECONDS} seconds, and "
                              "would write into the database while it is brought back.",
                              "Wait until it has ended, then roll back again. What was stopped meanwhile runs again.")
            time.sleep(0.2)
        raise Refused("The run was ended before anything was brought back.")

    def _left(self):
        """Names of processes and jobs that run, also of those that were told to end before."""
        start = f"wo-{self.name}."
        units = [unit.removeprefix(start) for unit in units_in(RUNNING, f"{start}*.service")]
        return sorted({unit.removesuffix(".service").partition("@")[0].removeprefix("cron-") for unit in units
                       if not unit.startswith("task@")})

    def _end(self, instances):
        for name in instances:
            os.unlink(os.path.join(self.directory, name))
        for name in instances:
            if state(self.unit(name)) not in ("inactive", "failed"):
                systemctl("stop", *(["--no-block"] if not is_job(name) else []), self.unit(name))

    def _runs(self, instance):
        return state(self.unit(instance)) in ("active", "activating", "reloading")

    def _invocation(self, instance):
        return show(self.unit(instance), "InvocationID").get("InvocationID")

    def _settle(self, before, since):
        """Wait until each has run for a moment. Raises Refused with the words of one that ends at once.

        `before` names each one's invocation until now: how that one ended says nothing of the new one.
        """
        until, waiting, restarts = time.monotonic() + WAIT_SECONDS, dict.fromkeys(before), {}
        while waiting and time.monotonic() < until:
            for name in list(waiting):
                facts = show(self.unit(name), "ActiveState", "SubState", "NRestarts", "Job", "InvocationID")
                if facts.get("InvocationID") == before[name]:
                    continue
                # systemd does not always count anew when it is told to restart.
                if self._ended(facts, restarts.setdefault(name, facts.get("NRestarts"))):
                    raise self._refusal(name, self._last_words(name, since), since)
                if facts.get("ActiveState") == "active" and facts.get("Job", "0") in ("", "0"):
                    waiting[name] = waiting[name] or time.monotonic()
                    if time.monotonic() - waiting[name] > SETTLED_SECONDS:
                        del waiting[name]
            time.sleep(0.1)

    def _ended(self, facts, restarts):
        return (facts.get("ActiveState") == "failed" or facts.get("SubState") == "auto-restart"
                or facts.get("NRestarts") != restarts)

    def _last_words(self, instance, since):
        """The line that names the error, else the last one that the process itself wrote."""
        systemd = ("wo-", "Started ", "Starting ", "Stopping ", "Stopped ", "webops: ")
        said = journal(self.unit(instance), since, 200)
        lines = [line for line in said if line.strip() and not line.startswith(systemd)]
        errors = [line for line in lines if "rror" in line and not line.startswith(" ")]
        return (errors or lines or ["its process ended at once."])[-1][:300]

    def _refusal(self, instance, cause, since):
        return Refused(f"The release serves, and its process {instance.partition('@')[0]} does not start: {cause}",
                       "systemd goes on trying. Correct what the lines below name and deploy again, or roll back.",
                       journal(self.unit(instance), since))

    def _read(self, instance):
        with contextlib.suppress(OSError, ValueError), open(os.path.join(self.directory, instance)) as file:
            return json.load(file)
        return None


def is_job(instance):
    return instance.startswith("cron-")


def place(releases, release, environment):
    """Directory and variables in which the repository's own commands run: with the programs of the release in front."""
    project, top = release["project"], releases.directory_of(release)
    tree, settings = os.path.join(top, "app"), project.get("settings")
    own = {"DJANGO_SETTINGS_MODULE": settings} if settings else {}
    return {
        "cwd": os.path.normpath(os.path.join(tree, (release.get("contract") or {}).get("commands_in") or ".")),
        "env": {
            **own,
            **{name: str(value).replace("{build}", release["build"]) for name, value in environment.items() if name},
            "PATH": f"{top}/venv/bin:{tree}/node_modules/.bin:{PATH}", "VIRTUAL_ENV": f"{top}/venv",
        },
    }
