"""Projects of Poetry and Pipenv are installed by uv, at the versions that their lock names."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

POETRY = """
[tool.poetry]
name = "shop"
version = "1"
package-mode = false
[tool.poetry.dependencies]
python = "^3.10"
sqlparse = "^0.4"
asgiref = {version = "~3.7", extras = ["tests"], markers = "sys_platform == 'linux'"}
tool = {git = "https://git.example.org/tool.git", branch = "main"}
near = {path = "lib/near"}
later = [{version = "1.*", python = "<3.12"}, {version = ">=2,<3", python = ">=3.12"}]
spare = {version = "*", optional = true}
[tool.poetry.group.dev.dependencies]
pytest = "*"
[[tool.poetry.source]]
name = "own"
url = "https://pypi.example.org/simple"
priority = "supplemental"
"""
LOCK = """
[[package]]
name = "sqlparse"
version = "0.4.3"
[[package]]
name = "Asgi.Ref"
version = "3.7.2"
[[package]]
name = "later"
version = "1.5"
[[package]]
name = "later"
version = "2.1"
[[package]]
name = "tool"
version = "1.0"
[package.source]
type = "git"
url = "https://git.example.org/tool.git"
resolved_reference = "0123456789abcdef"
"""


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("^1.2.3", ">=1.2.3,<2"),
        ("^0.4", ">=0.4,<0.5"),
        ("^0.0.3", ">=0.0.3,<0.0.4"),
        ("^1", ">=1,<2"),
        ("^0", ">=0,<1"),
        ("~1.2.3", ">=1.2.3,<1.3"),
        ("~1", ">=1,<2"),
        ("1.*", "==1.*"),
        ("*", ""),
        ("1.2", "==1.2"),
        (">=1,<2", ">=1,<2"),
        (">= 1.0, < 2", ">=1.0,<2"),
        ("~=4.2", "~=4.2"),
        ("^1 || ^2", ""),
        (">=1 <2", ">=1,<2"),
        ("==1.0", "==1.0"),
    ],
)
def test_ranges_are_said_in_the_words_of_pip(program, written, meant):
    assert program("locked").convert(written) == meant


def test_a_project_of_poetry_is_held_to_its_lock(program, tmp_path):
    (tmp_path / "pyproject.toml").write_text(POETRY)
    (tmp_path / "poetry.lock").write_text(LOCK)
    asked = program("locked").poetry(str(tmp_path))
    assert asked.requirements == [
        "sqlparse>=0.4,<0.5",
        "asgiref[tests]>=3.7,<3.8 ; (sys_platform == 'linux')",
        "tool @ git+https://git.example.org/tool.git@0123456789abcdef",
        f"near @ file://{tmp_path}/lib/near",
        "later==1.* ; python_version < '3.12'",
        "later>=2,<3 ; python_version >= '3.12'",
    ]
    assert asked.constraints == ["asgi-ref==3.7.2", "sqlparse==0.4.3"]
    assert asked.options == ["--extra-index-url https://pypi.example.org/simple"]


def test_extras_of_a_project_of_poetry_are_asked_for_by_their_name(program, tmp_path):
    (tmp_path / "pyproject.toml").write_text(POETRY + '[tool.poetry.extras]\nMore = ["spare"]\n')
    locked = program("locked")
    assert "spare" in locked.poetry(str(tmp_path), ["more"]).requirements
    assert "spare" not in locked.poetry(str(tmp_path)).requirements
    with pytest.raises(program("report").Stop, match=r"no extra 'none' in pyproject\.toml\. There are: more\."):
        locked.poetry(str(tmp_path), ["none"])
    (tmp_path / "pyproject.toml").write_text(
        '[project]\ndependencies = ["a>=1"]\n[project.optional-dependencies]\npostgres = ["psycopg>=3"]\n')
    assert locked.poetry(str(tmp_path), ["postgres"]).requirements == ["a>=1", "psycopg>=3"]


def test_standard_dependencies_of_a_project_of_poetry_are_taken_as_they_are(program, tmp_path):
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "x"\ndependencies = ["django>=5", "rq ; python_version > \'3\'"]\n'
    )
    assert program("locked").poetry(str(tmp_path)).requirements == ["django>=5", "rq ; python_version > '3'"]


def test_a_project_of_pipenv_is_held_to_its_lock(program, tmp_path):
    lock = {
        "_meta": {"sources": [{"url": "https://pypi.example.org/simple"}]},
        "develop": {"pytest": {"version": "==8"}},
        "default": {
            "sqlparse": {"version": "==0.4.3", "hashes": ["sha256:00"], "markers": "python_version >= '3.5'"},
            "uvicorn": {"version": "==0.30", "extras": ["standard"]},
            "tool": {"git": "https://git.example.org/tool.git", "ref": "0123"},
        },
    }
    (tmp_path / "Pipfile.lock").write_text(json.dumps(lock))
    asked = program("locked").pipenv(str(tmp_path))
    assert asked.requirements == [
        "sqlparse==0.4.3 ; python_version >= '3.5'",
        "uvicorn[standard]==0.30",
        "tool @ git+https://git.example.org/tool.git@0123",
    ]
    assert asked.options == ["--index-url https://pypi.example.org/simple"]


def test_a_pipfile_alone_names_ranges(program, tmp_path):
    (tmp_path / "Pipfile").write_text(
        '[[source]]\nurl = "https://pypi.org/simple"\n[packages]\ndjango = "~=5.2"\nrq = "*"\n'
    )
    asked = program("locked").pipenv(str(tmp_path))
    assert (asked.requirements, asked.options) == (["django~=5.2", "rq"], [])


@pytest.mark.parametrize(("file", "how"), [("pyproject.toml", "poetry"), ("Pipfile", "pipenv")])
def test_a_file_that_cannot_be_read_is_told(program, tmp_path, file, how):
    (tmp_path / file).write_text("[[[")
    with pytest.raises(program("report").Stop, match=f"{file} is not TOML"):
        getattr(program("locked"), how)(str(tmp_path))


@pytest.mark.parametrize("how", ["poetry", "pipenv"])
def test_they_are_really_installed_at_the_locked_versions(program, tmp_path, how):
    """From the package index, into a real environment. The newest sqlparse is another one."""
    app = tmp_path / "one" / "app"
    app.mkdir(parents=True)
    if how == "poetry":
        (app / "pyproject.toml").write_text(
            '[tool.poetry]\npackage-mode = false\n[tool.poetry.dependencies]\npython = "^3.10"\nsqlparse = "^0.4"\n'
        )
        (app / "poetry.lock").write_text('[[package]]\nname = "sqlparse"\nversion = "0.4.3"\n')
    else:
        (app / "Pipfile").write_text('[packages]\nsqlparse = "*"\n')
        (app / "Pipfile.lock").write_text('{"_meta": {}, "default": {"sqlparse": {"version": "==0.4.3"}}}')
    file = "poetry.lock" if how == "poetry" else "Pipfile.lock"
    wanted = {"cache": str(tmp_path / "cache"), "requirements": {"how": how, "file": file}}
    environment = program("python_env").Environment(str(tmp_path / "one"), str(app), wanted)
    environment.interpreter = lambda: sys.executable
    environment.uv = str(Path(sys.executable).with_name("uv"))
    assert environment.make(None) == 1
    asked = [environment.python, "-c", "import sqlparse; print(sqlparse.__version__)"]
    assert subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip() == "0.4.3"
