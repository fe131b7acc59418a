"""What the documents say holds: every command in them is run by a test, every file they point to is there."""

import re
from pathlib import Path

import pytest

from panel.catalog import catalog, clean
from tests.sandbox.roles.archives import worked_examples

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
#: Documents that a test reads and runs line by line.
RUN = {"cli.md": "tests/sandbox/test_cli_docs.py", "install.md": "tests/sandbox/test_install.py",
       "adopt.md": "tests/whole/test_adopt.py", "fleet.md": "tests/whole/test_fleet.py"}
#: Commands elsewhere, and the test that runs them.
PROVED = {
    **{line: "tests/unit/test_model_doors.py" for line in (
        "webops model keys add chat website --requests 60 --tokens 100000", "webops model keys list chat",
        "webops model keys revoke chat website", "webops model bench chat --clients 1,2 --seconds 5",
        'webops model chat chat "What is low water?" --system "Be brief." --max-tokens 60')},
    **{line: "tests/unit/test_cli_panel.py" for line in (
        "webops apply vllm_model chat --server web1 --preset qwen3-8b --check",
        "webops apply vllm_model chat --server web1 --preset qwen3-8b --max-length 8192")},
    **{line: "tests/llm/test_the_document.py" for line in (
        "webops server add web1 --address 192.0.2.10 --user root --key-file ~/.ssh/id_ed25519",
        "webops plan vllm_model chat --server web1 --model /srv/models/qwen --domain models.example.org",
        "webops apply vllm_model chat --server web1 --model /srv/models/qwen --domain models.example.org",
        "webops model keys add chat laptop", 'webops model chat chat "Hello"',
        "webops swap chat --model /srv/models/qwen-new", "webops status chat")},
    "make demo": "tests/whole/test_demo.py",
    "make test": ".ci/run",
    "make test-llm": ".ci/run",
    "make run": "tests/unit/test_cli_processes.py",  # it is `webops up`
    ".venv/bin/webops user add admin --admin": "tests/unit/test_cli_processes.py",
}


def commands(document: Path) -> list[str]:
    blocks = re.findall(r"^```sh\n(.*?)^```", document.read_text(), re.MULTILINE | re.DOTALL)
    return [line.partition("  #")[0].strip() for block in blocks for line in block.splitlines() if line.strip()]


@each_document
def test_every_command_is_run_by_a_test(document: Path) -> None:
    if document.name in RUN:
        assert document.name in (ROOT / RUN[document.name]).read_text()
        return
    known = {line for name in RUN for line in commands(ROOT / "docs" / name)} | set(PROVED)
    unknown = [line for line in commands(document) if line not in known]
    assert not unknown, f"{document.name}: no test runs {unknown}; name the test in tests/unit/test_docs.py"


@each_document
def test_what_it_points_to_is_there(document: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text()):
        assert (document.parent / target).exists(), f"{document.name} points to {target}"


def test_the_makefile_describes_each_of_its_targets() -> None:
    text = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^([a-z][a-z-]*):", text, re.MULTILINE):
        assert re.search(rf"^{target}:.*## ", text, re.MULTILINE), f"make {target} has no words"


@pytest.mark.parametrize(("project", "values"), worked_examples().items())
def test_the_values_of_a_project_that_exists_are_taken_as_they_stand(project: str, values: dict[str, object]) -> None:
    cleaned = clean(catalog().kind("django_app"), "main", {"django_app_repo": "https://git.example.org/a/b", **values})
    for name, value in values.items():
        assert {**cleaned.values, **cleaned.secrets}[name] == value, f"{project}: {name}"
