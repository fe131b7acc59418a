"""Find out how a static site is made: by which generator, into which directory; and say why."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

from .check import Problem, formats
from .repository import Repository

HUGO = ("hugo.toml", "hugo.yaml", "hugo.yml", "hugo.json", "config.toml")
PLAIN = ("", "public", "dist", "site", "www", "html", "docs", "_site")
#: Where a build by npm writes, by the package that does it; the first that is named counts.
OUTPUTS = (
    ("@11ty/eleventy", "_site"),
    ("astro", "dist"),
    ("gatsby", "public"),
    ("@docusaurus/core", "build"),
    ("hexo", "public"),
    ("react-scripts", "build"),
    ("@sveltejs/adapter-static", "build"),
    ("vitepress", ".vitepress/dist"),
    ("nuxt", "dist"),
    ("next", "out"),
    ("@vue/cli-service", "dist"),
    ("vite", "dist"),
    ("parcel", "dist"),
    ("webpack", "dist"),
    ("rollup", "dist"),
    ("esbuild", "dist"),
)


@dataclass
class Site:
    """How the site is made. `generator`: plain, mkdocs, hugo, npm."""

    generator: str = ""
    build: list[list[str]] = field(default_factory=list)
    publish: str = ""
    packages: list[str] = field(default_factory=list)
    python: list[str] = field(default_factory=list)
    found: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def detect(repository: Repository) -> Site:
    """The generators before plain files: their sources hold an index.html, too."""
    for look in (_mkdocs, _hugo, _npm, _plain):
        if site := look(repository):
            return site
    reason = (
        "There is neither an index.html (at the top, or in public, dist, site, www, html or docs) nor a generator that "
        "is known (mkdocs.yml, hugo.toml, a build script in package.json). Name the build command and the published "
        "directory."
    )
    return Site(problems=[Problem("", reason, "The code")])


def _mkdocs(repository: Repository) -> Site | None:
    path = repository.first("mkdocs.yml", "mkdocs.yaml")
    if not path:
        return None
    # Read by the line: the file may hold tags of Python, which nothing here may follow.
    match = re.search(r"""^site_dir:\s*["']?([^\s"'#]+)""", repository.text(path), re.MULTILINE)
    publish = match[1] if match and not formats.relative_path(match[1]) else "site"
    return Site(
        "mkdocs",
        [["python", "-m", "mkdocs", "build", "--site-dir", publish]],
        publish,
        python=["mkdocs"],
        found=[f"Static site: MkDocs, as there is a {path}; it writes to {publish}."],
    )


def _hugo(repository: Repository) -> Site | None:
    path = repository.first(*HUGO)
    content = any(name.startswith(("content/", "themes/", "layouts/")) for name in repository.names)
    hugo = path and (path.startswith("hugo.") or content or "baseURL" in repository.text(path))
    if not hugo:
        return None
    match = re.search(r"""^publishDir\s*[:=]\s*["']?([^\s"'#]+)""", repository.text(path), re.MULTILINE)
    publish = match[1] if match and not formats.relative_path(match[1]) else "public"
    return Site(
        "hugo",
        [["hugo", "--minify", "--destination", publish]],
        publish,
        ["hugo"],
        found=[f"Static site: Hugo, as there is a {path}; it writes to {publish}. The Debian package hugo is needed."],
    )


def _npm(repository: Repository) -> Site | None:
    package = _package(repository)
    if not isinstance(package.get("scripts"), dict) or not package["scripts"].get("build"):
        return None
    names = {name for key in ("dependencies", "devDependencies") for name in _dict(package.get(key))}
    publish, why = next(((place, name) for name, place in OUTPUTS if name in names), ("", ""))
    site = Site("npm", [["npm", "run", "build"]], publish, ["nodejs", "npm"])
    if publish:
        site.found.append(
            f"Static site: npm run build, as package.json has that script; {why} writes to {publish}. "
            "The Debian packages nodejs and npm are needed."
        )
    else:
        site.problems.append(
            Problem(
                "",
                "package.json has a build script, and where it writes is not known. Fill in "
                "'Published directory', or write publish: into webops.yml.",
                "The code",
            )
        )
    return site


def _package(repository: Repository) -> dict[str, Any]:
    try:
        return _dict(json.loads(repository.text("package.json")))
    except (ValueError, RecursionError):
        return {}


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _plain(repository: Repository) -> Site | None:
    for place in PLAIN:
        path = f"{place}/index.html" if place else "index.html"
        if repository.has(path):
            where = f"the directory {place}" if place else "the whole repository"
            return Site(
                "plain",
                publish=place or ".",
                found=[f"Static site: plain files, as there is {path}; {where} is published."],
            )
    return None
