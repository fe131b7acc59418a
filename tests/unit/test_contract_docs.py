"""docs/contract.md says what the code does: its table is the schema's, its examples are accepted."""

import re
from pathlib import Path

import pytest

from tests.contracts import PROJECT, contract, read, reasons

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "contract.md"
TEXT = DOCUMENT.read_text()
EXAMPLES = re.findall(r"^```(yaml|json)\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
VARIABLES = re.search(r"## `\.env\.example`(.*)", TEXT, re.DOTALL)


def test_the_table_is_that_of_the_schema() -> None:
    assert contract.table() in TEXT, f"write this into docs/contract.md:\n{contract.table()}"


@pytest.mark.parametrize(("language", "text"), EXAMPLES)
def test_each_example_is_accepted(language: str, text: str) -> None:
    name = "webops.json" if language == "json" else "webops.yml"
    assert reasons(read({**PROJECT, name: text}, kind="static_site" if "static_site" in text else "django_app")) == []


def test_the_words_on_apply_are_those_of_a_run() -> None:
    with_worker = read({**PROJECT, "Procfile": "worker: x"}, kind="django_app")
    assert contract.needs_apply(contract.settle(with_worker, {})["root"], {}) == ["the process worker is new"]
    assert '"Needs Apply, because the process\nworker is new."' in TEXT


def test_each_variable_is_offered_as_the_table_says() -> None:
    assert VARIABLES
    rows = re.findall(r"^\| (given|generate|ask|default) \|[^|]*\| ([^|]*) \|", VARIABLES[1], re.MULTILINE)
    assert len(rows) == 4
    for way, names in rows:
        for name in re.findall(r"`([^`]*)`", names):
            line = name if "=" in name else f"{name}="
            [found] = read({**PROJECT, ".env.example": line}).variables
            assert found.way == way, name


def test_what_it_says_of_versions_and_schedules_holds() -> None:
    found = read({**PROJECT, "webops.yml": "python: 3.10\n"})
    assert found.values["python"] == "3.10"
    line = next(line for line in TEXT.splitlines() if line.startswith("Schedules are"))
    for schedule in re.findall(r"`([^`]*)`", line):
        jobs = f'cron: [{{name: a, schedule: "{schedule}", command: x}}]'
        assert reasons(read({**PROJECT, "webops.yml": jobs})) == [], schedule
