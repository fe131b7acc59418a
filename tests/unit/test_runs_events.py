"""From what Ansible reports to rows, steps and an outcome in words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from panel.runs.outcome import Outcome, no_access
from panel.runs.steps import Steps, steps
from panel.runs.translate import Translator, shorten
from panel.store.models import Event, Run

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def _task(name, action="ansible.builtin.command", role="app"):
    return {"event": "playbook_on_task_start", "created": (BEGAN + timedelta(seconds=1)).isoformat(),
            "event_data": {"task": name, "name": f"{role} : {name}", "role": role, "task_action": action}}


def _result(kind, host="x@web1", of_loop=False, **res):
    more = {"ignore_errors": res.pop("ignore_errors", False)}
    return {"event": f"runner_{'item_' if of_loop else ''}on_{kind}", "created": BEGAN.isoformat(),
            "event_data": {"host": host, "task": "T", "role": "app", "duration": 1.5, "res": res, **more}}


def _rows(*events):
    translator = Translator()
    return [row for event in events for row in translator.rows(event)]


def _events(*events):
    return [Event(run_id=1, number=n, type=row["type"], at=datetime.fromisoformat(row["at"]), step=row["step"],
                  host=row["host"], name=row["name"], role=row["role"], seconds=row["seconds"], data=row["data"])
            for n, row in enumerate(_rows(*events), 1)]


def _steps(*events):
    return steps(Run(started_at=BEGAN, created_at=BEGAN), _events(*events))


@pytest.mark.parametrize("kind,res,state", [
    ("ok", {}, "ok"), ("ok", {"changed": True}, "changed"), ("failed", {"msg": "x"}, "failed"),
    ("failed", {"msg": "x", "ignore_errors": True}, "ignored"), ("skipped", {}, "skipped"),
    ("unreachable", {"msg": "x"}, "unreachable")])
def test_a_result_becomes_the_state_of_its_step(kind, res, state):
    step, = _steps(_task("Build it"), _result(kind, **res))
    assert (step.number, step.name, step.role, step.state) == (1, "Build it", "app", state)
    assert (step.seconds, step.offset) == (1.5, 1)


def test_what_a_command_writes_is_shown_before_its_result_and_then_once():
    """Only of the task that speaks so, and only behind the name of the host that it is of."""
    speaks = [_task("Run the command", "webops_task"), {"event": "verbose", "stdout": "x@web1:\none\nERROR: two"},
              {"event": "verbose", "stdout": "x@web1:\nthree"}]
    step, = _steps(*speaks)
    assert (step.state, step.results["x@web1"].data) == ("running", {"stdout": "one\nERROR: two\nthree"})
    step, = _steps(*speaks, _result("ok", changed=True, output=["one", "ERROR: two", "three"]))
    assert (step.state, step.data) == ("changed", {"stdout": "one\nERROR: two\nthree"})
    outcome = Outcome()
    for row in _rows(*speaks):
        outcome.add(row)
    assert outcome.last_words == "", "what a program says is not what Ansible says"
    step, line = _steps(_task("Build it"), speaks[1])
    assert (step.results, line.text) == ({}, "x@web1:\none\nERROR: two")


def test_a_step_is_running_until_its_result_comes():
    fold = Steps(Run(started_at=BEGAN, created_at=BEGAN))
    task, result = _events(_task("Build it"), _result("ok"))
    assert fold.add(task).state == "running"
    assert fold.add(result) is fold.list[0] and fold.list[0].state == "ok"
    assert fold.add(task) is None, "an event that was seen changes nothing"


def test_the_worst_host_decides_and_each_is_kept():
    step, = _steps(_task("T"), _result("ok", "a@1"), _result("failed", "b@2", msg="no"))
    assert step.state == "failed" and step.results["a@1"].state == "ok" and step.data["msg"] == "no"


def test_items_of_a_loop_are_kept_one_by_one_and_not_twice():
    step, = _steps(_task("T"), _result("ok", of_loop=True, item="a", changed=True),
                   _result("failed", of_loop=True, item="b", msg="no"),
                   _result("failed", msg="One or more items failed", results=[{"item": "a"}]))
    assert [(label, state) for label, state, _ in step.results["x@web1"].items] == [("a", "changed"), ("b", "failed")]
    assert "results" not in step.data and "msg" not in step.data


def test_what_only_brings_other_tasks_is_shown_when_it_fails():
    bring = _task("Bring it", "ansible.builtin.include_role")
    assert [one.name for one in _steps(bring, _result("ok"), _task("T"), _result("ok"))] == ["T"]
    step, = _steps(bring, _result("failed", msg="no such role"))
    assert (step.name, step.state) == ("Bring it", "failed")


def test_hidden_results_say_that_they_are_hidden_and_nothing_else():
    row = _rows(_task("T"), _result("failed", censored="hidden", msg="secret"))[1]
    assert row["data"] == {"hidden": True}


def test_summary_facts_and_difference_reach_the_row():
    row = _rows(_task("T"), _result("ok", webops_summary="4f1c9aa · Fix typo", diff={"before": "a", "after": "b"},
                                    stdout_lines=["no"], webops_facts={"cores": 2}))[1]
    assert row["data"] == {"summary": "4f1c9aa · Fix typo", "diff": [{"before": "a", "after": "b"}],
                           "webops_facts": {"cores": 2}}


def test_a_difference_that_shows_nothing_is_left_out():
    assert _rows(_task("T"), _result("ok", diff=[{"before": "a", "after": "a"}, {"prepared": "+x"}]))[1]["data"] == {
        "diff": [{"prepared": "+x"}]}


def test_lines_outside_of_tasks_are_kept_together():
    lines = [{"event": "verbose", "stdout": text, "created": BEGAN.isoformat()} for text in ("ERROR! a", "", "b")]
    step, = _steps(*lines)
    assert (step.kind, step.text) == ("output", "ERROR! a\nb")


def test_long_texts_are_shortened_before_they_travel():
    assert len(shorten({"a": ["x" * 5_000_000]})["a"][0]) < 1_100_000


def _outcome(*events):
    outcome = Outcome()
    for row in _rows(*events):
        outcome.add(row)
    return outcome


def test_the_first_failure_is_the_error_with_its_next_step_and_journal():
    outcome = _outcome(_task("T"), _result("failed", msg="It broke.\nmore", next="Mend it.", journal=["a", "b"]),
                       _task("U"), _result("failed", msg="and this"))
    assert (outcome.error, outcome.next_step, outcome.journal) == ("It broke.", "Mend it.", ["a", "b"])


@pytest.mark.parametrize("res,error", [
    ({"msg": "non-zero return code", "rc": 1, "stderr": "Traceback\n  x\nValueError: bad"}, "ValueError: bad"),
    ({"msg": "MODULE FAILURE: see stdout", "module_stderr": "boom"}, "boom"),
    ({"msg": "Task failed: Module failed"}, "Module failed"), ({}, "The step 'T' failed."),
    ({"censored": "x"}, "The step 'T' failed. Its message is hidden, because it handles secrets.")])
def test_the_error_is_the_line_that_tells_most(res, error):
    assert _outcome(_task("T"), _result("failed", **res)).error == error


@pytest.mark.parametrize("said,words", [
    ("ssh: connect to host 10.0.0.1 port 22: Connection refused", "SSH connection to web1 failed"),
    ("@@@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @@@", "another host key"),
    ("Host key verification failed.", "another host key"),
    ("webops-admin@10.0.0.1: Permission denied (publickey).", "refused the login"),
    ("Could not resolve hostname nowhere: Name or service not known", "cannot be found by name"),
    ("Incorrect sudo password", "sudo")])
def test_no_connection_is_explained(said, words):
    error, next_step = no_access("web1", said)
    assert words in error and "web1" in error and next_step


def test_a_line_that_broke_behind_sudo_is_told_as_one():
    """Mitogen calls that a failure of the task, in words of its own."""
    outcome = _outcome(_task("T"), _result("failed", msg="Task failed: the respondent Context has disconnected"))
    assert (outcome.error, outcome.next_step) == no_access("web1", "Connection timed out.")
    assert "webops server test web1" in outcome.next_step and "may still be going on" in outcome.next_step


def test_counts_per_host_follow_ansible():
    outcome = _outcome(_task("T"), _result("ok"), _task("U"), _result("ok", changed=True), _task("V"),
                       _result("ok", of_loop=True, item=1), _result("skipped"))
    assert vars(outcome.hosts["x@web1"]) == {"ok": 2, "changed": 1, "failed": 0, "skipped": 1, "unreachable": 0}
