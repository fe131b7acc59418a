"""Whatever is written into a field of any kind, through any door: refused in words, or kept and used as text."""

from __future__ import annotations

import html
import json
import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from cli import panel as cli_panel
from cli.exits import Exit
from cli.main import root
from panel.catalog import Kind, catalog
from tests.hostile import (
    CANARY,
    TEXTS,
    canaries,
    filled,
    form_fields,
    is_pairs,
    named,
    takes_text,
    words,
)
from tests.world import SERVER, World

pytestmark = pytest.mark.sandbox
KINDS = ["django_app", "nginx_vhost", "postgres_db", "redis_db", "ssl_cert", "static_site", "vllm_model"]


@pytest.fixture(autouse=True)
def nothing_ran(world: World) -> Any:
    yield
    assert canaries(world.place, Path("/dev/shm")) == [], "a text was run on the panel's machine"
    found = world.root("find", "/", "-xdev", "-name", f"*{CANARY}*", check=False)
    found += world.root("find", "/tmp", "/run", "/dev/shm", "-name", f"*{CANARY}*", check=False)
    assert found == "", "a text was run on the server"


def test_all_kinds_are_tried() -> None:
    assert sorted(catalog().kinds) == KINDS


def _by_api(world: World, kind: Kind, values: dict[str, Any]) -> dict[str, str]:
    """What is refused, and how: parameter -> words. Nothing may be granted."""
    answer = world.api("PUT", "/resources/canary", {"kind": kind.name, "server": SERVER, "values": values,
                                                    "mode": "check"})
    assert answer.status_code == 422 and answer.headers["Content-Type"] == "application/problem+json", answer.text
    return {one["field"]: one["message"] for one in answer.json()["errors"]}


def _by_form(world: World, kind: Kind, values: dict[str, Any]) -> str:
    fields = {key: text for name, value in values.items()
              for key, text in form_fields(kind.main.parameter(name), value).items()}  # type: ignore[arg-type]
    answer = world.form(f"/new/{kind.name}", {"name": "canary", "server": SERVER, "mode": "check", **fields})
    assert answer.status_code == 422, answer.headers.get("Location", answer.text[:500])
    return html.unescape(re.sub(r"<[^>]+>", " ", answer.text))


def _by_command_line(world: World, kind: Kind, values: dict[str, Any], place: Path) -> str:
    given = [word for name, value in values.items()
             for word in words(kind.main.parameter(name), value, place)]  # type: ignore[arg-type]
    cli_panel.panel.cache_clear()
    done = CliRunner(env={"WEBOPS_CONFIG": str(world.config)}).invoke(
        root, ["apply", kind.name, "canary", "--server", SERVER, "--check", *given])
    assert done.exit_code == Exit.REFUSED, done.output
    return done.output


def _short(field: str) -> str:
    return re.split(r"[\[.]", field)[0]


@pytest.mark.parametrize("name", KINDS)
def test_every_field_refuses_or_keeps(world: World, name: str, tmp_path: Path) -> None:
    """Each text into all fields at once; what is not refused by name is kept as it is (next test)."""
    kind = catalog().kind(name)
    free = {key for one in takes_text(kind.main) if _is_free(kind, one.key) for key in (one.key, one.name)}
    for text in TEXTS:
        values = {one.name: filled(one, text) for one in takes_text(kind.main)}
        refused = _by_api(world, kind, values)
        assert all(message.endswith(".") and CANARY not in message for message in refused.values()), refused
        kept = {one.key for one in takes_text(kind.main)} - {_short(field) for field in refused}
        assert kept <= free, f"{kept - free} take {text!r}"
        page = " ".join(_by_form(world, kind, values).split())
        said = " ".join(_by_command_line(world, kind, values, tmp_path).split())
        for field, message in refused.items():
            # The lines of a form are the items of a list: there a line's end cannot be within one.
            if not ("\n" in text and field.endswith("]")):
                assert " ".join(message.split()) in page, (field, message, page)
            assert _short(field) in said and " ".join(message.split()) in said, (field, said)
    assert world.api("GET", "/resources/canary").status_code == 404


def _is_free(kind: Kind, key: str) -> bool:
    """Fields that take any text, or any file name below the project: nothing may ever read these as code."""
    parameter = kind.main.parameter(key)
    assert parameter
    if parameter.suboptions or parameter.choices:
        return is_pairs(parameter)
    return parameter.format in ("", "line", "relative_path", "token")


def _accepted(kind: Kind, turn: int) -> dict[str, Any]:
    """All the texts that can be kept; which one stands in a field of one text, `turn` decides."""
    from panel.catalog import Refused, clean

    def fits(key: str, value: Any) -> bool:
        try:
            clean(kind, "main", {key: value}, partial=True)
            return True
        except Refused:
            return False

    found: dict[str, Any] = {}
    for place, one in enumerate(takes_text(kind.main)):
        if not _is_free(kind, one.key) or one.name == "django_app_directory":  # a check looks for it in the repository
            continue
        if is_pairs(one):
            found[one.name] = [item for item in named(one, TEXTS) if fits(one.key, [item])]
        elif one.type == "list":
            found[one.name] = [text for text in TEXTS if fits(one.key, [text])]
        else:
            good = [text for text in TEXTS if fits(one.key, text)]
            found[one.name] = good[(turn + place) % len(good)]
    return found


def _needed(world: World, kind: Kind, name: str) -> dict[str, Any]:
    """Good values for what a resource of this kind cannot be without."""
    values: dict[str, Any] = {}
    for one in kind.main.parameters:
        if one.choices and "self_signed" in one.choices:
            values[one.name] = "self_signed"
        if one.required and one.format == "git_address":
            values[one.name] = world.repository("guestbook" if kind.name == "django_app" else "site").address
        if one.required and one.format == "domain":
            values[one.name] = f"{name}.whole.test"
        if one.name == "nginx_vhost_roots":
            values[one.name] = ["/srv/webops"]
    return values


DOORS = ["browser", "api", "cli"]


@pytest.mark.parametrize("name", ["django_app", "nginx_vhost", "postgres_db", "static_site"])
def test_what_is_kept_is_text_in_a_run(world: World, name: str, tmp_path: Path) -> None:
    """A run in check mode per door; the values that are kept are those that were given, letter by letter."""
    kind = catalog().kind(name)
    asked = {}
    for turn, door in enumerate(DOORS):
        resource = f"canary{KINDS.index(name)}-{door}"
        values = {**_needed(world, kind, resource), **_accepted(kind, turn)}
        if door == "browser":
            values = _as_typed(values)
        asked[resource] = (door, values, _ask(world, kind, door, resource, values, tmp_path))
    for resource, (door, values, number) in asked.items():
        run = world.ended(number)
        assert run["door"] == door
        assert run["state"] == "succeeded", (resource, run["error"], run["next"])
        stored = _stored(world, number)
        secret = {one.name for one in kind.main.parameters if one.secret}
        assert {key: stored[key] for key in values if key not in secret} == \
            {key: value for key, value in values.items() if key not in secret}


def _stored(world: World, number: int) -> dict[str, Any]:
    with sqlite3.connect(world.panel.state / "webops.db") as rows:
        return dict(json.loads(rows.execute('select "values" from runs where id = ?', (number,)).fetchone()[0]))


def test_an_app_finds_every_text_in_its_environment(guestbook: World) -> None:
    """Written into the form, applied; the app itself says what it sees."""
    world, kind = guestbook, catalog().kind("django_app")
    values = {f"django_app_{key}": value for key, value in world.guestbook().items()}
    texts = [text.strip() for text in TEXTS]
    values["django_app_environment"] = [{"name": f"V{place}", "value": text} for place, text in enumerate(texts)]
    values["django_app_secrets"] += [{"name": f"S{place}", "value": text} for place, text in enumerate(texts)]
    parameters = {one.name: one for one in kind.main.parameters}
    fields = {key: text for name, value in values.items() for key, text in form_fields(parameters[name], value).items()}
    answer = world.form("/resources/guestbook/edit", {**fields, "django_app_acme_terms": "yes"})
    assert answer.status_code == 303, re.sub(r"<[^>]+>", " ", answer.text)
    world.succeeded(int(answer.headers["Location"].rpartition("/")[2]))
    seen = _seen(world)
    assert [seen[f"V{place}"] for place in range(len(texts))] == texts
    assert [seen[f"S{place}"] for place in range(len(texts))] == texts
    given = json.loads(world.api("GET", "/resources/guestbook/values?secrets=1").text)["values"]
    assert given["django_app_environment"] == values["django_app_environment"]
    assert given["django_app_secrets"] == values["django_app_secrets"]


def _seen(world: World) -> dict[str, str]:
    """The environment of the process that serves."""
    units = world.root("systemctl", "show", "-P", "MainPID", "wo-guestbook@a.service", "wo-guestbook@b.service").split()
    pid = next(one for one in units if one != "0")
    pairs = world.root("cat", f"/proc/{pid}/environ").split("\0")
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)


def test_words_of_a_command_reach_the_program(guestbook: World) -> None:
    """Every text as the only word of a manage.py command: it is no command, and the run says so with the text."""
    for text in (TEXTS[0], TEXTS[3], TEXTS[10]):
        done = guestbook.webops("command", "guestbook", "--", f"{text} as one word")
        assert done.returncode == Exit.FAILED
        assert CANARY in done.stdout + done.stderr or "********" in done.stderr, "the text, unless it is a secret, too"


def test_a_build_gets_its_words_as_they_are(world: World) -> None:
    """The build command of a site writes its own words into the page that is served."""
    domain = "words.whole.test"
    world.named(domain)
    code = ("import json, os, sys, pathlib; pathlib.Path('out').mkdir(); "
            "pathlib.Path('out/index.html').write_text(json.dumps([sys.argv[1:], os.environ['V0']]))")
    values = {"repo": world.repository("site").address, "domain": domain, "directory": "out",
              "certificate": "self_signed", "command": ["python3", "-c", code, *TEXTS],
              "environment": [{"name": "V0", "value": TEXTS[0]}]}
    world.succeeded(world.apply("static_site", "words", values))
    assert json.loads(world.ready.curl(f"https://{domain}/", "-k")) == [TEXTS, TEXTS[0]]


def test_a_virtual_host_sends_headers_as_they_are(world: World) -> None:
    domain = "headers.whole.test"
    texts = [text for text in TEXTS if "\n" not in text]
    values = {"domain": domain, "roots": ["/srv/webops"], "headers": [
        {"name": f"X-{place}", "value": text} for place, text in enumerate(texts)]}
    world.succeeded(world.apply("nginx_vhost", "headers", values))
    answer = world.ready.curl(f"http://{domain}/nothing", "-D", "-", "-o", "/dev/null")
    seen = {name.lower(): value for name, _, value in (line.partition(": ") for line in answer.splitlines())}
    assert [seen.get(f"x-{place}") for place in range(len(texts))] == texts


def test_a_password_opens_the_database_letter_by_letter(world: World, tmp_path: Path) -> None:
    text = " ".join(text for text in TEXTS if "\n" not in text)
    file = tmp_path / "password"
    file.write_text(text)
    done = world.webops("apply", "postgres_db", "canary-db", "--server", SERVER, f"--secret-file=password={file}")
    assert done.returncode == 0, done.stdout + done.stderr
    answer = world.root("env", f"PGPASSWORD={text}", "psql", "-h", "127.0.0.1", "-XAtc", "select current_user",
                        "canary_db", "canary_db")
    assert answer.strip() == "canary_db"


def _as_typed(values: dict[str, Any]) -> dict[str, Any]:
    """In a form a list is a field of lines."""
    return {key: [line for text in value for line in text.splitlines()]
            if isinstance(value, list) and all(isinstance(one, str) for one in value) else value
            for key, value in values.items()}


def _ask(world: World, kind: Kind, door: str, resource: str, values: dict[str, Any], place: Path) -> int:
    if door == "api":
        return world.apply(kind.name, resource, values, mode="check")
    parameters = {one.name: one for one in kind.main.parameters}
    if door == "cli":
        given = [word for key, value in values.items() for word in words(parameters[key], value, place)]
        done = world.webops("apply", kind.name, resource, "--server", SERVER, "--check", "--no-wait", "--json", *given)
        assert done.returncode == 0, done.stderr
        return int(json.loads(done.stdout)["id"])
    fields = {key: text for name, value in values.items() for key, text in form_fields(parameters[name], value).items()}
    answer = world.form(f"/new/{kind.name}", {"name": resource, "server": SERVER, "mode": "check", **fields})
    assert answer.status_code == 303, re.sub(r"<[^>]+>", " ", answer.text)
    return int(answer.headers["Location"].rpartition("/")[2])
