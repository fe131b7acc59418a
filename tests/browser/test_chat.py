"""The chat in a real browser: the answer as it is written, stopped, and in other words."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest
from flask import Flask
from playwright.sync_api import Page, expect
from werkzeug.serving import make_server

from tests.believable import PASSWORD
from tests.modelled import Modelled, model
from tests.unit.test_model_doors import panel

__all__ = ["model", "panel"]
pytestmark = [pytest.mark.browser, pytest.mark.skipif(os.geteuid() != 0, reason="records must belong to root")]


@pytest.fixture(scope="module")
def address(panel: Flask) -> Iterator[str]:
    server = make_server("127.0.0.1", 0, panel, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.port}"
    server.shutdown()
    thread.join()


@pytest.fixture
def chat(address: str, page: Page) -> Page:
    page.set_viewport_size({"width": 360, "height": 780})
    page.goto(f"{address}/sign-in")
    page.fill("[name=name]", "ada")
    page.fill("[name=password]", PASSWORD)
    page.click("form button")
    page.goto(f"{address}/resources/chat/chat")
    return page


def test_an_answer_comes_as_it_is_written_and_can_be_stopped(chat: Page, model: Modelled) -> None:
    expect(chat.locator("[data-stop]")).to_be_hidden()
    chat.fill("#message", "low water")
    chat.keyboard.press("Enter")
    expect(chat.locator(".chat__told")).to_contain_text("2 tokens read, 16 written")
    expect(chat.locator(".chat__one--assistant .chat__text")).to_contain_text("low water low water")
    expect(chat.locator("[data-snippet=curl] pre")).to_contain_text('"content": "low water"')
    model.gate.control(pause=0.3)
    try:
        chat.fill("#message", "and <b>then</b>")
        chat.click("[data-send]")
        expect(chat.locator(".chat__one--assistant .chat__text").nth(1)).to_contain_text("<b>then</b>")
        chat.click("[data-stop]")
        expect(chat.locator(".chat__told").nth(1)).to_have_text("Stopped.")
        expect(chat.locator("[data-send]")).to_be_enabled()
    finally:
        model.gate.control(pause=0)
    asked = model.gate.control()["seen"][-1]["body"]["messages"]
    assert [one["role"] for one in asked] == ["user", "assistant", "user"]
    assert chat.evaluate("document.documentElement.scrollWidth") <= 360


def test_what_cannot_be_asked_is_said_where_it_was_asked(chat: Page) -> None:
    chat.click(".chat details summary")
    chat.fill("#temperature", "hot")
    chat.fill("#message", "hello")
    chat.click("[data-send]")
    expect(chat.locator(".chat__told")).to_contain_text("temperature is a number, not 'hot'")
    expect(chat.locator("#message")).to_have_value("hello")
