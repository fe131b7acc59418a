"""Following a run without a worker: rows that a test writes, read by threads and under gevent."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
import time

import pytest

from panel.runs import stream
from panel.runs.events import insert
from panel.store import db
from panel.store.models import Run, State


@pytest.fixture
def run(database):
    with db.session() as s:
        one = Run(lock="x", kind="k", resource_name="r", action="main", state=State.RUNNING, actor="a", door="api",
                  timeout=60)
        s.add(one)
        s.commit()
        return one.id


def _say(run, first, last):
    with db.session() as s:
        insert(s, [{"run_id": run, "number": n, "type": "note", "at": db.now(s), "step": 0, "host": "", "name": "",
                    "role": "", "seconds": None, "data": {}} for n in range(first, last + 1)])
        s.get_one(Run, run).last_event = last
        s.commit()


def _end(run):
    with db.session() as s:
        s.get_one(Run, run).state = State.SUCCEEDED
        s.commit()


def test_readers_get_what_comes_without_redis_and_end_with_the_run(run):
    seen: list[list[int]] = [[] for _ in range(3)]
    threads = [threading.Thread(target=lambda mine=mine: mine.extend(one.number for one in stream.follow(run) if one))
               for mine in seen]
    for thread in threads:
        thread.start()
    for first in range(1, 1201, 300):
        _say(run, first, first + 299)
        time.sleep(0.2)
    _end(run)
    for thread in threads:
        thread.join(10)
    assert seen == [list(range(1, 1201))] * 3


def test_silence_is_told_so_that_lost_readers_are_noticed(run, monkeypatch):
    monkeypatch.setattr(stream, "_PING", 0.3)
    following = stream.follow(run)
    began = time.monotonic()
    assert next(following) is None and time.monotonic() - began < 2
    _say(run, 1, 1)
    assert next(one for one in following if one).number == 1
    following.close()


def test_who_stops_reading_leaves_nothing_behind(run):
    import os

    following = stream.follow(run)
    _say(run, 1, 1)
    next(following)
    following.close()
    assert run not in stream._hub(os.getpid())._reels


def test_it_works_where_gevent_has_replaced_threads_and_sockets(run):
    """As in the web process: many greenlets wait at the same time, and others go on meanwhile."""
    _say(run, 1, 20)
    code = textwrap.dedent(f"""
        from gevent import monkey; monkey.patch_all()
        import gevent
        from panel.runs.stream import follow
        from panel.store import db
        from panel.store.models import Run, State
        ticks = []
        def tick():
            while True:
                ticks.append(1); gevent.sleep(0.05)
        def end():
            gevent.sleep(1)
            with db.session() as s:
                s.get_one(Run, {run}).state = State.SUCCEEDED
                s.commit()
        ticking = gevent.spawn(tick)
        readers = [gevent.spawn(lambda: [one.number for one in follow({run}) if one]) for _ in range(50)]
        gevent.joinall([*readers, gevent.spawn(end)], timeout=20)
        assert all(one.value == list(range(1, 21)) for one in readers), [one.value for one in readers][:3]
        assert len(ticks) > 5, len(ticks)
        print("fine")
    """)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "fine", done.stderr
