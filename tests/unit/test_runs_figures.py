"""Figures over time: from counters that only grow, and from looks that may be missing."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import delete, func, insert, select

from panel.link.remote import desks
from panel.runs import exposition, figures
from panel.store import db
from panel.store.figures import Figure
from panel.store.models import Resource, Server
from panel.store.places import Place
from panel.web import charts

BEFORE = datetime(2026, 11, 1, 12, tzinfo=UTC)
AFTER = BEFORE + timedelta(seconds=10)


def engine(**told: Any) -> dict[str, Any]:
    return {"engine": told, "keys": {}, "gpus": None, "problem": ""}


def point(before: dict[str, Any], after: dict[str, Any]) -> figures.Point:
    return figures.point(BEFORE, before, AFTER, after)


def test_a_rate_is_what_came_between_two_looks() -> None:
    assert point(engine(generation_tokens=100), engine(generation_tokens=350)).tokens_per_second == 25
    # An engine that was started anew counts from nothing.
    assert point(engine(generation_tokens=900), engine(generation_tokens=50)).tokens_per_second == 5


@pytest.mark.parametrize(("before", "after"), [
    ({"engine": None}, engine(generation_tokens=5)), (engine(), engine(generation_tokens=5)),
    (engine(generation_tokens=5), {"engine": None, "keys": None, "gpus": None})])
def test_what_is_not_known_is_none(before: dict[str, Any], after: dict[str, Any]) -> None:
    assert point(before, after).tokens_per_second is None


def test_the_first_token_is_read_from_what_came_between() -> None:
    before = engine(first_token=[[0.1, 100], [0.5, 100], [None, 100]])
    after = engine(first_token=[[0.1, 100], [0.5, 110], [None, 110]])
    found = point(before, after)
    assert found.first_token_p50 == pytest.approx(0.3) and found.first_token_p95 == pytest.approx(0.48)
    assert point(after, after).first_token_p50 is None
    # Fewer than before: it was started anew, although it has answered more than that since.
    anew = engine(first_token=[[0.1, 0], [0.5, 200], [None, 200]])
    assert point(before, anew).first_token_p50 == pytest.approx(0.3)


def test_what_an_engine_did_before_anybody_looked_is_not_told_as_since() -> None:
    assert point({"engine": None}, engine(first_token=[[0.1, 100], [None, 100]])).first_token_p50 is None


def test_more_than_the_last_bound_is_the_last_bound() -> None:
    assert figures.quantile([(1.0, 0), (None, 5)], 0.5) == 1.0
    assert figures.quantile([], 0.5) is None and figures.quantile([(None, 0)], 0.5) is None


def test_gpus_and_keys() -> None:
    card = {"index": 0, "name": "H200", "memory_used": 30.0, "memory_total": 120.0, "busy": 40.0}
    after = {"engine": None, "gpus": [card, {**card, "busy": None}],
             "keys": {"a": {"requests": 9}, "new": {"requests": 1}}}
    found = point({"engine": None, "gpus": None, "keys": {"a": {"requests": 4}}}, after)
    assert (found.gpu_memory, found.gpu_busy) == (0.25, 40.0)
    assert found.keys == {"a": 30.0, "new": 6.0}


@pytest.fixture
def place(filled: Flask) -> int:
    """A place of a resource, with an hour of looks and ten minutes in which nobody looked."""
    with db.session() as session:
        found = session.scalars(select(Resource).where(Resource.name == "guestbook")).one().places[0]
        at = db.now(session)
        for number in range(360):
            if not 100 <= number < 160:
                session.add(Figure(place_id=found.id, at=at - timedelta(seconds=10 * (359 - number)),
                                   data=engine(generation_tokens=number * 100, running=1)))
        session.add(Figure(place_id=found.id, at=db.now(session) - timedelta(hours=49), data=engine()))
        session.commit()
        return found.id


def test_an_hour_with_a_gap(place: int) -> None:
    with db.session() as session:
        there = session.get(figures.Place, place)
        assert there
        points = figures.series(session, there, timedelta(hours=1))
        assert 100 <= len(points) <= figures.MOST_POINTS
        assert [one.running is None for one in points].count(True) == 1
        assert {round(one.tokens_per_second) for one in points if one.tokens_per_second is not None} == {10}
        drawn = charts.of(points, timedelta(hours=1), db.now(session))
        assert drawn[0].lines[0].path.count("M") == 2 and drawn[0].lines[0].now == "10"
        assert drawn[4].most == ""


def test_charts_end_now_and_do_not_tell_what_was_last_seen_as_now(place: int) -> None:
    with db.session() as session:
        session.execute(delete(Figure).where(Figure.at > db.now(session) - timedelta(minutes=20)))
        there = session.get(figures.Place, place)
        assert there
        points = figures.series(session, there, timedelta(hours=1))
        at = db.now(session)
        drawn = charts.of(points, timedelta(hours=1), at)
    assert points[-1].running is None and at - points[-1].at < timedelta(seconds=5)
    assert [line.now for line in drawn[2].lines] == ["unknown", "unknown"] and drawn[2].until == at
    assert max(float(x) for x in re.findall(r"[ML]([\d.]+) ", drawn[2].lines[0].path)) == pytest.approx(160, abs=2)


def test_old_figures_are_few_and_draw_the_same_lines(place: int, subtests: pytest.Subtests) -> None:
    with db.session() as session:
        session.execute(delete(Figure))
        at = db.now(session)
        # Ten seconds apart, and a moment that a look takes; for an hour and a half of the second day nobody looked.
        session.execute(insert(Figure), [
            {"place_id": place, "at": at - timedelta(seconds=10.4 * number),
             "data": engine(generation_tokens=(20_000 - number) * 104, running=1)}
            for number in range(20_000) if not 11_000 < number < 11_500])
        session.commit()
        figures.prune(session)
        assert (session.scalar(select(func.count()).select_from(Figure)) or 0) < 1000
        there = session.get(figures.Place, place)
        assert there
        for hours in (1, 2, 6, 12, 24, 48):
            with subtests.test(hours=hours):
                points = figures.series(session, there, timedelta(hours=hours))
                assert len(points) > 60 and points[-1].running == 1
                # What was not looked at is a gap, and what was kept less of is none.
                assert [one.running is None for one in points].count(True) == (1 if hours == 48 else 0)
                assert {round(one.tokens_per_second) for one in points if one.tokens_per_second is not None} == {10}


def test_figures_go_with_their_place(place: int) -> None:
    with db.session() as session:
        session.delete(session.get(figures.Place, place))
        session.commit()
        assert session.scalar(select(func.count()).select_from(Figure)) == 0


def test_what_was_seen_long_ago_is_not_told_as_now(place: int) -> None:
    with db.session() as session:
        for row in session.scalars(select(Figure)):
            session.delete(row)
        session.add(Figure(place_id=place, at=db.now(session) - timedelta(minutes=2), data=engine(running=3)))
        session.commit()
        resource = session.scalars(select(Resource).where(Resource.name == "guestbook")).one()
        text = exposition.text(session, resource)
    assert 'webops_up{resource="guestbook"' in text and text.strip().endswith(" 0") and "requests_running" not in text


def test_what_nvidia_smi_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """A program of that name that prints what the real one prints: there is no GPU where tests run."""
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho '0, NVIDIA H200, 1024, 143771, 7'\n"
                       "echo '1, NVIDIA H200, [N/A], 143771, [N/A]'\n")
    program.chmod(0o755)
    monkeypatch.setattr(desks.shutil, "which", lambda name, path: str(program))
    mib = 1024 ** 2
    assert desks.gpus() == [
        {"index": 0, "name": "NVIDIA H200", "memory_used": 1024 * mib, "memory_total": 143771 * mib, "busy": 7.0},
        {"index": 1, "name": "NVIDIA H200", "memory_used": None, "memory_total": 143771 * mib, "busy": None}]
    program.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed'; exit 9\n")
    assert desks.gpus() is None


def test_every_sample_for_prometheus_is_declared_and_a_histogram_would_be_whole(database: Any,
                                                                               monkeypatch: pytest.MonkeyPatch) -> None:
    """As a strict reader has it: a type is given once before its samples, and a histogram has a sum and a count."""
    told = engine(running=1, first_token=[[0.1, 3], [0.5, 4], [None, 5]])
    monkeypatch.setattr(figures, "latest", lambda _session, _place: Figure(data=told))
    server = Server(name="gpu1")
    resource = Resource(kind="vllm_model", name="chat", places=[Place(server=server)])
    with db.session() as session, session.no_autoflush:
        text = exposition.text(session, resource)
        session.rollback()
    types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    samples = re.findall(r"^(\w+)\{", text, re.MULTILINE)
    assert set(samples) == set(types) and "histogram" not in types.values()
    assert 'webops_first_token_seconds_bucket{resource="chat",server="gpu1",le="+Inf"} 5' in text
    assert 'webops_first_token_seconds_count{resource="chat",server="gpu1"} 5' in text
