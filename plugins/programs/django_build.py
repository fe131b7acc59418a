"""Build a release of a Django project: code, Python environment, collected static files, pending migrations."""

import json
import os
import shutil
import subprocess

import caches
import commands
import migrations
from python_env import Environment
from report import Stop, main
from tree import check_out, inside, publish

# One interpreter for both: importing a project costs more than either.
RUNNER = """
import json, os, runpy, sys
report, collect, telling = sys.argv[1], sys.argv[2] == "collect", sys.argv[3].split(",")
if collect:
    sys.argv = ["manage.py", "collectstatic", "--noinput", "--verbosity=1"]
    runpy.run_path("manage.py", run_name="__main__")
import django
django.setup()
from django.conf import settings
found = {"django": django.get_version(), "wsgi": getattr(settings, "WSGI_APPLICATION", None), "pending": None}
def told(operations):
    for operation in operations:
        name, _, arguments = operation.deconstruct()
        if name == "SeparateDatabaseAndState":
            yield from told(operation.database_operations)
        elif name in telling:
            yield name, arguments
try:
    from django.db import connection
    from django.db.migrations.executor import MigrationExecutor
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    found["pending"] = [f"{migration.app_label}.{migration.name}" for migration, backwards in plan]
    found["operations"] = {f"{one.app_label}.{one.name}": list(told(one.operations)) for one, backwards in plan}
except Exception as error:
    print(f"Note: pending migrations are not known before they run ({type(error).__name__}: {error})")
with open(report, "w") as file:
    json.dump(found, file, default=str)
"""


def build(wanted):
    release, public = wanted["release"], wanted["public"]
    make_room(os.path.dirname(wanted["mirror"]))
    tree = check_out(wanted["mirror"], wanted["commit"], release)
    project = find_project(tree, wanted.get("directory") or "")
    settings = wanted["settings"]
    print(f"Project: {os.path.relpath(project, tree)}/manage.py, settings {settings}")
    environment = Environment(release, tree, {**wanted, "extra": ["gunicorn"]})
    count = environment.make(wanted.get("previous"))
    shutil.rmtree(public, ignore_errors=True)
    os.makedirs(os.path.join(public, "static"))
    run_commands(wanted, release, tree, settings)
    found = inspect(wanted, release, project, environment.python, settings)
    publish_static_root(wanted, tree, public)
    operations = found.pop("operations", {})
    return {
        **found,
        "takes_away": {name: said for name, done in operations.items()
                       if (said := [words for one in done if (words := migrations.in_words(*one))])},
        "wsgi": wanted.get("wsgi") or wsgi_of(found["wsgi"], wanted.get("wsgi_found"), settings),
        "settings": settings,
        "cwd": project,
        "python": environment.python,
        "requirements": count,
        "static": sum(len(files) for _directory, _names, files in os.walk(public)),
    }


def make_room(shared):
    """What outlives releases: uploaded files, which nginx serves, and the app's home."""
    os.makedirs(os.path.join(shared, "media"), mode=0o755, exist_ok=True)
    os.makedirs(os.path.join(shared, "data"), mode=0o700, exist_ok=True)


def find_project(tree, named):
    """The directory of manage.py, which plugins/contract found; it has to be there, and in the project."""
    project = inside(tree, named or ".", named)
    if not os.path.isfile(os.path.join(project, "manage.py")):
        raise Stop(f"There is no manage.py in '{named or '.'}' of the repository.",
                   "Correct 'Project directory', or leave it empty to have it found.")
    return project


def run_commands(wanted, release, tree, settings):
    """The project's own build commands, such as npm ci; they find the requirements installed."""
    place = inside(tree, wanted.get("commands_in") or ".")
    caches.bound(wanted["cache"], "npm")
    environment = {**commands.surroundings(release, tree), "DJANGO_SETTINGS_MODULE": settings,
                   "npm_config_cache": os.path.join(wanted["cache"], "npm")}
    for argv in wanted.get("build") or []:
        commands.run(argv, place, environment, tree)


def wsgi_of(application, found, settings):
    """WSGI_APPLICATION is 'package.wsgi.application'; without it what was found, else Django's own layout."""
    if application and "." in application:
        module, _, name = application.rpartition(".")
        return f"{module}:{name}"
    return found or f"{settings.split('.')[0]}.wsgi:application"


def inspect(wanted, release, project, python, settings):
    """Collect static files and ask the project what is pending; raises Stop where it cannot even be imported."""
    report = os.path.join(release, "project.json")
    collect = "collect" if wanted.get("collectstatic", True) else "leave"
    done = subprocess.run(
        [python, "-c", RUNNER, report, collect, ",".join(migrations.ARGUMENTS)], cwd=project, check=False,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": settings, "VIRTUAL_ENV": os.path.join(release, "venv"),
             "PATH": os.path.join(release, "venv", "bin") + ":" + os.environ["PATH"]},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
    )
    print(done.stdout, end="", flush=True)
    if done.returncode or not os.path.exists(report):
        lines = [line for line in done.stdout.splitlines() if line.strip()]
        raise Stop(f"The project could not be loaded: {lines[-1][:300] if lines else 'it gave no reason'}",
                   "The last lines say where. A setting that is missing goes into 'Environment'; where static files "
                   "are the trouble, read STATIC_ROOT from the environment or switch 'Collect static files' off.")
    with open(report) as file:
        return json.load(file)


def publish_static_root(wanted, tree, public):
    """A project that collects into a directory of its own tree: nginx gets a copy of that one."""
    named = wanted.get("static_root")
    if not named:
        return
    source = inside(tree, named)
    if not os.path.isdir(source):
        raise Stop(f"There is no directory '{named}' in the repository after static files were collected.",
                   "Correct 'Static root', or leave it empty where the project reads STATIC_ROOT.")
    publish(source, os.path.join(public, "static"), tree, named)


if __name__ == "__main__":
    main(build)
