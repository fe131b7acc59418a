"""The live page: every event once and in order, whatever is cut."""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from itertools import islice
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select, update

from panel.store import db
from panel.store.models import Event, Resource, Run, State
from panel.web import clock, sse
from tests.believable import DEPLOY, add_run


def _messages(client: FlaskClient, number: int, after: int | None = None, **headers: str) -> Iterator[dict[str, str]]:
    """The messages of a stream as a browser reads them. Close it to cut the stream."""
    if after is not None:
        headers["Last-Event-ID"] = str(after)
    answer = client.get(f"/runs/{number}/stream", headers=headers, buffered=False)
    assert answer.status_code == 200, answer.text
    assert answer.mimetype == "text/event-stream" and answer.headers["X-Accel-Buffering"] == "no"
    rest = ""
    try:
        for piece in answer.response:
            rest += piece.decode() if isinstance(piece, bytes) else piece
            while "\n\n" in rest:
                block, rest = rest.split("\n\n", 1)
                yield _parsed(block)
    finally:
        answer.close()


def _parsed(block: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in block.split("\n"):
        key, _, value = line.partition(": ")
        found[key] = f"{found[key]}\n{value}" if key in found else value
    return found


def test_a_finished_run_is_told_whole_and_ends(ada: FlaskClient) -> None:
    told = list(_messages(ada, 4))
    assert told[0] == {"retry": "1500"}
    assert told[-1]["event"] == "end"
    steps = [one for one in told if one.get("event") == "step"]
    assert len(steps) == len(DEPLOY)
    numbers = [int(one["id"]) for one in steps]
    assert numbers == sorted(numbers)
    page = re.sub(r"\s+", " ", ada.get("/runs/4").text)
    for one in steps:
        assert re.sub(r"\s+", " ", one["data"]).strip() in page, "the page and its stream are drawn by one template"


def test_what_was_seen_is_not_told_again(ada: FlaskClient) -> None:
    whole = [one for one in _messages(ada, 4) if one.get("event") == "step"]
    seen = int(whole[5]["id"])
    again = [one["id"] for one in _messages(ada, 4, seen) if one.get("event") == "step"]
    assert again == [one["id"] for one in whole[6:]]
    last = [one for one in _messages(ada, 4, 10**9)]
    assert not [one for one in last if one.get("event") == "step"] and last[-1]["event"] == "end"


@pytest.mark.parametrize("wrong", ["-1", "abc", "99999999999999999999", "1 OR 1=1", "²"])
def test_a_number_that_is_none_is_refused(ada: FlaskClient, wrong: str) -> None:
    answer = ada.get(f"/runs/4/stream?after={wrong}")
    assert answer.status_code == 400
    assert "Last-Event-ID must be the number of an event" in answer.text


def test_a_stranger_gets_no_stream_and_other_sites_none_either(ada: FlaskClient) -> None:
    stranger = ada.application.test_client()
    answer = stranger.get("/runs/4/stream", headers={"Accept": "text/event-stream"})
    assert answer.status_code == 401
    assert "Access-Control-Allow-Origin" not in ada.get("/runs/4/stream").headers


def test_too_many_live_pages_are_refused_in_words(ada: FlaskClient) -> None:
    opened = [_messages(ada, 11) for _ in range(sse.PER_PERSON)]
    for one in opened:
        next(one)
    answer = ada.get("/runs/11/stream")
    assert answer.status_code == 429 and "Too many live pages are open." in answer.text
    for one in opened:
        one.close()
    assert next(_messages(ada, 11)) == {"retry": "1500"}


def _long_run(session: Any) -> int:
    guestbook = session.scalars(select(Resource).where(Resource.name == "docs")).one()
    run = add_run(session, resource=guestbook, server=guestbook.server, action="deploy", state=State.RUNNING,
                  started=clock.now(), steps=[])
    return run.id


def _write(number: int, tasks: int) -> None:
    """As the worker does: batches of random size, then the end."""
    chance, written = random.Random(1), 1
    at = clock.now()
    todo = [(kind, step) for step in range(1, tasks + 1) for kind in ("task", "ok")]
    while todo:
        size = chance.randint(1, 40)
        batch, todo = todo[:size], todo[size:]
        with db.session() as session:
            for kind, step in batch:
                written += 1
                session.add(Event(run_id=number, number=written, type=kind, step=step, name=f"Step {step}", role="r",
                                  at=at + timedelta(milliseconds=written), host="docs@web1",
                                  seconds=0.1 if kind == "ok" else None))
            session.execute(update(Run).where(Run.id == number).values(last_event=written))
            session.commit()
        time.sleep(0.002)
    with db.session() as session:
        session.execute(update(Run).where(Run.id == number).values(state=State.SUCCEEDED, ended_at=clock.now()))
        session.commit()


def test_a_stream_that_is_cut_again_and_again_loses_nothing(ada: FlaskClient) -> None:
    with db.session() as session:
        number = _long_run(session)
    writer = threading.Thread(target=_write, args=(number, 300))
    writer.start()
    chance, after, cuts, is_over = random.Random(2), 0, 0, False
    states: dict[str, str] = {}
    while not is_over:
        stream = _messages(ada, number, after)
        for one in islice(stream, chance.randint(3, 30)):
            if "id" in one:
                assert int(one["id"]) >= after, "numbers only rise"
                after = int(one["id"])
            if one.get("event") == "step":
                identity = re.search(r'class="step step--(\w+)[^"]*" id="(step-\d+)"', one["data"])
                assert identity
                states[identity[2]] = identity[1]
            is_over = one.get("event") == "end"
        stream.close()
        cuts += 1
    writer.join()
    assert cuts >= 20
    assert list(states) == [f"step-{step}" for step in range(1, 301)], "every step, in order"
    assert set(states.values()) == {"ok"}, "and each with its last state"
    assert after == 601
