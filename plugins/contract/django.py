"""Find the Django project of a repository: manage.py, settings, WSGI application; and say why it is this one."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, field

from .check import Problem
from .repository import Repository, also_there, inside, join

SETTINGS = re.compile(r"""DJANGO_SETTINGS_MODULE["']\s*[,\]]\s*=?\s*["']([A-Za-z_][\w.]*)["']""", re.ASCII)
SETTINGS_FILE = re.compile(r"(?:^|/)settings(?:/\w+)?\.py\Z")
OWN_MACHINE = {"local", "dev", "devel", "develop", "development", "test", "tests", "testing", "ci", "debug"}
PRODUCTION = ("production", "prod", "live", "deploy", "deployment")
#: A project that is there to be looked at, not to be served.
ASIDE = {
    "example",
    "examples",
    "demo",
    "demos",
    "sample",
    "samples",
    "sandbox",
    "docs",
    "doc",
    "testproject",
    "test_project",
}


@dataclass
class Project:
    """Where the project is. An empty `wsgi` is left to the settings, which are asked when the release is built."""

    directory: str = ""
    settings: str = ""
    wsgi: str = ""
    found: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def detect(repository: Repository, directory: str = "", settings: str = "", wsgi: str = "") -> Project:
    """The project; what is given is not looked for, and must be there."""
    project = Project()
    manage = _manage(
        repository, directory.strip("/").removeprefix("./") if directory != "." else "", directory, project
    )
    if not manage:
        return project
    project.directory = posixpath.dirname(manage)
    entries = _entries(repository, project.directory)
    project.settings = settings or _settings(repository, manage, entries, project)
    project.wsgi = wsgi or _wsgi(repository, project, entries)
    return project


def _manage(repository: Repository, named: str, as_given: str, project: Project) -> str:
    if as_given:
        path = join(named, "manage.py")
        if repository.has(path):
            return path
        there = [posixpath.dirname(one) or "." for one in repository.named("manage.py")]
        hint = f" It is in: {', '.join(there[:5])}." if there else ""
        project.problems.append(
            Problem(
                "",
                f"There is no manage.py in '{as_given}' of the repository.{hint} "
                "Correct 'Project directory', or leave it empty to have it found.",
                "The code",
            )
        )
        return ""
    paths = repository.named("manage.py")
    # A file of this name need not be Django's.
    paths = [path for path in paths if "django" in repository.text(path).lower()] or paths
    paths.sort(key=lambda path: (_is_aside(path), path.count("/"), path))
    if not paths:
        project.problems.append(
            Problem(
                "",
                "This repository holds no manage.py, so it is not a Django project. Check the "
                "address and the branch; for a site of files choose the kind Static site.",
                "The code",
            )
        )
        return ""
    why = "the only manage.py" if len(paths) == 1 else "the manage.py nearest to the top"
    project.found.append(f"Django project: {paths[0]}, {why}{also_there(paths[1:])}.")
    return paths[0]


def _is_aside(path: str) -> bool:
    return any(part.lower() in ASIDE or "cookiecutter" in part for part in path.split("/")[:-1])


def _entries(repository: Repository, directory: str) -> list[str]:
    """wsgi.py, then asgi.py, of the project: what is started on servers names the settings for servers."""
    found = [
        path
        for name in ("wsgi.py", "asgi.py")
        for path in repository.named(name, directory)
        if "django" in repository.text(path).lower()
    ]
    return [path for path in found if not _is_aside(path.removeprefix(directory))]


def _settings(repository: Repository, manage: str, entries: list[str], project: Project) -> str:
    named = [(path, match[1]) for path in [*entries, manage] if (match := SETTINGS.search(repository.text(path)))]
    if not named:
        return _settings_by_name(repository, manage, project)
    path, module = named[0]
    rejected = next((one for one in named[1:] if one[1] != module), None)
    words = f"Settings: {module}, as {path} says"
    words += f"; {rejected[0]} names {rejected[1]}." if rejected else "."
    better = _production(repository, project.directory, module)
    if better:
        words = (
            f"Settings: {better}. {path} names {module}, which is for a developer's own machine, and "
            f"{better.rpartition('.')[2]} lies beside it."
        )
        module = better
    project.found.append(words)
    return module


def _settings_by_name(repository: Repository, manage: str, project: Project) -> str:
    """Nothing names the settings: the only module of that name that is not for a developer's own machine."""
    paths = [path for path in repository.names if inside(path, project.directory) and not _is_aside(path)]
    modules = {_module(repository, project.directory, path) for path in paths if SETTINGS_FILE.search(path)}
    others = OWN_MACHINE | {"__init__"}
    possible = sorted(one for one in modules if one and one.rpartition(".")[2].lower() not in others)
    best = [one for one in possible if one.rpartition(".")[2] in PRODUCTION] or possible
    if len(best) == 1:
        project.found.append(f"Settings: {best[0]}, by its name; {manage} names none.")
        return best[0]
    hint = f" There are: {', '.join(possible[:6])}." if possible else ""
    reason = f"{manage} does not say which settings the project uses.{hint} Fill in 'Settings module'"
    project.problems.append(Problem("", reason + ("." if possible else ", such as config.settings."), "The code"))
    return ""


def _production(repository: Repository, directory: str, module: str) -> str:
    """The settings for servers beside settings that are meant for a developer's machine."""
    package, _, last = module.rpartition(".")
    if last.lower() not in OWN_MACHINE or not package:
        return ""
    for name in PRODUCTION:
        path = f"{package.replace('.', '/')}/{name}.py"
        if any(inside(one, directory) and (one == path or one.endswith("/" + path)) for one in repository.names):
            return f"{package}.{name}"
    return ""


def _wsgi(repository: Repository, project: Project, entries: list[str]) -> str:
    paths = [
        path
        for path in entries
        if path.endswith("wsgi.py") and re.search(r"^application\b", repository.text(path), re.M)
    ]
    # The one in the package of the settings is meant where there are several.
    package = project.settings.split(".")[0]
    paths.sort(
        key=lambda path: (
            path.removeprefix(project.directory).strip("/").split("/")[0] != package,
            path.count("/"),
            path,
        )
    )
    for path in paths:
        module = _module(repository, project.directory, path)
        if module:
            project.found.append(f"WSGI application: {module}:application, from {path}{also_there(paths[1:])}.")
            return f"{module}:application"
    return ""


def _module(repository: Repository, directory: str, path: str) -> str:
    """The name under which Python imports a file, seen from the project's directory."""
    parts = path.removesuffix(".py").removeprefix(directory).strip("/").split("/")
    return ".".join(parts) if all(part.isidentifier() and part.isascii() for part in parts) else ""
