"""Keep an app's database as it is, bring it back, count what was written since. Runs as the app's own user.

The address comes from the app's variables and goes on to PostgreSQL's programs in their environment, where only this
user can read it. A snapshot is <directory>/<release>.dump (pg_dump's own format) with <release>.json beside it.
"""

import calendar
import json
import os
import subprocess
import time
from urllib.parse import unquote, urlsplit

from report import Stop, main

COUNTERS = """
select coalesce(json_object_agg(format('%I.%I', schemaname, relname), n_tup_ins + n_tup_upd + n_tup_del), '{}')
from pg_stat_user_tables
"""
# What belongs to the app's role goes, whatever a later migration made of it; extensions are PostgreSQL's own.
EMPTY = """
set lock_timeout = '30s';
do $$
declare thing record;
begin
    for thing in
        select format('schema if exists %I cascade', nspname) as words from pg_namespace
        where nspowner = current_user::regrole and nspname <> 'public' and nspname !~ '^pg_'
    loop execute 'drop ' || thing.words; end loop;
    for thing in
        select format('%s if exists %I.%I cascade', case relkind when 'v' then 'view' when 'm' then 'materialized view'
                          when 'S' then 'sequence' when 'f' then 'foreign table' else 'table' end,
                      nspname, relname) as words
        from pg_class join pg_namespace on pg_namespace.oid = relnamespace
        where relowner = current_user::regrole and relkind in ('r', 'p', 'v', 'm', 'f', 'S') and nspname !~ '^pg_'
          and not exists (select from pg_depend where classid = 'pg_class'::regclass and objid = pg_class.oid
                          and deptype = 'e')
        order by relkind = 'S'
    loop execute 'drop ' || thing.words; end loop;
    for thing in
        select format('%s if exists %I.%I cascade', case typtype when 'd' then 'domain' else 'type' end,
                      nspname, typname) as words
        from pg_type join pg_namespace on pg_namespace.oid = typnamespace
        where typowner = current_user::regrole and typtype in ('e', 'd', 'r') and nspname !~ '^pg_'
          and not exists (select from pg_depend where classid = 'pg_type'::regclass and objid = pg_type.oid
                          and deptype = 'e')
    loop execute 'drop ' || thing.words; end loop;
    for thing in
        select format('routine if exists %I.%I(%s) cascade', nspname, proname,
                      pg_get_function_identity_arguments(pg_proc.oid)) as words
        from pg_proc join pg_namespace on pg_namespace.oid = pronamespace
        where proowner = current_user::regrole and nspname !~ '^pg_'
          and not exists (select from pg_depend where classid = 'pg_proc'::regclass and objid = pg_proc.oid
                          and deptype = 'e')
    loop execute 'drop ' || thing.words; end loop;
end $$;
"""
# Made by PostgreSQL's administrator, and still there.
FOREIGN = (" EXTENSION ", " SCHEMA - public ", " COMMENT - SCHEMA public ")


class Database:
    """The database that a variable of the app names."""

    def __init__(self, variable):
        address = urlsplit(os.environ.get(variable, ""))
        if not address.scheme.startswith("postgres") or not address.path.strip("/"):
            raise Stop(f"The app has no PostgreSQL database: its variable {variable} does not name one.",
                       "Switch 'Snapshot before migrations' off, or give the app a database.")
        given = {"PGHOST": address.hostname, "PGPORT": address.port, "PGUSER": address.username,
                 "PGPASSWORD": address.password, "PGDATABASE": address.path.strip("/")}
        self.environment = {**os.environ, "LC_ALL": "C", "PGCONNECT_TIMEOUT": "10",
                            **{name: unquote(str(value)) for name, value in given.items() if value}}

    def run(self, *argv, text=None):
        done = subprocess.run(argv, env=self.environment, input=text, capture_output=True, text=True, check=False)
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            print("\n".join(lines[-30:]), flush=True)
            raise Stop(f"{argv[0]}: {next((line for line in lines if 'ERROR' in line), (lines or ['no reason'])[-1])}",
                       "The lines below say why.")
        return done.stdout

    def ask(self, query):
        return self.run("psql", "-XAtq", "-v", "ON_ERROR_STOP=1", text=query).strip()

    def counters(self):
        """Rows that were ever inserted, updated or deleted, by table."""
        return json.loads(self.ask(COUNTERS))

    def settled_counters(self):
        """The same, once nothing more comes: what a connection wrote is counted a moment after it has ended."""
        last, until = self.counters(), time.monotonic() + 3
        while time.monotonic() < until:
            time.sleep(0.3)
            last, before = self.counters(), last
            if last == before:
                break
        return last


class Snapshot:
    def __init__(self, wanted, name):
        self.dump = os.path.join(wanted["directory"], f"{name}.dump")
        self.notes = os.path.join(wanted["directory"], f"{name}.json")

    def exists(self):
        return os.path.exists(self.dump)

    def write_notes(self, **notes):
        with open(f"{self.notes}.new", "w") as file:
            json.dump(notes, file)
        os.rename(f"{self.notes}.new", self.notes)

    def read_notes(self):
        try:
            with open(self.notes) as file:
                return json.load(file)
        except (OSError, ValueError):
            return {}


def save(wanted):
    """Keep the database as release `release` knows it.

    Where that was done since it `began` to serve, and something was migrated since, a deploy failed in between: what is
    there now is not the release's any more, and the snapshot from before stays.
    """
    snapshot, counters = Snapshot(wanted, wanted["release"]), Database(wanted["variable"]).counters()
    notes = snapshot.read_notes()
    if (not snapshot.exists() or notes.get("at", 0) < seconds(wanted["began"])
            or notes.get("migrated") == migrations(counters)):
        return keep(wanted)
    snapshot.write_notes(**{**notes, "before": counters})
    return {"kept": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(notes["at"]))}


def migrations(counters):
    """Another number where Django's list of applied migrations was changed."""
    return sum(number for table, number in counters.items() if table.endswith(".django_migrations"))


def keep(wanted):
    """Keep the database as it is under the name of `release`; an earlier snapshot of that release is replaced."""
    database = Database(wanted["variable"])
    os.makedirs(wanted["directory"], mode=0o700, exist_ok=True)
    refuse_full_disk(database, wanted["directory"])
    snapshot = Snapshot(wanted, wanted["release"])
    began = time.monotonic()
    try:
        database.run("pg_dump", "--format=custom", "--compress=1", "--no-owner", "--no-acl",
                     f"--file={snapshot.dump}.new")
        os.rename(f"{snapshot.dump}.new", snapshot.dump)
    finally:
        if os.path.exists(f"{snapshot.dump}.new"):
            os.unlink(f"{snapshot.dump}.new")
    counters = database.counters()
    snapshot.write_notes(at=time.time(), counters=counters, before=counters, migrated=migrations(counters))
    return {"bytes": os.path.getsize(snapshot.dump), "seconds": round(time.monotonic() - began, 1)}


def refuse_full_disk(database, directory):
    size = int(database.ask("select pg_database_size(current_database())"))
    space = os.statvfs(directory)
    free = space.f_bavail * space.f_frsize
    if free < size:
        raise Stop(f"The disk has {free >> 20} MB left, and a snapshot of the database may need {size >> 20} MB.",
                   "Make room on the server, or switch 'Snapshot before migrations' off.")


def mark(wanted):
    """What migrations wrote since `save` is not lost by going back, and not counted."""
    snapshot = Snapshot(wanted, wanted["release"])
    notes, now = snapshot.read_notes(), Database(wanted["variable"]).settled_counters()
    first, before = notes.get("counters", {}), notes.get("before", {})
    # Counters begin anew with a table, and when PostgreSQL's statistics are lost; here and in `count`.
    counters = {table: number - before.get(table, 0) + first.get(table, 0) if number >= before.get(table, 0) else number
                for table, number in now.items()}
    snapshot.write_notes(**{**notes, "counters": counters})
    return {}


def count(wanted):
    """What was written since the snapshot that would be gone back to.

    The counters of a connection that stays open come up to ten seconds late; of one that has ended they are exact.
    """
    snapshot = Snapshot(wanted, chosen(wanted))
    notes = snapshot.read_notes()
    before, now = notes.get("counters", {}), Database(wanted["variable"]).counters()
    since = {table: number - before.get(table, 0) if number >= before.get(table, 0) else number
             for table, number in now.items()}
    written = {table: number for table, number in since.items() if number}
    return {"snapshot": os.path.basename(snapshot.dump)[:-5], "at": notes.get("at"), "writes": sum(written.values()),
            "tables": dict(sorted(written.items(), key=lambda item: -item[1])[:20])}


def chosen(wanted):
    """The first snapshot that was taken of what serves `since` then: [[when it began, release], …], oldest first.

    An older one of the same release is from a time that was gone back from.
    """
    for began, name in wanted["since"]:
        snapshot = Snapshot(wanted, name)
        if snapshot.exists() and snapshot.read_notes().get("at", 0) >= seconds(began):
            return name
    raise Stop("There is no snapshot from the time of that release: no migration has run since, or snapshots are off.",
               "Roll back without its data: the database fits that release, or has to be brought back from a backup.")


def seconds(moment):
    """ISO 8601 in UTC as seconds since 1970; 0 for none."""
    return calendar.timegm(time.strptime(moment, "%Y-%m-%dT%H:%M:%SZ")) if moment else 0


def restore(wanted):
    """Bring the data back, in one transaction: all of it or nothing. What is there now is kept as that of `release`."""
    lost = count(wanted)
    keep(wanted)
    bring_back(wanted, lost["snapshot"])
    return lost


def undo(wanted):
    """After `restore`: what was there before."""
    bring_back(wanted, wanted["release"])
    return {}


def bring_back(wanted, name):
    database = Database(wanted["variable"])
    dump = Snapshot(wanted, name).dump
    entries = [line for line in database.run("pg_restore", "--list", dump).splitlines()
               if not any(sign in line for sign in FOREIGN)]
    listed = f"{dump}.list"
    with open(listed, "w") as file:
        file.write("\n".join(entries) + "\n")
    try:
        script = database.run("pg_restore", "--no-owner", "--no-acl", f"--use-list={listed}", "--file=-", dump)
    finally:
        os.unlink(listed)
    database.run("psql", "-Xq", "-v", "ON_ERROR_STOP=1", "--single-transaction", text=EMPTY + script)


STEPS = {"save": save, "mark": mark, "count": count, "restore": restore, "undo": undo}

if __name__ == "__main__":
    main(lambda wanted: STEPS[wanted["step"]](wanted))
