"""The page of a run on several servers in a real browser: live, narrow, in both colours, by its links."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import create_engine, delete, update
from sqlalchemy.orm import Session

from panel.store.models import Event, PartState, Run, RunServer, State
from panel.web import clock
from tests.believable import fleet
from tests.browser.conftest import Panel, sign_in
from tests.browser.test_pages import CONTRAST

pytestmark = pytest.mark.browser


def session_of(panel: Panel) -> Session:
    return Session(create_engine(f"sqlite:///{panel.state / 'webops.db'}"))


@pytest.mark.parametrize("count,failing,batch", [(2, 1, 1), (12, 7, 3)])
def test_each_step_on_each_server_can_be_read_everywhere(
        chromium: Browser, page: Page, filled: Panel, count: int, failing: int, batch: int) -> None:
    with session_of(filled) as session:
        number = fleet(session, count, failing, batch).id
    sign_in(page, filled)
    for width, scheme in ((360, "dark"), (360, "light"), (1280, "light"), (1280, "dark")):
        context = chromium.new_context(storage_state=page.context.storage_state(), color_scheme=scheme,  # type: ignore[arg-type]
                                       viewport={"width": width, "height": 900})
        window = context.new_page()
        others = ("/resources/market", "/groups/edge", "/groups/edge/edit", "/servers") if count > 2 else ()
        for path in (f"/runs/{number}", *others):
            window.goto(filled.url + path)
            sticks_out = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            assert window.evaluate(sticks_out) <= 0, f"{path} scrolls sideways at {width}"
            assert window.evaluate(CONTRAST) == [], f"{path} in {scheme}"
        context.close()


def test_a_cell_opens_what_the_step_said_there(page: Page, filled: Panel) -> None:
    with session_of(filled) as session:
        number = fleet(session).id
    sign_in(page, filled)
    page.goto(f"{filled.url}/runs/{number}")
    row = page.get_by_role("row", name="Install the requirements")
    said = page.locator("#step-4-edge1")
    expect(said).not_to_be_visible()
    row.get_by_role("link").first.click()
    expect(said).to_be_visible()
    expect(said).to_contain_text("Resolved 23 packages")
    expect(page.get_by_role("row", name="Bring system packages")).to_have_count(0)
    page.get_by_text("Show what was skipped").click()
    expect(page.get_by_role("row", name="Bring system packages")).to_be_visible()


class Story:
    """Tells a run on edge1, edge2 and edge3 from its beginning, as the worker does."""

    def __init__(self, panel: Panel) -> None:
        self.session = session_of(panel)
        self.run = fleet(self.session, 3, None)
        self.number = self.step = 0
        self.session.execute(delete(Event).where(Event.run_id == self.run.id))
        self.session.execute(update(RunServer).where(RunServer.run_id == self.run.id).values(state=PartState.QUEUED))
        self.session.execute(update(Run).where(Run.id == self.run.id).values(
            state=State.RUNNING, last_event=0, started_at=clock.now(), ended_at=None))
        self.session.commit()

    def say(self, kind: str, **more: Any) -> None:
        self.number += 1
        self.session.add(Event(run_id=self.run.id, number=self.number, type=kind, at=clock.now(), **more))
        self.session.execute(update(Run).where(Run.id == self.run.id).values(last_event=self.number))
        self.session.commit()

    def begin(self, name: str) -> None:
        self.step += 1
        self.say("task", step=self.step, name=name, role="django_app")

    def end(self, server: str, kind: str = "changed", **data: Any) -> None:
        self.say(kind, step=self.step, host=f"market@{server}", name="x", role="django_app", seconds=0.2, data=data)


def test_the_servers_are_watched_live(page: Page, filled: Panel) -> None:
    story = Story(filled)
    sign_in(page, filled)
    page.goto(f"{filled.url}/runs/{story.run.id}")
    expect(page.get_by_text("Live", exact=True)).to_be_visible()

    def cells(name: str) -> Any:
        return page.locator("#grid tr", has_text=name).locator("td")

    story.say("play", name="Django apps")
    story.say("begin", host="market@edge1")
    story.begin("Fetch the code")
    expect(cells("Fetch the code")).to_have_text(["running", "not reached", "not reached"])
    story.end("edge1")
    story.begin("Move the traffic")
    story.end("edge1")
    expect(cells("Move the traffic").first).to_have_text("changed")
    story.say("play", name="Django apps")
    story.say("begin", host="market@edge2")
    story.begin("Fetch the code")
    expect(cells("All steps")).to_have_text(["done", "running", "waits"])
    story.end("edge2")
    story.begin("Build the release")
    story.end("edge2", "failed", msg="No space is left.", next="Make room.")
    expect(cells("Build the release")).to_have_text(["not reached", "failed", "not reached"])
    order = page.locator("#grid-rows th")
    expect(order).to_have_text([re.compile("Fetch"), re.compile("Build"), re.compile("Move")])
    expect(cells("Fetch the code")).to_have_text(["changed", "changed", "not reached"])
    expect(cells("All steps")).to_have_text(["done", "failed", "waits"])
    ended = (PartState.SUCCEEDED, PartState.FAILED, PartState.NOT_BEGUN)
    for part, state in zip(story.run.servers, ended, strict=True):
        part.state = state
    story.session.execute(update(Run).where(Run.id == story.run.id).values(
        state=State.FAILED, ended_at=clock.now(), error="edge2: No space is left.", next_step="Make room."))
    story.session.commit()
    expect(page.get_by_role("button", name="Retry on 2 servers")).to_be_visible(timeout=20_000)
    expect(cells("All steps")).to_have_text(["done", "failed", "not begun"])
