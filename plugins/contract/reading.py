"""Read a repository: its own contract (webops.yml, webops.json, Procfile), and what can be found out without one."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from . import django, example, procfile, requirements, site
from .check import Check, Problem
from .document import Unreadable
from .document import read as read_document
from .example import Variable
from .repository import Repository, join

FILES = ("webops.yml", "webops.yaml", "webops.json")
KINDS = ("django_app", "static_site")


@dataclass
class Contract:
    """What a commit says of itself. `values` are those of webops.yml over those of the Procfile, by schema.py.

    `source` is the file that was read first, or "detected"; `found` says in sentences what was found and why.
    Nothing of it may be used while `problems` is not empty.
    """

    source: str = "detected"
    kind: str = ""
    #: Directory in which its commands are run.
    place: str = ""
    values: dict[str, Any] = field(default_factory=dict)
    found: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    project: django.Project = field(default_factory=django.Project)
    site: site.Site = field(default_factory=site.Site)
    requirements: requirements.Requirements = field(default_factory=requirements.Requirements)
    variables: list[Variable] = field(default_factory=list)


def read(
    files: Mapping[str, str], listing: Iterable[str], *, kind: str = "", given: Mapping[str, Any] | None = None
) -> Contract:
    """The contract of a commit whose files are `listing` and whose texts (of those that matter) are `files`.

    `kind` is the one chosen in WebOps; `given` holds what a person said there (directory, settings, wsgi, requirements,
    publish, command) and is not looked for. Never raises for anything that a repository holds.
    """
    repository = Repository(files, listing)
    contract = Contract()
    _take_document(repository, contract)
    said = {
        **contract.values,
        **contract.values.get("django", {}),
        **{key: value for key, value in (given or {}).items() if value},
    }
    contract.kind = kind or said.get("kind", "") or ("django_app" if repository.named("manage.py") else "static_site")
    _refuse_other_kind(contract)
    if contract.kind == "static_site":
        _look_at_site(repository, contract, said)
    else:
        _look_at_project(repository, contract, said)
    _take_procfile(repository, contract)
    _take_example(repository, contract)
    _mention(repository, contract)
    return contract


def _take_document(repository: Repository, contract: Contract) -> None:
    there = [name for name in FILES if repository.has(name)]
    if not there:
        return
    contract.source = name = there[0]
    if len(there) > 1:
        contract.problems.append(Problem("", f"{' and '.join(there)} are there. Leave one of them.", "The code"))
    if name not in repository.files:
        contract.problems.append(Problem("", "It is no plain file. Write the file itself instead of a link.", name))
        return
    try:
        root = read_document(name, repository.text(name))
    except Unreadable as unreadable:
        contract.problems.append(Problem("", str(unreadable), name, unreadable.line))
        return
    check = Check(name)
    contract.values = check.document(root)
    contract.problems += check.problems
    contract.found.append(f"{name} says: {', '.join(contract.values) or 'nothing'}.")


def _refuse_other_kind(contract: Contract) -> None:
    said = contract.values.get("kind")
    if said and said != contract.kind and said in KINDS:
        contract.problems.append(
            Problem(
                "kind",
                f"It says {said}, and {contract.kind} was chosen in WebOps. Make the resource "
                "of that kind, or correct this line.",
                contract.source,
            )
        )


def _look_at_project(repository: Repository, contract: Contract, said: dict[str, Any]) -> None:
    contract.project = django.detect(
        repository, said.get("directory", ""), said.get("settings", ""), said.get("wsgi", "")
    )
    contract.requirements = requirements.detect(repository, contract.project.directory, said.get("requirements", ""))
    for part in (contract.project, contract.requirements):
        contract.found += part.found
        contract.problems += part.problems


def _look_at_site(repository: Repository, contract: Contract, said: dict[str, Any]) -> None:
    own = said.get("command") or said.get("build")
    if not (own and said.get("publish")) and not (
        said.get("publish") and not own and _is_plain(repository, said["publish"])
    ):
        contract.site = site.detect(repository)
        contract.found += contract.site.found
        if not said.get("publish"):
            contract.problems += contract.site.problems
    python = own or contract.site.python or said.get("requirements")
    if python:
        contract.requirements = requirements.detect(repository, "", said.get("requirements", ""), needed=False)
        contract.found += contract.requirements.found
        contract.problems += contract.requirements.problems


def _is_plain(repository: Repository, directory: str) -> bool:
    """Whether the published directory is in the repository as it is."""
    return repository.has(join("" if directory == "." else directory.strip("/"), "index.html"))


def _near(repository: Repository, contract: Contract, *names: str) -> str:
    """A file at the top, or beside the project."""
    return repository.first(*names, *(join(contract.project.directory, name) for name in names))


def _take_procfile(repository: Repository, contract: Contract) -> None:
    path = _near(repository, contract, "Procfile")
    if not path or contract.kind != "django_app" or path not in repository.files:
        return
    read = procfile.read(path, repository.text(path))
    unused = [key for key in read.values if key in contract.values]
    contract.values = {**read.values, **contract.values}
    if contract.source == "detected":
        contract.source = "Procfile"
        contract.place = posixpath.dirname(path)
    if unused:
        contract.found.append(
            f"{contract.source} says {' and '.join(unused)} itself, so those of the {path} are left alone."
        )
    elif read.values:
        contract.found.append(
            f"{path} names "
            + ", ".join([*read.values.get("processes", {}), *(["release"] if "release" in read.values else [])])
            + "."
        )
    contract.found += read.found
    contract.problems += read.problems


def _take_example(repository: Repository, contract: Contract) -> None:
    path = _near(repository, contract, *example.NAMES)
    if not path or path not in repository.files:
        return
    contract.variables, problems = example.read(path, repository.text(path))
    # An example helps; what cannot be read in it stops nothing.
    contract.found += [str(problem) for problem in problems[:5]]
    if contract.variables:
        contract.found.append(f"{path} names {len(contract.variables)} variables.")


def _mention(repository: Repository, contract: Contract) -> None:
    """What is there and not acted upon, so that nobody wonders."""
    for path in (".python-version", "runtime.txt"):
        match = re.match(r"\s*(?:python-)?(3\.[0-9]{1,2})", repository.text(path))
        if match and not contract.values.get("python"):
            contract.found.append(
                f"{path} names Python {match[1]}. The server's own is used unless 'Python version' or "
                "python: in webops.yml says otherwise."
            )
            break
    if contract.kind == "django_app" and not contract.values.get("build") and _builds_assets(repository, contract):
        contract.found.append(
            "package.json has a build script. It is not run unless 'Build commands' or build: in webops.yml "
            "names it, such as npm ci and npm run build."
        )


def _builds_assets(repository: Repository, contract: Contract) -> bool:
    path = _near(repository, contract, "package.json")
    return (
        bool(path)
        and bool(re.search(r'"build"\s*:\s*"', repository.text(path)))
        and posixpath.basename(path) == "package.json"
    )
