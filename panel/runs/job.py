"""What a worker does with a run: claim, play, settle."""

from __future__ import annotations

import logging
import signal
import threading
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import update

from panel.catalog import NoSuchKind
from panel.runs import bell, claim, plans, spec
from panel.runs.errors import PlanMoved
from panel.runs.events import Recorder
from panel.runs.outcome import Outcome
from panel.runs.play import End, Play
from panel.runs.redact import Redactor
from panel.runs.remote import stop_units
from panel.runs.scratch import private_directory
from panel.runs.settle import Verdict, settle
from panel.runs.watch import Stop, Watch
from panel.store import db
from panel.store.models import Mode, PartState, Run, State
from panel.store.seal import SecretContextError

log = logging.getLogger("webops.runs")


def execute(run_id: int) -> None:
    """Do the run, if it is ours to do. Everything that goes wrong ends up on the run's row."""
    owner = claim.owner()
    with db.session() as session:
        run = claim.claim(session, run_id, owner)
        if run is None:
            return
        bell.tell(run_id)
        skew = db.now(session) - datetime.now(UTC)
        # One session for the whole run would hold a connection for hours; what it needs is read by now.
        _load(run)
    recorder = Recorder(run_id, Redactor([]), skew)
    with Watch(run_id, owner, run.timeout) as watch:
        try:
            with private_directory(run_id) as directory:
                verdict = _play(run, watch, recorder, directory)
        except OSError as wrong:
            log.exception("Run %s: its files broke.", run_id)
            verdict = Verdict(State.FAILED, f"WebOps could not keep the files of this run: {wrong}.",
                              "Look at the space below the directory that the message names, then run it again.")
        recorder.close()
        if watch.stop is not Stop.FENCED:
            settle(run_id, owner, verdict, recorder.outcome, recorder.last)


def _load(run: Run) -> None:
    """Read what the run refers to, so that it can be used without its session."""
    for part in run.servers:
        assert part.server is None or part.server.name
    assert run.resource is None or run.resource.name


def _play(run: Run, watch: Watch, recorder: Recorder, directory: Path) -> Verdict:
    with Play(spec.environment(directory)) as play:
        watch.call_on_stop(play.stop)
        _stop_on_sigterm(watch)
        threading.Thread(target=_remember_version, args=(run.id,), daemon=True).start()
        try:
            with db.session() as session:
                plans.check_claimed(session, run)
            made = spec.build(run, directory)
            recorder.mask(Redactor(made.secrets))
            end = play.run(made.told, recorder.add)
        except (SecretContextError, NoSuchKind, PlanMoved) as wrong:
            return Verdict(State.FAILED, str(wrong), "Nothing was changed.")
        except Exception:  # the run must end with words, whatever it was
            log.exception("Run %s: its play broke.", run.id)
            end = End(None, "WebOps itself failed here; its log says more.")
    return _judge(run, watch, recorder, end, directory)


def _stop_on_sigterm(watch: Watch) -> None:
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: watch.ask(Stop.INTERRUPTED))


def _remember_version(run_id: int) -> None:
    """Beside the play, because git takes longer than everything else before it."""
    with db.session() as session:
        session.execute(update(Run).where(Run.id == run_id).values(roles_version=spec.roles_version()))
        session.commit()


def _judge(run: Run, watch: Watch, recorder: Recorder, end: End, directory: Path) -> Verdict:
    outcome = recorder.outcome
    if end.code == 0:
        return Verdict(State.SUCCEEDED)
    if watch.stop:
        return _stopped(run, watch.stop, recorder, directory)
    if outcome.error:
        return Verdict(State.FAILED, _with_server(run, outcome), outcome.next_step)
    if end.code is None:
        where = f" at the step '{outcome.step}'" if outcome.step else ""
        if end.stderr:
            recorder.output(end.stderr)
        return Verdict(State.FAILED, f"Ansible was ended from outside{where}.",
                       "Was the machine short of memory? Run it again: what is done already stays as it is.")
    said = outcome.last_words.strip().partition("\n")[0] or f"Ansible ended with code {end.code}."
    return Verdict(State.FAILED, said, "The output of the run tells more.")


def _with_server(run: Run, outcome: Outcome) -> str:
    """What went wrong, and of several servers on which."""
    server = outcome.failed_on.rpartition("@")[2]
    return outcome.error if len(run.servers) < 2 or server in outcome.error else f"{server}: {outcome.error}"


def _going_on(run: Run, outcome: Outcome) -> list[str]:
    """The hosts on which something may still go on: the only one, or those of the batch that was begun."""
    over = (PartState.SUCCEEDED, PartState.NOT_BEGUN)
    return [one.host for one in run.servers
            if len(run.servers) == 1 or outcome.progress.at_end(one.host, State.CANCELED) not in over]


def _stopped(run: Run, why: Stop, recorder: Recorder, directory: Path) -> Verdict:
    left = "" if run.mode is Mode.CHECK else stop_units(run, directory, _going_on(run, recorder.outcome)).words()
    during = f"during '{recorder.outcome.step}'" if recorder.outcome.step else "before the first step"
    state, error, advice = State.FAILED, "", ""
    if why is Stop.CANCELED:
        with db.session() as session:
            by = session.get_one(Run, run.id).cancel_asked_by
        state, error = State.CANCELED, f"Canceled by {by}, {during}."
        advice = "What was done before stays. Run it again to finish it."
    elif why is Stop.TIMEOUT:
        error = f"Stopped {during}: it took longer than its time-out of {run.timeout} seconds."
        advice = "Look at the last step. If it only needs more time, run it again with a longer time-out."
    else:
        error = f"WebOps' worker was stopped {during}."
        advice = "Run it again: what is done already stays as it is."
    recorder.note(" ".join(filter(None, (error, left))))
    return Verdict(state, error, " ".join(filter(None, (advice, left))))
