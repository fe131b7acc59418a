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
found = {"django": django.get_version(), "wsgi": getattr(settings, "WSGI_APPLICATION", None), "pending": None,
         "static_root": str(settings.STATIC_ROOT or ""), "media_root": str(settings.MEDIA_ROOT or "")}
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
    # An empty database has nothing that could be taken away.
    found["operations"] = {f"{one.app_label}.{one.name}": list(told(one.operations)) for one, backwards in plan
                           if executor.loader.applied_migrations}
except Exception as error:
    print(f"Note: pending migrations are not known before they run ({type(error).__name__}: {error})")
with open(report, "w") as file:
    json.dump(found, file, default=str)
"""


def build(wanted):
    if wanted.get("built"):
        return ask(wanted["release"], wanted["built"])
    release, public = wanted["release"], wanted["public"]
    make_room(os.path.dirname(wanted["mirror"]))
    tree = check_out(wanted["mirror"], wanted["commit"], release)
    project = find_project(tree, wanted.get("directory") or "")
    settings = wanted["settings"]
    print(f"Project: {os.path.relpath(project, tree)}/manage.py, settings {settings}")
    shared = os.path.dirname(wanted["mirror"])
    for path in wanted.get("kept") or []:
        keep(tree, path, os.path.join(shared, "data", os.path.normpath(path)))
    environment = Environment(release, tree, {**wanted, "extra": ["gunicorn", *(wanted.get("extra") or [])]})
    count = environment.make(wanted.get("previous"))
    shutil.rmtree(public, ignore_errors=True)
    os.makedirs(os.path.join(public, "static"))
    run_commands(wanted, release, tree, settings)
    found = inspect(wanted, release, project, environment.python, settings)
    static, media = (named_in(tree, project, found.pop(name)) for name in ("static_root", "media_root"))
    if not wanted.get("static_root") and static and os.path.isdir(os.path.join(tree, static)):
        print(f"Static files: {static}, as the settings say")
        publish(inside(tree, static), os.path.join(public, "static"), tree, static)
    publish_static_root(wanted, tree, public)
    if media:
        keep(tree, media, os.path.join(shared, "media"))
    return {
        **with_words(found),
        "wsgi": wanted.get("wsgi") or wsgi_of(found["wsgi"], wanted.get("wsgi_found"), settings),
        "settings": settings,
        "cwd": project,
        "python": environment.python,
        "requirements": count,
        "static": sum(len(files) for _directory, _names, files in os.walk(public)),
    }


def ask(release, project):
    """What a release that is built already finds in a database that may be another one now."""
    found = inspect({"collectstatic": False}, release, project["cwd"], project["python"], project["settings"])
    return {key: value for key, value in with_words(found).items() if key in ("pending", "takes_away")}


def with_words(found):
    operations = found.pop("operations", {})
    said = {name: [words for one in done if (words := migrations.in_words(*one))] for name, done in operations.items()}
    return {**found, "takes_away": {name: words for name, words in said.items() if words}}


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
    environment = {**commands.surroundings(release, tree), "DJANGO_SETTINGS_MODULE": settings,
                   **caches.npm(wanted["cache"])}
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


def named_in(tree, project, path):
    """A directory that the settings name, as seen from the top of the tree; empty where it is none of the tree."""
    if not path:
        return ""
    seen = os.path.relpath(os.path.realpath(os.path.join(project, path)), os.path.realpath(tree))
    return "" if seen == "." or seen.split(os.sep)[0] == ".." else seen


def keep(tree, path, target):
    """A directory that the app writes into: the same one for all releases, so a link to it. What the repository has
    in it is where it begins."""
    place = inside(tree, path)
    os.makedirs(target, mode=0o755, exist_ok=True)
    if os.path.isdir(place):
        fill(place, target)
        shutil.rmtree(place)
    elif os.path.lexists(place):
        raise Stop(f"'{path}' in the repository is no directory, so it cannot be kept.", "Correct 'Kept directories'.")
    os.makedirs(os.path.dirname(place), exist_ok=True)
    os.symlink(target, place)
    print(f"Kept: {path} is {target}, the same for all releases")


def fill(source, target):
    """Copy what is not there yet; what the app wrote meanwhile stays."""
    for directory, _names, files in os.walk(source):
        below = os.path.normpath(os.path.join(target, os.path.relpath(directory, source)))
        os.makedirs(below, exist_ok=True)
        for name in files:
            if not os.path.lexists(os.path.join(below, name)):
                shutil.copy2(os.path.join(directory, name), os.path.join(below, name), follow_symlinks=False)


def publish_static_root(wanted, tree, public):
    """The directory that a person named; it has to be there."""
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
