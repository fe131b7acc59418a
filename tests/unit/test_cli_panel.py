"""The command line against a panel that listens: words, tables, streams, exit codes."""

from __future__ import annotations

import json
import re
import shlex
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from flask import Flask
from werkzeug.serving import make_server

from cli import panel as cli_panel
from cli.exits import OF_STATE, Exit
from cli.main import root
from panel.settings import ROOT
from panel.store import db
from panel.store.models import Resource, Run, State
from tests.believable import BROKEN, PASSWORD, add_run


@pytest.fixture
def listening(filled: Flask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """A panel on a port of its own, and nobody signed in yet."""
    monkeypatch.setenv("WEBOPS_CONFIG", str(tmp_path / "config.json"))
    server = make_server("127.0.0.1", 0, filled, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    cli_panel.panel.cache_clear()
    yield f"http://127.0.0.1:{server.port}"
    server.shutdown()
    thread.join()
    cli_panel.panel.cache_clear()


def webops(*words: str, stdin: str = "") -> Result:
    cli_panel.panel.cache_clear()
    return CliRunner().invoke(root, list(words), input=stdin)


@pytest.fixture
def signed_in(listening: str) -> str:
    done = webops("login", listening, "--name", "ada", "--password-file", "-", stdin=PASSWORD + "\n")
    assert done.exit_code == Exit.OK, done.output
    return listening


def test_the_token_is_kept_for_its_owner_alone_and_withdrawn_at_the_end(signed_in: str, tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    token = json.loads(file.read_text())["token"]
    assert PASSWORD not in file.read_text()
    assert webops("logout").exit_code == Exit.OK
    assert not file.exists()
    again = webops("login", signed_in, "--token-file", "-", stdin=token)
    assert again.exit_code == Exit.SIGNED_OUT


def test_a_wrong_password_a_wrong_address_and_nobody_there(listening: str) -> None:
    wrong = webops("login", listening, "--name", "ada", "--password-file", "-", stdin="nope")
    assert wrong.exit_code == Exit.SIGNED_OUT
    assert webops("login", "file:///etc/passwd").exit_code == Exit.USAGE
    nobody = webops("login", "http://127.0.0.1:1", "--name", "ada", "--password-file", "-", stdin="x")
    assert nobody.exit_code == Exit.UNREACHABLE
    assert "does not answer" in nobody.output and "Next:" in nobody.output
    assert webops("list").exit_code == Exit.SIGNED_OUT


def test_what_there_is_is_listed(signed_in: str) -> None:
    listed = webops("list").output
    assert "guestbook" in listed and "guestbook-db" not in listed
    assert "guestbook-db" in webops("list", "--all").output
    assert {row["name"] for row in json.loads(webops("list", "--json").output)} >= {"guestbook", "shop", "docs"}
    assert "web2.example.org:2222" in webops("server", "list").output
    shown = webops("status", "guestbook").output
    assert "https://guestbook.example.org/" in shown and "SENTRY_DSN=••••" in shown and "k@sentry" not in shown
    assert "django_app" in webops("kinds").output
    assert "SHA256:" in webops("server", "show", "web1").output


@pytest.mark.parametrize("name", ["", "..", "../users", "a/b"])
def test_what_cannot_be_a_name_asks_for_no_other_address(signed_in: str, name: str) -> None:
    for words in (("status", name), ("server", "show", name), ("apply", "django_app", name)):
        done = webops(*words)
        assert done.exit_code == Exit.REFUSED and f"'{name}' cannot be a name" in done.output, done.output


@pytest.mark.parametrize("name", ["", "..", "Guestbook", "guest_book", "guestbook/"])
def test_an_action_on_what_cannot_be_a_name_is_refused(signed_in: str, name: str) -> None:
    done = webops("restart", name)
    assert done.exit_code == Exit.REFUSED and f"There is no resource '{name}'" in done.output, done.output


def test_an_option_may_stand_before_the_name(signed_in: str) -> None:
    done = webops("restart", "--timeout", "60", "--on", "web1", "guestbook", "--check", "--no-wait")
    assert done.exit_code == Exit.OK and "is queued" in done.output, done.output
    none = webops("restart", "--on", "web1", "nosuch")
    assert none.exit_code == Exit.REFUSED and "There is no resource" in none.output


def test_values_are_written_and_secrets_only_when_asked_for(signed_in: str, tmp_path: Path) -> None:
    plain = webops("values", "guestbook").output
    assert "--- !unsafe" in plain and "sentry.example.org" not in plain
    file = tmp_path / "v.yml"
    assert webops("values", "guestbook", "--secrets", "-o", str(file)).exit_code == Exit.OK
    assert "sentry.example.org" in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_the_exit_code_says_how_a_run_ended(signed_in: str) -> None:
    with db.session() as session:
        ended = {run.state: run.id for run in session.query(Run) if not run.state.is_active}
        guestbook = session.query(Resource).filter_by(name="guestbook").one()
        for state in (State.SUCCEEDED, State.FAILED, State.CANCELED, State.LOST):
            if state not in ended:
                run = add_run(session, resource=guestbook, server=guestbook.server, action="deploy", state=state,
                              started=guestbook.created_at, steps=BROKEN)
                ended[state] = run.id
        session.commit()
    for state, number in ended.items():
        done = webops("run", "follow", str(number))
        assert done.exit_code == OF_STATE[state], (state, done.output)
        assert f"Run {number} {state}" in done.output
    assert OF_STATE["succeeded"] == 0 and len({OF_STATE[one] for one in ("failed", "canceled", "lost")}) == 3


def test_a_run_is_canceled_and_the_exit_code_says_whether_it_was(signed_in: str) -> None:
    def of(state: State) -> int:
        with db.session() as session:
            return session.query(Run).filter_by(state=state).order_by(Run.id.desc()).first().id  # type: ignore[union-attr]

    def ends(number: int, state: State) -> None:
        """As the worker of the run, when it sees that its end is asked for."""
        while True:
            with db.session() as session:
                run = session.get_one(Run, number)
                if run.cancel_asked_by:
                    run.state, run.ended_at = state, db.now(session)
                    session.commit()
                    return
            time.sleep(0.05)

    queued, running, failed = of(State.QUEUED), of(State.RUNNING), of(State.FAILED)
    over = webops("run", "cancel", str(failed))
    assert over.exit_code == Exit.REFUSED and "has ended already (failed)" in over.output, over.output
    for _ in range(2):
        done = webops("run", "cancel", str(queued))
        assert (done.exit_code, done.output) == (Exit.OK, f"Run {queued} is canceled.\n")
    unwatched = webops("run", "cancel", str(running), "--no-wait")
    assert (unwatched.exit_code, unwatched.output) == (Exit.OK, f"Run {running} is running, its end was asked for.\n")
    for state, code in ((State.CANCELED, Exit.OK), (State.SUCCEEDED, Exit.FAILED)):
        with db.session() as session:
            run = session.get_one(Run, running)
            run.state, run.cancel_asked_by, run.ended_at = State.RUNNING, "", None
            session.commit()
        worker = threading.Thread(target=ends, args=(running, state), daemon=True)
        worker.start()
        watched = webops("run", "cancel", str(running))
        assert watched.exit_code == code and f"Run {running} {state}" in watched.output, watched.output
    with db.session() as session:
        assert session.get_one(Run, running).cancel_asked_by == "ada"
    assert webops("run", "cancel", "4711").exit_code == Exit.REFUSED


def test_a_failed_run_ends_with_the_reason_the_journal_and_what_to_do(signed_in: str) -> None:
    with db.session() as session:
        run = session.query(Run).filter(Run.state == State.FAILED, Run.error != "").first()
        assert run and run.next_step
        number, error, next_step = run.id, run.error, run.next_step
    done = webops("run", "show", str(number)).output
    assert error in done and next_step in done
    assert done.index(error) < done.index(f"Next: {next_step}")


def test_a_wish_is_sent_and_refused_parameter_by_parameter(signed_in: str, tmp_path: Path) -> None:
    done = webops("apply", "ssl_cert", "new", "--server", "web1", "--domain", "new.example.org", "--source",
                  "self_signed", "--no-wait", "--json")
    assert done.exit_code == Exit.OK, done.output
    run = json.loads(done.stdout)
    assert (run["state"], run["door"]) == ("queued", "cli")
    refused = webops("apply", "ssl_cert", "new", "--domain", "x; }")
    assert refused.exit_code == Exit.REFUSED
    assert "domain: Write one full domain" in refused.output
    (tmp_path / "v.yml").write_text("domain: other.example.org\n")
    webops("apply", "ssl_cert", "new", "--values", str(tmp_path / "v.yml"), "--no-wait")
    shown = json.loads(webops("status", "new", "--json").output)
    assert shown["values"] == {"ssl_cert_domain": "other.example.org", "ssl_cert_source": "self_signed"}
    assert webops("apply", "ssl_cert", "other", "--domain", "o.example.org").exit_code == Exit.USAGE
    assert webops("apply", "sslcert", "x").exit_code == Exit.REFUSED


def test_every_action_is_a_verb(signed_in: str) -> None:
    done = webops("restart", "guestbook", "--no-wait", "--json")
    assert (done.exit_code, json.loads(done.stdout)["action"]) == (Exit.OK, "restart")
    command = webops("command", "guestbook", "--no-wait", "--json", "--", "createsuperuser", "--noinput")
    assert command.exit_code == Exit.OK, command.output
    with db.session() as session:
        run = session.get(Run, json.loads(command.stdout)["id"])
        assert run and run.values["django_app_command"] == ["createsuperuser", "--noinput"]
    assert webops("frobnicate", "guestbook").exit_code == Exit.USAGE
    assert webops("restart", "nosuch").exit_code == Exit.REFUSED
    unsure = webops("remove", "guestbook", stdin="n\n")
    assert unsure.exit_code != Exit.OK and "Remove guestbook?" in unsure.output
    assert "--timeout" in webops("restart", "guestbook", "--help").output


def test_a_secret_never_stands_on_the_command_line(signed_in: str, tmp_path: Path) -> None:
    shown = webops("apply", "django_app", "--help").output
    assert "--secrets " not in shown
    by_stdin = webops("apply", "django_app", "guestbook", "--secret-stdin", "secrets.TOKEN", "--no-wait",
                      stdin="s3cr3t-by-stdin\n")
    assert by_stdin.exit_code == Exit.OK, by_stdin.output
    assert "s3cr3t" not in by_stdin.output
    assert set(json.loads(webops("status", "guestbook", "--json").output)["secrets"]["django_app_secrets"]) == {
        "SENTRY_DSN", "TOKEN"}
    no_terminal = webops("apply", "django_app", "guestbook", "--ask", "secrets.TOKEN", "--no-wait")
    assert no_terminal.exit_code == Exit.USAGE


def test_a_broken_stream_is_taken_up_again_where_it_broke(signed_in: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = cli_panel.Panel.events
    begun: list[int] = []

    def broken(self: cli_panel.Panel, path: str, after: int) -> Iterator[tuple[str, Any]]:
        begun.append(after)
        for place, one in enumerate(whole(self, path, after)):
            if len(begun) < 6 and place == 5:
                raise cli_panel.Gone("cut")
            yield one

    monkeypatch.setattr(cli_panel.Panel, "events", broken)
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    expected = [line for line in webops("run", "show", "1").output.splitlines() if re.match(r"(ok|changed) ", line)]
    followed = [line for line in webops("run", "follow", "1").output.splitlines() if re.match(r"(ok|changed) ", line)]
    assert followed == expected
    assert begun == sorted(set(begun)) and len(begun) == 6


def test_a_host_key_is_not_accepted_by_saying_nothing(signed_in: str) -> None:
    unsure = webops("server", "accept", "db1", stdin="\n")
    assert unsure.exit_code == Exit.REFUSED and "SHA256:" in unsure.output
    wrong = webops("server", "accept", "db1", "SHA256:other")
    assert wrong.exit_code == Exit.REFUSED and "another host key" in wrong.output


def test_a_server_is_removed_by_a_run_and_forgotten_by_its_name(signed_in: str) -> None:
    in_use = webops("server", "remove", "web1", "--yes")
    assert in_use.exit_code == Exit.REFUSED and "Remove what is on it first" in in_use.output
    never = webops("server", "remove", "db1", "--yes")
    assert "webops server forget db1" in never.output
    done = webops("server", "forget", "db1", "--yes")
    assert done.exit_code == Exit.OK and "On the server itself nothing was changed" in done.output
    assert "db1" not in webops("server", "list").output


def test_text_of_a_server_cannot_command_the_terminal() -> None:
    from cli.progress import clean
    from cli.tables import clean_cell

    hostile = "\x1b]8;;javascript:x\x07\x9b31m\u202eabc\r"
    assert not any(char in clean(hostile) + clean_cell(hostile) for char in "\x1b\x9b\u202e\r\x07")


def test_a_deploy_key_is_made_and_shown_by_its_public_half(signed_in: str) -> None:
    none = webops("key", "guestbook")
    assert none.exit_code == Exit.REFUSED and "webops key guestbook --new" in none.output
    made = webops("key", "leaflet", "--new", "--kind", "static_site", "--server", "web1")
    assert made.exit_code == Exit.OK, made.output
    assert re.fullmatch(r"ssh-ed25519 AAAA\S+ webops-leaflet\n", made.stdout)
    assert "deploy key that may read" in made.stderr and "PRIVATE" not in made.output
    assert webops("key", "leaflet").stdout == made.stdout
    assert webops("key", "leaflet", "--new").stdout != made.stdout
    assert webops("key", "nobody", "--new").exit_code == Exit.REFUSED


def test_releases_are_listed_and_compared(signed_in: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from panel.link import client
    from tests.unit.test_web_releases import DIFFERENCE

    listed = webops("releases", "guestbook")
    assert listed.exit_code == Exit.OK, listed.output
    assert "● live" in listed.output and "never served" in listed.output and "by hand" in listed.output
    assert "grace, run 4" in listed.output and "Rolled back" not in listed.output
    monkeypatch.setattr(client, "ask", lambda *_, **__: DIFFERENCE)
    compared = webops("releases", "guestbook", "77b1e04..81aa0de")
    assert compared.exit_code == Exit.OK, compared.output
    for line in ("+ 81aa0de Fix <typo> (Ada)", "+ environment: SENTRY", "~ environment: MOTTO",
                 "+ migrations: book.0002_note"):
        assert line in compared.output
    wrong = webops("releases", "guestbook", "77b1e04..1234567")
    assert wrong.exit_code == Exit.REFUSED and "There is no release '1234567'. There are: " in wrong.output


@pytest.mark.usefixtures("signed_in")
def test_a_preset_begins_a_wish_and_another_takes_its_place() -> None:
    def values() -> dict[str, Any]:
        with db.session() as session:
            return dict(session.query(Resource).filter_by(name="chat").one().values)

    first = webops("apply", "vllm_model", "chat", "--server", "web1", "--preset", "qwen2.5-0.5b",
                   "--served-name", "mine", "--no-wait")
    assert first.exit_code == Exit.OK, first.output
    assert values() == {"vllm_model_model": "Qwen/Qwen2.5-0.5B-Instruct", "vllm_model_max_length": 8192,
                        "vllm_model_engine": "cpu", "vllm_model_kv_cache": "1G", "vllm_model_served_name": "mine"}
    other = webops("apply", "vllm_model", "chat", "--preset", "qwen3-8b", "--max-length", "4096", "--no-wait")
    assert other.exit_code == Exit.OK, other.output
    assert values() == {"vllm_model_model": "Qwen/Qwen3-8B", "vllm_model_max_length": 4096,
                        "vllm_model_served_name": "mine"}, "what only the first one decided is as nobody decided it"
    unknown = webops("apply", "vllm_model", "chat", "--preset", "gpt-9", "--no-wait")
    assert unknown.exit_code == Exit.USAGE and "there are: qwen2.5-0.5b" in unknown.output
    assert "--preset" not in webops("apply", "ssl_cert", "--help").output


@pytest.mark.usefixtures("signed_in")
def test_the_document_on_models_says_what_works() -> None:
    lines = re.findall(r"^webops (apply .*)$", (ROOT / "docs" / "llm.md").read_text(), re.MULTILINE)
    assert len(lines) >= 2
    for line in lines:
        done = webops(*shlex.split(line), "--no-wait")
        assert done.exit_code == Exit.OK, done.output
