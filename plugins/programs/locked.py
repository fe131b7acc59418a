"""Requirements of Poetry and Pipenv in the words of pip: what is asked for, and the versions that the lock file names.

Neither tool is needed: uv (or pip) resolves what the project asks for, held to the versions of the lock.
"""

import json
import os
import re
import shlex

from report import Stop

PUBLIC = ("https://pypi.org/", "https://pypi.python.org/")


class Asked:
    """`requirements` and `constraints` are lines, `options` go in front of them (indexes)."""

    def __init__(self, requirements, constraints=(), sources=()):
        self.requirements = list(requirements)
        self.constraints = list(constraints)
        self.options = list(_indexes(sources))

    def text(self):
        return "\n".join([*self.options, *self.requirements]) + "\n"


def poetry(directory, extras=()):
    """The main requirements of a project of Poetry with those of its extras; its groups are for developers."""
    data = _toml(os.path.join(directory, "pyproject.toml"))
    own = data.get("tool", {}).get("poetry", {})
    lock = os.path.join(directory, "poetry.lock")
    packages = _toml(lock).get("package", []) if os.path.isfile(lock) else []
    revisions = {_plain(one["name"]): one["source"]["resolved_reference"] for one in packages
                 if one.get("source", {}).get("type") == "git"}
    named = {_plain(name): wish for name, wish in {
        **own.get("extras", {}), **data.get("project", {}).get("optional-dependencies", {})}.items()}
    unknown = [extra for extra in extras if _plain(extra) not in named]
    if unknown:
        raise Stop(f"There is no extra '{unknown[0]}' in pyproject.toml. There are: {', '.join(named) or 'none'}.",
                   "Correct 'Extras'.")
    chosen = [line for extra in extras for line in named[_plain(extra)]]
    asked = list(data.get("project", {}).get("dependencies", []))
    if asked:
        asked += chosen
    else:
        wanted = {_plain(name) for name in chosen}
        asked = [line for name, wish in own.get("dependencies", {}).items() if name != "python"
                 for line in _poetry_lines(name, wish, directory, revisions, _plain(name) in wanted)]
    return Asked(asked, _pins(packages), own.get("source", []))


def _pins(packages):
    """One version per name; where a lock names several (for other Pythons or systems), the ranges decide."""
    versions = {}
    for one in packages:
        if one.get("source", {}).get("type") not in ("git", "directory", "file", "url"):
            versions.setdefault(_plain(one["name"]), set()).add(one["version"])
    return [f"{name}=={found.pop()}" for name, found in sorted(versions.items()) if len(found) == 1]


def _poetry_lines(name, wish, directory, revisions, chosen=False):
    """A requirement as Poetry writes it: a range, a table, or a list of tables for different systems."""
    if isinstance(wish, list):
        return [line for one in wish for line in _poetry_lines(name, one, directory, revisions, chosen)]
    wish = {"version": wish} if isinstance(wish, str) else wish
    if wish.get("optional") and not chosen:
        return []
    markers = [f"({wish['markers']})"] if wish.get("markers") else []
    if wish.get("python"):
        markers += [f"python_version {sign} '{version}'" for sign, version in _signs(convert(wish["python"]))]
    ref = revisions.get(_plain(name)) or wish.get("rev") or wish.get("tag") or wish.get("branch")
    return [_line(name, wish, convert(wish.get("version", "*")), " and ".join(markers), directory, ref)]


def _signs(specifier):
    return re.findall(r"([<>=!~]+)\s*([0-9][0-9.]*)(?:\.\*)?", specifier)


def _line(name, wish, specifier, markers, directory, ref=None):
    extras = f"[{','.join(wish['extras'])}]" if wish.get("extras") else ""
    place = _place(wish, directory, ref)
    return f"{name}{extras}" + (f" @ {place}" if place else specifier) + (f" ; {markers}" if markers else "")


def _place(wish, directory, ref):
    """Where a requirement lies that comes from no index."""
    if wish.get("git"):
        below = f"#subdirectory={wish['subdirectory']}" if wish.get("subdirectory") else ""
        return f"git+{wish['git']}" + (f"@{ref}" if ref else "") + below
    path = wish.get("path") or wish.get("file")
    if path and "://" not in path:
        return "file://" + os.path.realpath(os.path.join(directory, path))
    return path or wish.get("url")


def convert(specifier):
    """A range as Poetry writes it (^1.2, ~1.2, 1.*, >=1,<2) in the words of pip; empty for any version."""
    if "||" in specifier:
        return ""
    parts = [part.strip() for part in re.split(r",|(?<=[0-9*])\s+(?=[<>=!~^])", specifier) if part.strip()]
    return ",".join(word for word in map(_convert_one, parts) if word)


def _convert_one(part):
    match = re.fullmatch(r"(\^|~(?!=)|===?|!=|<=|>=|<|>|~=)?\s*v?(.+)", part)
    sign, version = match[1] or "", match[2].strip()
    if version == "*":
        return ""
    if sign == "^":
        return f">={version},<{_next(version, caret=True)}"
    if sign == "~":
        return f">={version},<{_next(version, caret=False)}"
    return f"{sign or '=='}{version}"


def _next(version, caret):
    """The first version that a range leaves out: ^1.2 up to 2, ^0.2.3 up to 0.3, ~1.2 up to 1.3, ~1 up to 2."""
    numbers = [int(part) for part in re.match(r"[0-9]+(?:\.[0-9]+)*", version)[0].split(".")]
    first = next((at for at, number in enumerate(numbers) if number), len(numbers) - 1)
    place = first if caret else min(1, len(numbers) - 1)
    return ".".join(map(str, [*numbers[:place], numbers[place] + 1]))


def pipenv(directory):
    """The default packages of a project of Pipenv, from its lock where there is one."""
    lock = os.path.join(directory, "Pipfile.lock")
    if os.path.isfile(lock):
        try:
            with open(lock, encoding="utf-8") as file:
                data = json.load(file)
        except ValueError as error:
            raise Stop(f"Pipfile.lock is not JSON: {error}.", "Make it again with: pipenv lock") from None
        sources = data.get("_meta", {}).get("sources", [])
        return Asked(_pipenv_lines(data.get("default", {}), directory), sources=sources)
    data = _toml(os.path.join(directory, "Pipfile"))
    return Asked(_pipenv_lines(data.get("packages", {}), directory), sources=data.get("source", []))


def _pipenv_lines(packages, directory):
    for name, wish in packages.items():
        wish = {"version": wish} if isinstance(wish, str) else wish
        version = "" if wish.get("version", "*") == "*" else wish["version"]
        yield _line(name, wish, version, wish.get("markers", ""), directory, wish.get("ref"))


def _indexes(sources):
    """Indexes beside the public one; the first is asked in its place where it is not named at all."""
    urls = [os.path.expandvars(one["url"]) for one in sources if one.get("url")]
    named = any(url.startswith(PUBLIC) for url in urls) or any(
        one.get("priority") in ("supplemental", "explicit", "secondary") or one.get("secondary") for one in sources)
    for place, url in enumerate(url for url in urls if not url.startswith(PUBLIC)):
        yield f"--{'extra-' if named or place else ''}index-url {shlex.quote(url)}"


def _plain(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def _toml(path):
    try:
        import tomllib
    except ImportError:  # Python 3.10; pip brings a reader of its own
        from pip._vendor import tomli as tomllib
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except tomllib.TOMLDecodeError as error:
        raise Stop(f"{os.path.basename(path)} is not TOML: {error}.", "Correct it in the repository.") from None
