"""The pages in a real browser: signing in, finding, forms, contrast, and a run as it happens."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import create_engine, select, update
from sqlalchemy.orm import Session

from panel.store.models import Event, Run, State
from panel.web import clock
from tests.browser.conftest import Panel, sign_in

pytestmark = pytest.mark.browser

PAGES = ["/", "/resources", "/resources/guestbook", "/resources/guestbook/edit", "/resources/guestbook/actions/remove",
         "/new", "/new/django_app", "/new/server", "/servers", "/servers/web1", "/servers/db1/host-key",
         "/servers/db1/ready", "/runs", "/runs/9", "/runs/11", "/runs/4", "/people", "/account", "/find?text=guest",
         "/plans", "/plans/1", "/plans/2", "/servers/web2/sites", "/servers/web2/sites/shop.example.org",
         "/servers/web2/sites/old.example.org", "/servers/web2/sites/staff.example.org"]

#: Every text must stand out from what is behind it: 4.5 to 1, large or bold-large text 3 to 1 (WCAG 2.2 AA).
CONTRAST = """() => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", {willReadFrequently: true});
  const rgba = (color) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data; return [r, g, b, a / 255]; };
  const over = (top, below) => top.slice(0, 3).map((c, i) => c * top[3] + below[i] * (1 - top[3])).concat(1);
  const linear = (v) => v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4;
  const light = (c) => { const [r, g, b] = c.map(linear);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const behind = (node) => { const layers = [];
    for (let one = node; one; one = one.parentElement) layers.push(rgba(getComputedStyle(one).backgroundColor));
    const canvas = matchMedia("(prefers-color-scheme: dark)").matches ? "black" : "white";
    return layers.reverse().reduce((below, top) => over(top, below), rgba(canvas)); };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement, style = getComputedStyle(node);
    const said = walker.currentNode.textContent.trim();
    if (!said || !node.checkVisibility() || node.closest(".for-screen-reader, option")) continue;
    const ground = behind(node), text = over(rgba(style.color), ground);
    const [a, b] = [light(text), light(ground)].sort((x, y) => y - x), ratio = (a + 0.05) / (b + 0.05);
    const size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    const what = `${ratio.toFixed(2)} ${node.className || node.tagName}: ${said.slice(0, 40)}`;
    if (ratio < (large ? 3 : 4.5)) found.push(what);
  }
  return [...new Set(found)];
}"""


def test_a_wrong_password_and_then_the_right_one(page: Page, filled: Panel) -> None:
    page.goto(f"{filled.url}/resources?kind=django_app")
    page.get_by_label("Name").fill("ada")
    page.get_by_label("Password").fill("not it")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_have_text("This name and password do not fit together.")
    expect(page.get_by_label("Name")).to_have_value("ada")
    page.get_by_label("Password").fill(filled.password)
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{filled.url}/resources?kind=django_app")
    page.get_by_role("button", name="Sign out").click()
    expect(page).to_have_url(f"{filled.url}/sign-in")
    page.go_back()
    expect(page).to_have_url(re.compile("/sign-in"))


def test_anything_is_found_by_keyboard(page: Page, filled: Panel) -> None:
    sign_in(page, filled)
    page.keyboard.press("Control+k")
    field = page.get_by_role("combobox", name="Find anything")
    expect(field).to_be_focused()
    field.press_sequentially("shop")
    expect(page.get_by_role("option").first).to_contain_text("shop shop.example.org")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{filled.url}/resources/shop")
    page.keyboard.press("Control+k")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()


def test_rows_of_a_form_come_and_go(page: Page, filled: Panel) -> None:
    sign_in(page, filled)
    page.goto(f"{filled.url}/resources/guestbook/edit")
    rows = page.get_by_role("group", name="Environment", exact=True)
    expect(rows.get_by_role("textbox")).to_have_count(4)
    rows.get_by_role("button", name="Add").click()
    expect(rows.get_by_role("textbox")).to_have_count(6)
    page.keyboard.type("EXTRA")
    rows.get_by_role("button", name="Remove this row").first.click()
    expect(rows.get_by_role("textbox")).to_have_count(4)
    page.get_by_label("Workers").fill("none")
    page.get_by_role("button", name="Apply").last.click()
    expect(page.get_by_role("alert")).to_contain_text("what you typed is still here")
    expect(page.get_by_label("Workers")).to_have_value("none")
    expect(rows.get_by_role("textbox").nth(2)).to_have_value("EXTRA")


def test_every_page_is_readable_and_nothing_sticks_out(chromium: Browser, page: Page, filled: Panel,
                                                       subtests: pytest.Subtests) -> None:
    sign_in(page, filled)
    stored = page.context.storage_state()
    for width, scheme, paths in ((320, "light", PAGES), (1280, "dark", PAGES), (768, "dark", PAGES[2:4]),
                                 (1600, "light", PAGES[:3])):
        context = chromium.new_context(storage_state=stored, viewport={"width": width, "height": 800},
                                       color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
        window = context.new_page()
        for path in paths:
            with subtests.test(f"{path} at {width}, {scheme}"):
                window.goto(filled.url + path)
                sticks_out = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
                assert window.evaluate(sticks_out) <= 0, "the page scrolls sideways"
                assert window.evaluate(CONTRAST) == []
        context.close()


def test_pages_work_without_scripts(chromium: Browser, page: Page, filled: Panel) -> None:
    sign_in(page, filled)
    context = chromium.new_context(storage_state=page.context.storage_state(), java_script_enabled=False)
    window = context.new_page()
    window.goto(f"{filled.url}/runs/11")
    expect(window.get_by_role("heading", level=1)).to_have_text("Deploying guestbook")
    expect(window.locator(".step--running")).to_contain_text("wait for /healthz")
    window.goto(f"{filled.url}/new/django_app")
    window.get_by_label("Name needed").fill("blog")
    window.get_by_role("button", name="Add").first.click()
    expect(window.get_by_label("Name needed")).to_have_value("blog")
    context.close()


class Story:
    """Writes the rest of the running deploy, as the worker does."""

    def __init__(self, panel: Panel) -> None:
        self.session = Session(create_engine(f"sqlite:///{panel.state / 'webops.db'}"))
        self.run: Any = self.session.scalars(select(Run).where(Run.state == State.RUNNING)).one()

    def write(self, *events: dict[str, Any]) -> None:
        for one in events:
            self.run.last_event += 1
            self.session.add(Event(run_id=self.run.id, number=self.run.last_event, at=clock.now(), **one))
        self.session.commit()

    def end(self, state: State, **more: Any) -> None:
        self.session.execute(update(Run).where(Run.id == self.run.id).values(
            state=state, ended_at=clock.now() + timedelta(seconds=0.1), **more))
        self.session.commit()


def test_a_run_is_watched_live_to_its_end(page: Page, filled: Panel) -> None:
    story = Story(filled)
    sign_in(page, filled)
    page.goto(f"{filled.url}/runs/{story.run.id}")
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    expect(page.locator(".step--next")).to_have_count(3)
    first = page.locator("#step-9")
    expect(first).to_have_class(re.compile("step--running"))
    clock_before = page.locator("#elapsed").inner_text()
    story.write({"type": "changed", "step": 9, "host": "guestbook@web1", "seconds": 1.6, "name": "Start",
                 "role": "django_app", "data": {"summary": "answered 200 <b>at once</b>"}},
                {"type": "task", "step": 10, "name": "Move the traffic", "role": "django_app"})
    expect(first).to_have_class(re.compile("step--changed"))
    expect(first).to_contain_text("answered 200 <b>at once</b>")
    expect(page.locator("#step-10")).to_have_class(re.compile("step--running"))
    expect(page.locator(".step--next")).to_have_count(2)
    expect(page.locator("#elapsed")).not_to_have_text(clock_before)
    page.get_by_text("Write the environment").click()
    expect(page.locator("#step-8 ins").first).to_be_visible()
    page.context.set_offline(True)
    story.write({"type": "failed", "step": 10, "host": "guestbook@web1", "seconds": 0.4, "name": "Move the traffic",
                 "role": "django_app", "data": {"msg": "The pointer cannot be moved."}})
    story.end(State.FAILED, error="The pointer cannot be moved.", next_step="Look at live/ on web1.",
              journal=["rename: read-only file system"])
    page.context.set_offline(False)
    expect(page.get_by_role("heading", level=1)).to_have_text("guestbook was not deployed", timeout=30_000)
    trouble = page.get_by_role("alert", name="What went wrong")
    for words in ("The pointer cannot be moved.", "Look at live/ on web1.", "rename: read-only file system"):
        expect(trouble).to_contain_text(words)
    expect(page.locator(".step--next, .step--running")).to_have_count(0)
    expect(page.locator("#step-8 ins").first).to_be_visible(), "what was opened stays open"
    expect(page.get_by_role("button", name="Deploy again")).to_be_visible()


def test_a_preset_fills_the_form_in_and_keeps_what_was_typed(page: Page, filled: Panel) -> None:
    sign_in(page, filled)
    page.goto(f"{filled.url}/new/vllm_model")
    page.get_by_label("Name needed").fill("chat")
    page.get_by_label("Longest conversation").fill("99")
    page.get_by_role("link", name="Qwen3 8B 18.7 GiB").click()
    expect(page.locator("#presets [role=status]")).to_contain_text("A general model for one GPU of 24 GB.")
    expect(page.get_by_label("Model needed")).to_have_value("Qwen/Qwen3-8B")
    expect(page.get_by_label("Longest conversation")).to_have_value("16384")
    expect(page.get_by_label("Name needed")).to_have_value("chat")
    page.get_by_role("link", name="Qwen2.5 0.5B").click()
    expect(page.get_by_label("KV cache")).to_have_value("1G")
    page.get_by_role("link", name="Qwen3 4B").click()
    expect(page.get_by_label("KV cache")).to_have_value("")
