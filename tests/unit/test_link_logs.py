"""Which lines of a log are asked for: processes by their readable names, times, texts that are only texts."""

from __future__ import annotations

from typing import Any

import pytest

from panel.link import asked, terminals
from panel.link.client import LinkError
from panel.link.remote import names, sources


@pytest.mark.parametrize(("unit", "name"), [
    ("wo-guestbook@a.service", "web"), ("wo-guestbook@b.service", "web"), ("wo-shop-cache@main.service", "main"),
    ("wo-guestbook.worker@1.service", "worker 1"), ("wo-guestbook.worker@12.service", "worker 12"),
    ("wo-guestbook.task@migrate.service", "migrate"), ("wo-guestbook.cron-clean.service", "cron clean"),
    ("nginx.service", "nginx"), ("postgresql@15-main.service", "postgresql@15-main"),
    ("wo-shop-vhost.access.log", "access"), ("access.log", "access"), ("", ""),
])
def test_processes_have_names_for_people(unit: str, name: str) -> None:
    assert names.process(unit) == name


@pytest.mark.parametrize(("wanted", "units"), [
    ("", [0, 1, 2, 3]), ("web", [0]), ("worker", [1, 2]), ("worker 2", [2]), ("worker@2", [2]), ("Worker.2", [2]),
    ("wo-shop.task@migrate.service", [3]), ("migrate", [3]), ("work", []), ("--file=/etc/shadow", []),
])
def test_a_process_is_asked_for_by_name(wanted: str, units: list[int]) -> None:
    every = ["wo-shop@a.service", "wo-shop.worker@1.service", "wo-shop.worker@2.service",
             "wo-shop.task@migrate.service"]
    assert [every.index(unit) for unit in every if names.is_of(wanted, unit)] == units


def test_a_search_is_a_text_and_no_pattern() -> None:
    line = ["", "", "GET /a.b?[x]=$(id) ÄRGER", 6]
    assert all(sources.Wanted(grep=text).fits(line) for text in ("a.B?[X]", "$(ID)", "ärger", ""))
    assert not any(sources.Wanted(grep=text).fits(line) for text in (".*", "a.b.", "^GET"))


@pytest.mark.parametrize(("given", "code"), [
    ({"since": "soon"}, "invalid_since"), ({"until": "--file=x"}, "invalid_until"),
    ({"until": "1h", "follow": True}, "invalid_until"), ({"process": 7}, "invalid_process"),
    ({"grep": ["x"]}, "invalid_grep"), ({"grep": "x" * 201}, "invalid_grep"), ({"lines": 10 ** 6}, "invalid_lines"),
])
def test_what_cannot_be_asked_is_said_in_words(given: dict[str, Any], code: str) -> None:
    with pytest.raises(LinkError) as refused:
        asked.wanted(**{"lines": 1, "since": "", "follow": False, "grep": "", **given})
    assert refused.value.code == code and refused.value.message.endswith(".")


def test_times_as_the_journal_takes_them() -> None:
    assert [asked.moment(text) for text in ("1h", "-90s", "2 min ago", "1w", "")] == \
        ["-3600s", "-90s", "-120s", "-604800s", ""]
    assert asked.moment("2026-11-22T10:00") == asked.moment("2026-11-22 10:00+00:00") == "@1795341600"


@pytest.mark.parametrize("given", [
    {"argv": []}, {"argv": [""]}, {"argv": ["sh", "a\0b"]}, {"argv": "sh"}, {"argv": ["x"] * 101},
    {"argv": ["sh"], "columns": 0}, {"argv": ["sh"], "rows": True}, {"argv": ["sh"], "columns": 10 ** 6},
])
def test_terminals_that_cannot_be(given: dict[str, Any]) -> None:
    with pytest.raises(LinkError) as refused:
        terminals.wanted(given)
    assert refused.value.code.startswith("invalid_")


def test_a_terminal_of_an_odd_type_is_a_usual_one() -> None:
    assert terminals.wanted({"argv": ["sh"], "term": "x\n; id"})["term"] == "xterm"
    assert terminals.wanted({"argv": ["sh"], "tty": True})["tty"] is True
