"""What a run does, says and hides: values are text, failures are words, secrets stay secret, floods are cut."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import psutil

from panel.runs import scratch
from panel.runs.steps import steps
from tests.faults.conftest import Installation, wait

HOSTILE = ["{{ lookup('pipe','touch %s') }}", "lookup('pipe','touch %s')", "{%% set x = lookup('pipe','touch %s') %%}",
           "$(touch %s)", "`touch %s`", "'; touch %s; '", "{{ {{ lookup('pipe','touch %s') }} }}"]
ODD = ["yes", "0123", "1:30", "", "=", "a\nb\n", "\"'\\", "é😀\u2028", "!unsafe x", "$ANSIBLE_VAULT;1.1;AES256", "~",
       "- x"]


def test_values_are_text_whatever_they_say(shared: Installation, tmp_path: Path):
    canary = tmp_path / "CANARY"
    texts = [text % canary if "%s" in text else text for text in HOSTILE] + ODD
    environment = [{"name": f"V{n}", "value": text} for n, text in enumerate(texts)]
    number = shared.submit("main", values={"trial_text": texts[0], "trial_environment": environment})
    run = shared.ended(number)
    assert (run.state, run.error) == ("succeeded", "")
    assert (shared.state / "file").read_text() == texts[0] + "\n"
    said = {one.data["item"]: one.data.get("stdout", "") for one in shared.events(number) if "item" in one.data}
    assert [said[f"V{n}"] for n in range(len(texts))] == [text.rstrip("\n") for text in texts]
    assert not canary.exists(), "a value was run as code"


def test_steps_of_a_run_are_those_that_did_something(shared: Installation):
    number = shared.submit("main", values={"trial_text": "fresh"})
    run = shared.ended(number)
    found = [(one.name, one.state) for one in steps(run, shared.events(number))]
    assert found == [("Write the text", "changed"), ("Say the text", "ok"),
                     ("Read the values through everything that could take them for code", "skipped"),
                     ("Skip this", "skipped")]
    assert [one.number for one in shared.events(number)] == list(range(1, run.last_event + 1))
    part = run.servers[0]
    assert (part.state, part.ok, part.changed, part.failed, part.skipped) == ("succeeded", 2 + 2, 1, 0, 2)


def test_check_mode_shows_the_difference_and_touches_nothing(shared: Installation):
    (shared.state / "file").write_text("old\n")
    number = shared.submit("main", values={"trial_text": "new"}, mode="check")
    assert shared.ended(number).state == "succeeded"
    assert (shared.state / "file").read_text() == "old\n"
    diff = next(one.data["diff"] for one in shared.events(number) if one.data.get("diff"))
    assert (diff[0]["before"], diff[0]["after"]) == ("old\n", "new\n")


def test_a_failure_is_told_in_its_own_words(shared: Installation):
    run = shared.ended(shared.submit("broken"))
    assert (run.state, run.error) == ("failed", "The release could not start.")
    assert run.servers[0].failed == 1


def test_a_server_that_does_not_answer_is_told_so(shared: Installation):
    number = shared.submit("remote")
    run = shared.ended(number)
    assert (run.state, run.error) == ("failed", "The SSH connection to here failed.")
    assert "webops server test here" in run.next_step


def test_a_playbook_that_ansible_cannot_read_is_told_with_its_line(shared: Installation):
    run = shared.ended(shared.submit("unreadable"))
    assert run.state == "failed"
    assert "unreadable.yml" in run.error or any("unreadable.yml" in str(one.data) for one in shared.events(run.id))
    assert run.error


def test_a_large_output_is_cut_with_a_note_of_how_much(shared: Installation):
    number = shared.submit("big")
    assert shared.ended(number).state == "succeeded"
    event = next(one for one in shared.events(number) if one.type == "ok" and one.data.get("stdout"))
    text = event.data["stdout"]
    assert text.startswith("begin\nxxx") and text.endswith("xxx\nend")
    assert len(json.dumps(event.data)) < 300_000
    assert "left out" in text and event.data["cut"] > 0


def test_secrets_are_nowhere(shared: Installation):
    """Searched for while the run goes on and after it: database file, Redis, scratch, process list, worker's log."""
    secret = 'Unsaid7"pass\\word-äö {{ 7 * 7 }}'
    needles = {secret, json.dumps(secret)[1:-1], json.dumps(json.dumps(secret)[1:-1])[1:-1],
               json.dumps(secret, ensure_ascii=False)[1:-1], "Unsaid7"}
    number = shared.submit("leak", secrets={"trial_password": secret})
    seen: list[str] = []

    def look() -> bool:
        for process in psutil.process_iter(["cmdline", "environ"]):
            text = repr(process.info["cmdline"]) + repr(process.info["environ"])
            seen.extend(f"process {process.pid}" for needle in needles if needle in text)
        return not shared.run(number).state.is_active

    wait("the end", look)
    run = shared.run(number)
    assert run.state == "failed" and run.error == "wrong password ********"
    assert run.secrets is None
    (shared.state / "file").unlink()  # where the role was told to write it
    for path in shared.state.rglob("*"):
        if path.is_file() and not path.is_socket():
            content = path.read_bytes()
            seen.extend(str(path) for needle in needles if needle.encode() in content)
    assert not seen
    texts = json.dumps([(one.name, one.data) for one in shared.events(number)], ensure_ascii=False)
    assert "Unsaid7" not in texts and "********" in texts
    assert any(one.data.get("hidden") for one in shared.events(number))
    shared.gone(number)


def test_the_private_directory_is_private_while_it_is_there(shared: Installation):
    number = shared.submit("slow", secrets={"trial_password": "S3cretpassword"})
    shared.begun(number, "Sleep long")
    path, = scratch.of_run(number)
    assert path.stat().st_mode & 0o777 == 0o700
    found = subprocess.run(["setpriv", "--reuid=65534", "--clear-groups", "ls", str(path)], capture_output=True)
    assert found.returncode != 0
    _cancel(shared, number)
    assert shared.ended(number).state == "canceled"
    shared.gone(number)


def test_cancel_ends_the_processes_at_once_and_says_where_it_was(shared: Installation):
    number = shared.submit("slow")
    shared.begun(number, "Sleep long")
    wait("the sleep", lambda: any("sleep 600" in one for one in _commands(shared, number)))
    _cancel(shared, number)
    run = shared.ended(number, 15)
    assert (run.state, run.error) == ("canceled", "Canceled by eve, during 'Sleep long'.")
    assert "here could not be asked" in run.next_step, "nobody answers at this server's address"
    shared.gone(number, 3)
    assert not any("sleep 600" in " ".join(one.info["cmdline"] or []) for one in psutil.process_iter(["cmdline"]))


def test_a_run_over_its_time_is_stopped_with_words(shared: Installation):
    run = shared.ended(shared.submit("slow", timeout=10), 40)
    assert run.state == "failed"
    assert "longer than its time-out of 10 seconds" in run.error
    shared.gone(run.id)


def test_what_waits_says_for_what_and_comes_in_its_turn(shared: Installation):
    """Two workers, three runs of one resource: never two at once, first come first served."""
    resource = shared.resource()
    first = shared.submit("slow", resource, values={"trial_seconds": 2})
    others = [shared.submit("main", resource) for _ in range(2)]
    assert shared.run(others[0]).waits_for == f"Run {first} (slow of {resource.name})"
    runs = [shared.ended(number) for number in (first, *others)]
    assert [one.state for one in runs] == ["succeeded"] * 3
    assert runs[0].ended_at <= runs[1].started_at <= runs[1].ended_at <= runs[2].started_at
    assert runs[2].waits_for == ""


def test_a_queued_run_can_be_canceled_and_the_next_one_goes_on(shared: Installation):
    resource = shared.resource()
    first = shared.submit("slow", resource)
    second, third = shared.submit("main", resource), shared.submit("main", resource)
    shared.begun(first, "Sleep long")
    _cancel(shared, second)
    assert shared.run(second).state == "canceled"
    _cancel(shared, first)
    assert shared.ended(third).state == "succeeded"


def test_a_successful_remove_forgets_the_resource_and_keeps_its_runs(shared: Installation):
    from panel.store import db
    from panel.store.models import Resource

    resource = shared.resource()
    assert shared.ended(shared.submit("main", resource)).state == "succeeded"
    with db.session() as s:
        assert s.get_one(Resource, resource.id).applied_at
    number = shared.submit("remove", resource)
    assert shared.ended(number).state == "succeeded"
    with db.session() as s:
        assert s.get(Resource, resource.id) is None
    assert (shared.run(number).resource_name, shared.run(number).resource_id) == (resource.name, None)


def test_redis_cannot_name_code_to_run(shared: Installation, tmp_path: Path):
    from rq.job import Job
    from rq.serializers import JSONSerializer

    from panel.runs import bell

    made = tmp_path / "made"
    job = Job.create("os.mkdir", args=[str(made)], connection=bell.connection(), serializer=JSONSerializer)
    bell.queue().enqueue_job(job)
    assert shared.ended(shared.submit("main")).state == "succeeded"
    assert not made.exists()


def _cancel(installation: Installation, number: int) -> None:
    from panel.runs.submit import cancel
    from panel.store import db
    from panel.store.models import Run

    with db.session() as s:
        cancel(s, s.get_one(Run, number), "eve")


def _commands(installation: Installation, number: int) -> list[str]:
    below = {one.pid for one in installation.horse(number).children(recursive=True)}
    return [" ".join(one.info["cmdline"] or []) for one in psutil.process_iter(["cmdline"]) if one.pid in below]
