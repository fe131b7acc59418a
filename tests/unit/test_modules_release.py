"""Which release is wanted, which are kept, how a switch ends: the modules' own decisions, without a server."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from pathlib import Path

import pytest


@pytest.fixture
def releases(module, tmp_path):
    for name in ("live", "env", "releases", "public", "shared"):
        (tmp_path / "shop" / name).mkdir(parents=True)
    return module("webops_release").Releases("shop", root=str(tmp_path))


FOUND = {"commit": "4f1c9aa" + "0" * 33, "subject": "Fix typo", "author": "Ada", "committed": "2026-11-22T15:00:00Z",
         "migrations": ["a/migrations/0001_x.py"]}
ASKED = {"name": "shop", "repo": "https://example.org/shop.git", "ref": "main", "inputs": {"python": ""}, "keep": 5,
         "variables_build": False}


@pytest.fixture
def decide(module, releases, monkeypatch):
    fetch = module("webops_fetch")
    monkeypatch.setattr(fetch, "prune", lambda *_args, **_more: None)

    def one(found=FOUND, write=True, variables=None, **more):
        variables = variables or {"A": "1"}
        other = not releases.live() or releases.environment(releases.live()["id"]) != variables
        if other and write:
            releases.write_environment("wanted", variables)
        return fetch.decide(releases, {**ASKED, "other_variables": other, **more}, {**FOUND, **found}, write)

    return one


def go_live(releases, record):
    releases.save({**record, "served": True, "built": 1.0, "project": {"cwd": "/x"}})
    releases.make_live(record)


def test_a_first_release_is_built_and_written_down(decide, releases):
    wanted = decide()
    assert wanted["changed"] and wanted["build_needed"]
    assert wanted["release"]["id"].endswith("-4f1c9aa") and wanted["release"]["build"] == wanted["release"]["id"]
    assert releases.environment(wanted["release"]["id"]) == {"A": "1"}
    assert wanted["webops_summary"] == "4f1c9aa · Fix typo"


def test_the_same_again_changes_nothing(decide, releases):
    go_live(releases, decide()["release"])
    assert decide()["changed"] is False


def test_other_variables_make_a_release_of_the_same_build(decide, releases):
    first = decide()["release"]
    go_live(releases, first)
    second = decide(variables={"A": "2"})
    assert second["changed"] and not second["build_needed"]
    assert second["release"]["build"] == first["build"] and second["release"]["id"] != first["id"]
    assert second["migrations"] == []
    assert releases.environment(first["id"])["A"] == "1"


@pytest.mark.parametrize("more", [{"inputs": {"python": "3.12"}}, {"repo": "https://example.org/other.git"},
                                  {"found": {"commit": "b" * 40, "migrations": [
                                      "a/migrations/0001_x.py", "a/migrations/0002_y.py"]}}])
def test_another_commit_or_input_is_built_anew(decide, releases, more):
    go_live(releases, decide()["release"])
    wanted = decide(**more)
    assert wanted["build_needed"]
    assert wanted["migrations"] == (["a/migrations/0002_y.py"] if "found" in more else [])


def test_a_rehearsal_writes_nothing(decide, releases):
    assert decide(write=False)["changed"]
    assert releases.all() == [] and os.listdir(releases.env) == []


def test_a_person_wins_over_the_role(module):
    given = module("webops_environment").variables({
        "variables": {"HOSTS": "x", "B": 1, "": "unnamed"}, "environment": [{"name": "A", "value": "1"}],
        "secrets": [{"name": "HOSTS", "value": "mine"}]})
    assert given == {"A": "1", "B": "1", "HOSTS": "mine"}


@pytest.mark.parametrize(("slots", "pointer"), [(True, "a"), (False, "current")])
def test_what_serves_just_as_wanted_needs_nothing_more(module, decide, releases, slots, pointer):
    fetch, slot = module("webops_fetch"), module("webops_slot").Slots(releases)
    go_live(releases, decide()["release"])
    asked = {"slots": slots, "argv": ["{python}", "{build}"], "environment": {"ROOT": "{build}/static"}}
    assert not fetch.serves(releases, asked, releases.live())
    Path(slot.pointer).symlink_to(slot.socket("a"))
    described = slot.describe(releases.live(), asked["argv"], asked["environment"])
    Path(releases.live_directory, pointer).write_text(json.dumps(described))
    assert fetch.serves(releases, asked, releases.live())
    other = {**asked, "argv": ["{python}", "--workers=3"]}
    assert fetch.serves(releases, other, releases.live()) is not slots


def test_a_site_is_built_anew_with_other_variables(decide, releases):
    go_live(releases, decide()["release"])
    assert decide(variables={"A": "2"}, variables_build=True)["build_needed"]


def test_variables_can_be_read_by_the_app_and_by_nobody_else(decide, releases):
    path = Path(releases.env, decide()["release"]["id"] + ".json")
    assert path.stat().st_mode & 0o777 == 0o640


def test_the_newest_that_served_are_kept_with_their_builds(releases):
    for number in range(6):
        record = {"id": f"2026-{number}", "build": f"2026-{min(number, 4)}", "served": number != 3}
        releases.save(record)
        releases.write_environment(record["id"], {})
    releases.make_live({"id": "2026-5"})
    releases.forget(2)
    assert [record["id"] for record in releases.all()] == ["2026-4", "2026-5"]
    assert sorted(os.listdir(releases.env)) == ["2026-4.json", "2026-5.json"]


def test_the_one_before_the_live_one_is_kept_even_if_only_one_is_wanted(releases):
    for number in range(3):
        releases.save({"id": f"r{number}", "build": f"r{number}", "served": True, "before": f"r{number - 1}"})
    releases.make_live({"id": "r2"})
    releases.forget(1)
    assert [record["id"] for record in releases.all()] == ["r1", "r2"]


def test_who_let_a_release_go_live_is_written_down_and_who_went_back_to_it(module):
    turned = module("webops_release").turned
    first = turned({"id": "20261122-100000-4f1c9aa"}, {}, {"id": 7, "actor": "ada"})
    assert (first["run"], first["actor"], first["went_live"][-1]) == (7, "ada", "Z") and first["seconds"] > 0
    by_hand = turned({"id": "20261122-100000-4f1c9aa"}, {}, {})
    assert "run" not in by_hand and "actor" not in by_hand
    again = turned(first, {"id": "20261123-100000-81aa0de"}, {"id": 9, "actor": "grace"})
    assert (again["run"], again["went_live"]) == (7, first["went_live"])
    assert {**again["back"], "at": ""} == {"at": "", "from": "20261123-100000-81aa0de", "run": 9, "actor": "grace"}


def test_going_back_twice_leads_on_and_a_release_that_was_gone_back_from_is_not_the_one_before(module, releases):
    turned, rollback = module("webops_release").turned, module("webops_rollback")
    names = [f"20261122-10000{number}-4f1c9aa" for number in range(4)]

    def serve(name):
        record = turned(releases.get(name) or {"id": name, "commit": "", "subject": ""}, releases.live() or {}, {})
        releases.save({**record, "served": True})
        releases.make_live(record)

    for name in names[:3]:
        serve(name)
    for expected in (names[1], names[0]):
        assert rollback.choose(releases, "")["id"] == expected
        serve(expected)
    serve(names[3])
    assert rollback.choose(releases, "")["id"] == names[0]


@pytest.fixture
def one_commit_thrice(releases):
    """By runs 5, 9 and 12, the last of them live, after another commit by run 3."""
    for number, (run, commit) in enumerate(((3, "77b1e04"), (5, "4f1c9aa"), (9, "4f1c9aa"), (12, "4f1c9aa"))):
        record = {"id": f"20261122-10000{number}-{commit}", "commit": commit + "0" * 33, "subject": "Fix typo",
                  "run": run, "served": True}
        releases.save(record)
    releases.make_live(record)
    return releases


def test_a_release_is_known_by_the_run_that_let_it_go_live_also_among_those_of_one_commit(module, one_commit_thrice):
    choose = module("webops_rollback").choose
    found = [choose(one_commit_thrice, f"run-{number}")["id"] for number in (3, 5, 9, 12)]
    assert found == [one["id"] for one in one_commit_thrice.all()]
    with pytest.raises(module("webops_unit").Refused, match="no release 'run-7' of shop") as told:
        choose(one_commit_thrice, "run-7")
    assert "20261122-100002-4f1c9aa (run-9, Fix typo)" in told.value.next


def test_a_commit_of_the_live_release_and_of_others_is_refused_and_they_are_named(module, one_commit_thrice):
    choose, releases = module("webops_rollback").choose, one_commit_thrice
    assert choose(releases, "77b1e04")["run"] == 3
    with pytest.raises(module("webops_unit").Refused, match=r"several releases of shop, the live.*-100003") as told:
        choose(releases, "4f1c9aa")
    assert "20261122-100002-4f1c9aa (run-9, Fix typo); 20261122-100001-4f1c9aa (run-5, Fix typo)" in told.value.next
    releases.make_live({"id": "20261122-100000-77b1e04"})
    assert choose(releases, "4f1c9aa")["run"] == 12, "the newest of them, where none of them is live"


def test_the_end_of_a_task_is_read_between_its_marks(module):
    lines = ["webops-begin old", "webops-end old 0", "webops-begin new", "hello", 'webops-result {"a": 1}',
             "webops-timeout 5", "webops-end new -15", "webops-begin later"]
    ended = module("webops_unit").Ended(lines, "new")
    assert (ended.code, ended.lines, ended.result, ended.timeout) == (-15, ["hello"], {"a": 1}, True)
    assert module("webops_unit").Ended(lines[:4], "new").code is None


def test_missing_rights_say_that_apply_is_needed(module, monkeypatch, tmp_path):
    fake = tmp_path / "sudo"
    fake.write_text("#!/bin/sh\necho 'sudo: a password is required' >&2\nexit 1\n")
    fake.chmod(0o755)
    unit = module("webops_unit")
    monkeypatch.setattr(unit, "SUDO", [str(fake)])
    with pytest.raises(unit.Refused, match="Needs Apply"):
        unit.systemctl("start", "wo-shop.task@build.service")


class Answering:
    """A unix socket that answers each request with the next of the given answers."""

    def __init__(self, path, *answers):
        self.requests = []
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(path)
        self.server.listen()
        threading.Thread(target=self._serve, args=(list(answers),), daemon=True).start()

    def _serve(self, answers):
        for answer in answers:
            connection, _peer = self.server.accept()
            self.requests.append(connection.recv(4096).decode())
            if answer is not None:
                connection.sendall(f"HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n".encode())
                connection.close()
            else:
                time.sleep(3)


@pytest.fixture
def probe(module, releases, monkeypatch, tmp_path):
    slot = module("webops_slot")
    monkeypatch.setattr(slot, "SOCKETS", str(tmp_path))
    running = {"ActiveState": "active", "SubState": "running", "NRestarts": "0"}
    monkeypatch.setattr(slot, "show", lambda *_names: running)
    monkeypatch.setattr(slot, "journal", lambda *_names: ["Traceback (most recent call last):", '  File "x"',
                                                          "ValueError: no luck"])
    wish = {"host": "shop.example.org", "path": "/healthz", "status": [200], "timeout": 1, "tries": 2}
    return slot.Probe(slot.Slots(releases), "a", wish, 0.0), str(tmp_path / "shop-a.sock"), slot


def test_a_probe_asks_as_nginx_would(probe):
    ask, path, _slot = probe
    server = Answering(path, "503 Busy", "200 OK")
    assert ask.wait() == "200 OK"
    assert "Host: shop.example.org\r\nX-Forwarded-Proto: https\r\n" in server.requests[0]


@pytest.mark.parametrize(("answers", "words"), [
    (["500 Internal Server Error"] * 2,
     "https://shop.example.org/healthz gave 500 Internal Server Error. ValueError: no luck"),
    ([None, None], "no answer within 1 seconds"),
])
def test_a_sick_release_is_refused_with_address_answer_and_cause(probe, answers, words):
    ask, path, slot = probe
    Answering(path, *answers)
    with pytest.raises(slot.Refused) as refused:
        ask.wait()
    assert words in str(refused.value)
    assert refused.value.facts["probe"]["url"] == "https://shop.example.org/healthz"


def test_a_process_that_ended_is_noticed_before_the_tries_are_used_up(probe, monkeypatch):
    ask, _path, slot = probe
    ended = {"ActiveState": "activating", "SubState": "auto-restart", "NRestarts": "0"}
    monkeypatch.setattr(slot, "show", lambda *_names: ended)
    began = time.monotonic()
    with pytest.raises(slot.Refused, match="does not start: ValueError: no luck"):
        ask.wait()
    assert time.monotonic() - began < 1


def test_gunicorns_own_words_are_not_the_cause(probe, monkeypatch):
    ask, _path, slot = probe
    monkeypatch.setattr(slot, "journal", lambda *_names: [
        '  File "wsgi.py"', "ModuleNotFoundError: No module named 'x'",
        "  raise HaltServer", "gunicorn.errors.HaltServer: <…>"])
    assert ask._last_words() == "ModuleNotFoundError: No module named 'x'"


def launch(tmp_path, wanted, *options):
    import subprocess

    description = tmp_path / "job.json"
    description.write_text(json.dumps({"cwd": str(tmp_path), "id": "x", **wanted}))
    program = Path(__file__).parents[2] / "roles" / "django_app" / "files" / "launch"
    argv = [sys.executable, "-IS", str(program), *options, str(description)]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=20)


@pytest.mark.parametrize("value", [
    "a\nLD_PRELOAD=/tmp/e.so", '"', "'", "\\", "$HOME", "`id`", "%h", "#x", " x ", "é 🌊", "\r\n",
])
def test_the_launcher_hands_values_over_as_they_are(tmp_path, value):
    (tmp_path / "env.json").write_text(json.dumps({"VALUE": value, "OVER": "1"}))
    (tmp_path / "bindings.json").write_text(json.dumps({"OVER": "2"}))
    code = "import json, os; print(json.dumps([os.environ['VALUE'], os.environ['OVER'], 'LD_PRELOAD' in os.environ]))"
    done = launch(tmp_path, {"argv": [sys.executable, "-c", code],
                             "env_files": [str(tmp_path / "env.json"), str(tmp_path / "bindings.json")]})
    assert json.loads(done.stdout) == [value, "2", False]


def test_a_task_tells_how_it_ended(tmp_path):
    done = launch(tmp_path, {"argv": [sys.executable, "-"], "stdin": "print('in')\nraise SystemExit(3)"}, "--task")
    assert done.returncode == 3
    assert [line for line in done.stdout.splitlines() if line] == ["webops-begin x", "in", "webops-end x 3"]


def test_a_task_that_takes_too_long_is_ended_with_all_it_started(tmp_path):
    code = "import subprocess; subprocess.run(['sleep', '30'])"
    done = launch(tmp_path, {"argv": [sys.executable, "-c", code], "timeout": 1}, "--task")
    assert "webops-timeout 1" in done.stdout and "webops-end x -15" in done.stdout


def test_a_program_that_is_not_there_is_named(tmp_path):
    done = launch(tmp_path, {"argv": ["/no/such/program"]}, "--task")
    assert done.returncode == 127 and "/no/such/program: No such file or directory" in done.stdout


def test_a_plan_holds_to_its_commit_in_words(module):
    fetch, refused = module("webops_fetch"), module("webops_unit").Refused
    asked = {**ASKED, "planned": {"commit": FOUND["commit"]}}
    fetch.refuse_other(asked, FOUND["commit"])
    with pytest.raises(refused, match=r"The plan was made for 4f1c9aa, but main is now 81aa0de\.") as wrong:
        fetch.refuse_other(asked, "81aa0de" + "0" * 33)
    assert "Plan again" in wrong.value.next


def test_what_is_held_to_the_live_commit_asks_nobody_for_another(module, releases, decide, monkeypatch):
    fetch = module("webops_fetch")
    asked = {**ASKED, "planned": {"commit": "live"}, "other_variables": False}
    assert not fetch.stays(releases, asked), "before the first release there is nothing to stay with"
    first = decide()["release"]
    first["built"] = {}
    releases.save(first)
    releases.make_live(first)
    repository = module("webops_repository")
    monkeypatch.setattr(repository, "ask_git", lambda *_: {"commit": "81aa0de" + "0" * 33})
    monkeypatch.setattr(repository, "run_task", lambda *_: pytest.fail("it fetched"))
    found = fetch.look(releases, asked)
    assert found["changed"] is False and found["webops_plan"]["commit"]["id"] == FOUND["commit"]
    assert found["webops_plan"]["newer"]["short"] == "81aa0de"
    assert fetch.fetch(releases, asked)["changed"] is False


def test_a_plan_names_commits_migrations_and_variables_but_no_value(decide):
    names = {"added": ["NEW"], "removed": [], "changed": ["API_KEY"]}
    commits = [{"id": FOUND["commit"], "short": "4f1c9aa", "author": "Ada", "subject": "Fix typo", "at": ""}]
    found = decide({"migrations": ["src/shop/migrations/0007_note.py"], "commits": commits}, names=names)
    plan = found["webops_plan"]
    assert plan["commit"]["short"] == "4f1c9aa" and plan["from"] is None and plan["commits"] == commits
    assert plan["migrations"] == [{"name": "shop.0007_note", "takes_away": []}]
    assert plan["environment"] == names
    assert found["diff"][0]["after"] == "API_KEY=(as wanted)\nNEW=\n"
