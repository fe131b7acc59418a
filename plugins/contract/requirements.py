"""Find the Python requirements of a project: which file holds them, and which tool reads it."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, field

from .check import Problem
from .repository import Repository, also_there, is_told, join, upwards

#: For servers first; then what is for all; what is for developers alone is never taken.
NAMES = (
    "requirements/production.txt",
    "requirements/prod.txt",
    "requirements-production.txt",
    "requirements-prod.txt",
    "requirements_production.txt",
    "requirements_prod.txt",
    "requirements.production.txt",
    "requirements.prod.txt",
    "requirements.txt",
    "requirements/requirements.txt",
    "requirements/base.txt",
    "requirements/main.txt",
    "requirements/common.txt",
    "requirements-base.txt",
    "requirements/default.txt",
)
PRODUCTION = re.compile(r"prod")
#: How each sort of file is installed: `how` for plugins/programs/python_env.py.
LOCKS = (
    ("uv.lock", "uv", "the lock file of uv: exact versions"),
    ("poetry.lock", "poetry", "the lock file of Poetry: exact versions"),
    ("Pipfile.lock", "pipenv", "the lock file of Pipenv: exact versions"),
)


@dataclass
class Requirements:
    """`how`: uv, poetry, pipenv, pip, project (of pyproject.toml), or none."""

    how: str = "none"
    file: str = ""
    found: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def detect(repository: Repository, directory: str = "", given: str = "", *, needed: bool = True) -> Requirements:
    """The requirements of the project in `directory`: there, else in the directories around it up to the top."""
    if given:
        return _given(repository, given.removeprefix("./"), directory)
    for place in upwards(directory):
        if found := _lock(repository, place) or _file(repository, place) or _project(repository, place):
            return found
    words = "no uv.lock, poetry.lock, Pipfile, requirements.txt or pyproject.toml with dependencies"
    return Requirements(found=[f"Requirements: none named in the repository ({words})."] if needed else [])


def _given(repository: Repository, path: str, directory: str) -> Requirements:
    if not repository.has(path) and is_told(path):
        there = [one for one in repository.names if _how(repository, one)]
        hint = f" There are: {', '.join(there[:6])}." if there else ""
        then = "Correct 'Requirements file', or leave it empty to have it found."
        return Requirements(
            problems=[Problem("", f"There is no file '{path}' in the repository.{hint} {then}", "The code")]
        )
    return Requirements(_how(repository, path) or "pip", path)


def _how(repository: Repository, path: str) -> str:
    name = posixpath.basename(path)
    if name == "pyproject.toml":
        return "project" if _section(repository.text(path), "project") else "poetry"
    if name == "Pipfile":
        return "pipenv"
    lock = next((how for lock, how, _why in LOCKS if lock == name), "")
    return lock or ("pip" if re.search(r"requirements[^/]*\.txt\Z|(?:\A|/)requirements/[^/]+\.txt\Z", path) else "")


def _lock(repository: Repository, place: str) -> Requirements | None:
    there = [(join(place, name), how, why) for name, how, why in LOCKS if repository.has(join(place, name))]
    # A lock is read together with the file that it locks.
    there = [one for one in there if one[1] == "pipenv" or repository.has(join(place, "pyproject.toml"))]
    if not there:
        return None
    path, how, why = there[0]
    others = [one[0] for one in there[1:]] + [name for name in _files(repository, place)]
    return Requirements(how, path, [f"Requirements: {path}, {why}{also_there(others)}."])


def _files(repository: Repository, place: str) -> list[str]:
    return [join(place, name) for name in NAMES if repository.has(join(place, name))]


def _file(repository: Repository, place: str) -> Requirements | None:
    paths = _files(repository, place)
    if not paths:
        return None
    why = ", the one for production" if PRODUCTION.search(posixpath.basename(paths[0])) else ""
    return Requirements("pip", paths[0], [f"Requirements: {paths[0]}{why}{also_there(paths[1:])}."])


def _project(repository: Repository, place: str) -> Requirements | None:
    path = join(place, "pyproject.toml")
    text = repository.text(path)
    if _section(text, "project") and re.search(r"^\s*(?:dependencies|dynamic)\s*=", text, re.MULTILINE):
        return Requirements("project", path, [f"Requirements: {path}, its [project] names dependencies."])
    if _section(text, r"tool\.poetry\.dependencies"):
        return Requirements(
            "poetry",
            path,
            [
                f"Requirements: {path}, its [tool.poetry.dependencies]; there is no poetry.lock, "
                "so versions are chosen anew when they are installed."
            ],
        )
    if repository.has(join(place, "Pipfile")):
        path = join(place, "Pipfile")
        return Requirements(
            "pipenv",
            path,
            [f"Requirements: {path}; there is no Pipfile.lock, so versions are chosen anew when they are installed."],
        )
    return None


def _section(text: str, name: str) -> bool:
    return bool(re.search(rf"^\[{name}\]", text, re.MULTILINE))
