"""A commit of a repository as the server told it: names of files, and the text of some. Nothing of it is executed.

What the server shall name and send is decided here; plugins/programs/fetch.py gets these expressions.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Mapping

_UNDER = r"(?:[^/]+/){0,5}"
#: Not looked into: what is not the project's own, or not for a server.
SKIPPED = r"(?:[^/]+/)*(?:\.git|node_modules|bower_components|venv|\.venv|env|site-packages|__pycache__|vendor|tests?)/"
#: Files whose text is read.
READ = (
    rf"{_UNDER}(?:manage\.py|wsgi\.py|asgi\.py|pyproject\.toml|Pipfile|requirements[^/]*\.txt|requirements/[^/]+\.txt"
    r"|\.env\.(?:example|sample|dist)|Procfile|package\.json|mkdocs\.ya?ml|\.python-version|runtime\.txt)"
    r"|webops\.(?:ya?ml|json)|hugo\.(?:toml|ya?ml|json)|config\.toml|\.gitmodules|\.gitattributes"
)
#: Files whose name is enough.
NAMED = (
    rf"{_UNDER}(?:uv\.lock|poetry\.lock|Pipfile\.lock|package-lock\.json|yarn\.lock|pnpm-lock\.yaml|setup\.(?:py|cfg)"
    r"|[^/]*settings[^/]*\.py|[^/]*settings[^/]*/[^/]+\.py|(?:config|conf)/[^/]+\.py)"
    r"|(?:[^/]+/)?(?:index\.html|hugo\.(?:toml|ya?ml|json))|content/[^/]+\.md|(?:[^/]+/){0,2}[^/]+\.txt"
)


class Repository:
    """Names and texts of a commit's files."""

    def __init__(self, files: Mapping[str, str], listing: Iterable[str]) -> None:
        self.files = files
        self.names = sorted(set(listing) | set(files), key=lambda path: (path.count("/"), path))
        self._there = set(self.names)

    def has(self, path: str) -> bool:
        return path in self._there

    def text(self, path: str) -> str:
        return self.files.get(path, "")

    def named(self, name: str, below: str = "") -> list[str]:
        """All files of this name, the ones nearest to the top first."""
        return [path for path in self.names if posixpath.basename(path) == name and inside(path, below)]

    def first(self, *paths: str) -> str:
        """The first of these paths that is there, or nothing."""
        return next((path for path in paths if path in self._there), "")


def is_told(path: str) -> bool:
    """Whether the server names a file of this path where there is one; of others nothing is known."""
    return bool(re.fullmatch(f"(?!{SKIPPED})(?:{READ}|{NAMED})", path))


def inside(path: str, directory: str) -> bool:
    return not directory or path.startswith(directory + "/")


def join(directory: str, name: str) -> str:
    return f"{directory}/{name}" if directory else name


def upwards(directory: str) -> list[str]:
    """The directory, the one around it, …, the top ("")."""
    parts = [part for part in directory.split("/") if part and part != "."]
    return ["/".join(parts[:count]) for count in range(len(parts), -1, -1)]


def also_there(paths: list[str]) -> str:
    if not paths:
        return ""
    shown = ", ".join(paths[:3]) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")
    return f" (also there: {shown})"
