"""What detection promises, on a real server: sites by MkDocs, Hugo and npm; apps of Poetry and of Pipenv.

Installing Hugo and node takes minutes, so this is seen by `make soak`.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.sandbox.roles.conftest import Ready
from tests.sandbox.roles.play import Played
from tests.sandbox.roles.repositories import Repository
from tests.sandbox.roles.test_django_app import App

pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.skipif(not os.environ.get("WEBOPS_SOAK"), reason="takes minutes; with WEBOPS_SOAK=1"),
]
PACKAGE = {"name": "harbour", "private": True, "type": "module", "scripts": {"build": "vite build"},
           "devDependencies": {"vite": "5.4.21"}}
SITES: dict[str, tuple[dict[str, str], str]] = {
    "mkdocs": ({"mkdocs.yml": "site_name: Harbour handbook\n", "docs/index.md": "# Low water\n"}, "Low water"),
    "hugo": ({"hugo.toml": 'title = "Harbour log"\n', "content/_index.md": "The tide is *low*.\n",
              "layouts/index.html": "<h1>{{ .Site.Title }}</h1>{{ .Content }}"}, "<em>low</em>"),
    "npm": ({"package.json": json.dumps(PACKAGE), "src/main.js": "document.body.append('afloat')\n",
             "index.html": '<h1>Harbour</h1><script type="module" src="/src/main.js"></script>'}, "/assets/index-"),
}
POETRY = """
[tool.poetry]
name = "guestbook"
version = "1.0.0"
package-mode = false
[tool.poetry.dependencies]
python = "^3.11"
django = "~5.2"
psycopg = {version = "^3.2", extras = ["binary"], optional = true}
[tool.poetry.extras]
postgres = ["psycopg"]
[tool.poetry.group.dev.dependencies]
pytest = "^8"
"""
VERSIONS = {"asgiref": "3.11.0", "django": "5.2.17", "psycopg": "3.2.13", "sqlparse": "0.5.4"}
POETRY_LOCK = "".join(f'[[package]]\nname = "{name}"\nversion = "{version}"\noptional = false\n\n'
                      for name, version in VERSIONS.items()) + '[metadata]\nlock-version = "2.1"\n'
PIPENV_LOCK = json.dumps({"default": {
    name: {"version": f"=={version}", **({"extras": ["binary"]} if name == "psycopg" else {})}
    for name, version in VERSIONS.items()}})


@pytest.mark.parametrize("generator", SITES)
def test_a_site_is_built_by_its_generator(ready: Ready, tmp_path: Path, generator: str) -> None:
    files, words = SITES[generator]
    source = tmp_path / "source"
    source.mkdir()
    repository = Repository(ready, f"{generator}-site", tmp_path, source)
    repository.commit("The site", files)
    values = {"static_site_repo": repository.address, "static_site_domain": f"{generator}.example.org",
              "static_site_certificate": "self_signed"}

    def play(account: str, action: str) -> Played:
        done = ready.play("static_site", f"{generator}-site", values, account=account, action=action)
        assert done.code == 0, done.words() or done.output
        return done

    play("webops-admin", "main")
    assert words in ready.curl(f"https://{generator}.example.org/", "-k")
    assert play("webops-deploy", "deploy").changed == []


@pytest.mark.parametrize(("tool", "files", "more"), [
    ("poetry", {"pyproject.toml": POETRY, "poetry.lock": POETRY_LOCK}, {"django_app_extras": ["postgres"]}),
    ("pipenv", {"Pipfile": "[packages]\ndjango = '*'\n", "Pipfile.lock": PIPENV_LOCK}, {}),
])
def test_an_app_gets_what_its_lock_names(ready: Ready, tmp_path: Path, tool: str, files: dict[str, str],
                                         more: dict[str, Any]) -> None:
    repository = Repository(ready, "guestbook", tmp_path)
    repository.git("rm", "-q", "requirements.txt")
    repository.commit(f"With {tool}", files)
    app = App(ready, repository, f"{tool}-app", f"{tool}.example.org")
    app.values |= more
    app.succeed()
    assert json.loads(app.get("/healthz"))["database"] == "postgresql"
    environment = f"/srv/webops/{tool}-app/releases/{app.release()['build']}/venv/lib"
    installed = ready.run("find", environment, "-maxdepth", "4", "-name", "*.dist-info", "-printf", "%f\n").split()
    assert {f"{name}-{version}.dist-info" for name, version in VERSIONS.items()} <= set(installed)
    assert not any(name.startswith("pytest") for name in installed), "developers' tools stay away"
