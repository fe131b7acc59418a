"""Pages: complete, safe, and each beginning with a sentence."""

from __future__ import annotations

import re
import threading
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from jinja2 import Environment, nodes
from sqlalchemy import select

from panel.store import db
from panel.store.models import Resource, Run, Server, State
from panel.web import clock, heartbeat, words
from tests.believable import BROKEN, add_run
from tests.panels import send

TEMPLATES = Path(words.__file__).parent / "templates"
PAGES = ["/", "/plans", "/plans?resource=guestbook", "/plans/1", "/plans/2",
         "/resources", "/resources?kind=django_app&server=web1&text=guest", "/resources/guestbook",
         "/resources/guestbook/releases",
         "/resources/guestbook-db", "/resources/guestbook/edit", "/resources/guestbook/actions/remove",
         "/resources/guestbook/journal", "/new", "/new/server", "/new/django_app", "/new/static_site", "/servers",
         "/servers/web1", "/servers/db1", "/servers/db1/host-key", "/servers/db1/ready", "/servers/web1/removal",
         "/servers/db1/removal", "/servers/db1/forgetting", "/servers/web1/ready",
         "/runs",
         "/runs?state=failed", "/runs/1", "/runs/5", "/runs/7", "/runs/9", "/runs/10", "/runs/11", "/people",
         "/people/grace/removal", "/account", "/find?text=guest"]
#: What somebody could write into a name, a log or a value to be obeyed by a browser or a terminal.
HOSTILE = ["<script>alert(1)</script>", "\"><img src=x onerror=alert(1)>", "</pre><svg onload=alert(1)>", "{{ 7*7 }}",
           "\x1b]8;;javascript:alert(1)\x07click\x1b]8;;\x07", "\x1b[31mred\x1b[0m", "\u202egnp.exe", "\x9b31m",
           "'; alert(1); '", "javascript:alert(1)", "</script><script>alert(1)</script>", "\x00nul"]


class _Elements(HTMLParser):
    """What a page is made of."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.ids: list[str] = []
        self.unclosed = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.ids += [str(value) for key, value in attrs if key == "id"]
        if tag not in ("meta", "link", "input", "br", "path", "rect", "circle", "line", "ellipse"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.unclosed = self.unclosed or f"</{tag}> at line {self.getpos()[0]}"


def test_a_page_is_whole_and_begins_with_a_sentence(ada: FlaskClient, subtests: pytest.Subtests) -> None:
    for path in PAGES:
        with subtests.test(path):
            _check_page(ada.get(path))


def _check_page(answer: Any) -> None:
    assert answer.status_code == 200
    page = _Elements(answer.text)
    assert not page.unclosed, page.unclosed
    assert not page.open
    assert len(page.ids) == len(set(page.ids)), [one for one in page.ids if page.ids.count(one) > 1]
    assert [tag for tag, _ in page.tags].count("h1") == 1
    assert re.search(r"<h1[^>]*>[^<]{3,}", answer.text)
    labels = {attrs.get("for") for tag, attrs in page.tags if tag == "label"}
    for tag, attrs in page.tags:
        assert "style" not in attrs, f"<{tag} style>: the policy forbids it"
        assert not any(name.startswith("on") for name in attrs), f"<{tag}> has a handler inline"
        named = attrs.get("id") in labels or "aria-label" in attrs
        named = named or attrs.get("type") in ("hidden", "radio", "checkbox")
        if tag in ("input", "select", "textarea") and "hidden" not in attrs:
            assert named, f"<{tag} {attrs}> has no label"
        if tag == "script":
            assert attrs.get("src"), "a script inside of a page"


def test_what_a_browser_may_load_is_limited(ada: FlaskClient) -> None:
    for path in ("/", "/sign-in", "/nothing-here", "/static/x/css/base.css"):
        headers = ada.get(path).headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'self'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "same-origin"
        assert path.startswith("/static") or headers["Cache-Control"] == "no-store"


def test_our_own_files_may_be_kept_for_ever_under_their_version(ada: FlaskClient) -> None:
    address = re.search(r'href="(/static/[^"]+base.css)"', ada.get("/").text)
    assert address
    kept = ada.get(address[1]).headers["Cache-Control"]
    assert "immutable" in kept and "max-age=31536000" in kept
    assert ada.get("/static/x/../../auth.py").status_code == 404


def test_foreign_text_is_text(ada: FlaskClient, subtests: pytest.Subtests) -> None:
    for text in HOSTILE:
        with subtests.test(text):
            _check_text(ada, text)


def _check_text(ada: FlaskClient, text: str) -> None:
    with db.session() as session:
        guestbook = session.scalars(select(Resource).where(Resource.name == "guestbook")).one()
        guestbook.values = {**guestbook.values, "django_app_ref": text, "django_app_domain": text}
        guestbook.places[0].observed_text = text
        guestbook.places[0].observed_data = {"url": text, "release": text, "probes": [{"type": text, "text": text}]}
        web1 = session.scalars(select(Server).where(Server.name == "web1")).one()
        web1.facts = {"distribution_name": text, "kernel": text, "processors": text, "memory_mb": text}
        web1.observed_text = text
        said = {key: text for key in ("msg", "next", "stdout", "stderr", "summary", "exception")}
        said |= {"journal": [text], "diff": [{"before": "a\n", "after": text, "after_header": text}]}
        run = add_run(session, resource=guestbook, server=web1, action="deploy", state=State.FAILED, actor=text,
                      door=text, started=clock.now(), steps=[(text, text, "failed", 1.0, said)], error=text,
                      next_step=text, journal=[text])
    for path in ("/", "/resources", "/resources/guestbook", "/resources/guestbook/edit", "/servers/web1", "/runs",
                 f"/runs/{run.id}", "/find?text=guest", f"/find?text={text}"):
        answer = ada.get(path)
        assert answer.status_code == 200, path
        elements = _Elements(answer.text).tags
        assert not {"img", "iframe", "object", "embed"} & {tag for tag, _ in elements}, path
        for tag, attrs in elements:
            assert not any(name.startswith("on") for name in attrs), (path, tag, attrs)
            assert tag != "script" or str(attrs["src"]).startswith("/static/"), path
            assert re.match(r"/|https?://|\?|#|\Z", str(attrs.get("href") or "")), (path, attrs)
        # What stands in a field is as it was typed; what is read has no sign that a terminal or an eye would obey.
        shown = re.sub(r'(?:value|data-[a-z]+|href)="[^"]*"|<textarea.*?</textarea>', "", answer.text, flags=re.DOTALL)
        assert not re.search(r"[\x00-\x08\x0e-\x1f\x7f-\x9f\u202e]", shown), path


def test_a_run_that_failed_says_why_at_the_top(ada: FlaskClient) -> None:
    page = ada.get("/runs/9").text
    order = [page.index(part) for part in ("<h1>shop was not deployed", "What to do next", "Give price a default",
                                           "Last lines of its journal", "NotNullViolation", 'id="steps"')]
    assert order == sorted(order)
    assert "step--failed" in page and "Deploy again" in page
    assert "It stopped at “Apply migrations”." in page
    assert BROKEN[-1][4]["journal"][0] in page


def test_a_running_run_is_complete_without_scripts(ada: FlaskClient) -> None:
    page = ada.get("/runs/11").text
    assert '<noscript><meta http-equiv="refresh"' in page
    assert "Deploying guestbook" in page and "7 of 11 steps, usually" in page
    assert page.count("step--next") == 3, "the steps still to come are there already"
    assert "step--running" in page and "Start the new release and wait for /healthz" in page
    assert re.search(r'<svg class="step__bar" viewBox="0 0 [\d.]+ 6"', page)
    assert "<ins>+ SENTRY=production</ins>" in page and "<del>- WEB_CONCURRENCY=2</del>" in page
    assert "ansible-playbook -i inventory/hosts.yml playbooks/django_app.yml --limit guestbook@web1" in page
    ended = ada.get("/runs/4").text
    assert "http-equiv" not in ended and "step--next" not in ended and "Succeeded in" in ended


def test_a_waiting_run_says_what_it_waits_for(ada: FlaskClient) -> None:
    assert "It waits for run 9 on web2" in ada.get("/runs/10").text


def test_a_check_says_what_would_change(ada: FlaskClient) -> None:
    page = ada.get("/runs/6").text
    assert "Checked docs" in page and "would change something. Nothing was touched." in page
    assert 'href="/resources/docs/edit?run=6"' in page, "and leads to applying it"


def test_canceling_asks_for_it_and_once_it_is_over_says_so(ada: FlaskClient) -> None:
    assert send(ada, "/runs/11/cancellation", "/runs/11").status_code == 303
    page = ada.get("/runs/11").text
    assert "ada canceled it; it is being stopped." in page
    assert send(ada, "/runs/9/cancellation", "/").status_code == 409


def test_the_overview_says_first_what_needs_somebody(ada: FlaskClient) -> None:
    page = ada.get("/").text
    assert "<h1>Two things need you</h1>" in page
    assert "Migration 0031_prices raised IntegrityError" in page and "waits for its host key" in page


def test_an_empty_installation_says_how_to_begin(app: Flask) -> None:
    from tests.believable import fill_people
    from tests.panels import sign_in

    with db.session() as session:
        fill_people(session)
    client = app.test_client()
    sign_in(client)
    assert "Add a server: its address and a login for the first contact." in client.get("/").text
    for path in ("/resources", "/servers", "/runs", "/new"):
        assert "Add a server" in client.get(path).text, path


def test_the_values_of_a_resource_never_show_its_secrets(ada: FlaskClient) -> None:
    for path in ("/resources/guestbook", "/resources/guestbook/edit", "/runs/11"):
        assert "sentry.example.org" not in ada.get(path).text
    assert "SENTRY_DSN = ••••••••" in ada.get("/resources/guestbook").text


def test_what_is_gone_is_said_to_be_gone(ada: FlaskClient) -> None:
    for path, words_ in (("/resources/nope", "no resource named"), ("/servers/nope", "no server named"),
                         ("/runs/4711", "There is no run 4711"), ("/new/nope", "There is no kind"),
                         ("/resources/guestbook/actions/nope", "has no action")):
        answer = ada.get(path)
        assert answer.status_code == 404
        assert words_ in answer.text.replace("&#39;", "'")


def test_what_nobody_foresaw_tells_nothing_of_the_inside(ada: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    from panel.web import queries

    def broken(*_: object) -> None:
        raise RuntimeError("secret inside")

    monkeypatch.setattr(queries, "servers", broken)
    answer = ada.get("/servers")
    assert answer.status_code == 500
    assert "Something went wrong here" in answer.text and "secret inside" not in answer.text


def test_a_large_body_is_refused(ada: FlaskClient) -> None:
    answer = ada.post("/account/tokens", data={"token_name": "x" * (1 << 20)})
    assert answer.status_code == 413
    assert "At most 1 MiB" in answer.text


def test_the_finder_knows_everything(ada: FlaskClient, grace: FlaskClient) -> None:
    entries = {one["label"]: one["url"] for one in ada.get("/find.json").json}
    assert entries["guestbook guestbook.example.org"] == "/resources/guestbook"
    assert entries["web1 10.77.0.11"] == "/servers/web1"
    assert entries["New Django app"] == "/new/django_app"
    assert "People" in entries and "People" not in {one["label"] for one in grace.get("/find.json").json}


def test_a_monitor_may_ask_without_signing_in(app: Flask) -> None:
    assert app.test_client().get("/healthz").text == "ok\n"


@pytest.mark.parametrize("name", sorted(path.name for path in TEMPLATES.glob("*.html")))
def test_a_template_imports_what_it_uses_and_uses_what_it_imports(name: str) -> None:
    text = (TEMPLATES / name).read_text()
    tree = Environment(trim_blocks=True, lstrip_blocks=True).parse(text)
    imports = tree.find_all(nodes.FromImport)
    imported = [item if isinstance(item, str) else item[1] for one in imports for item in one.names]
    used = [one.name for one in tree.find_all(nodes.Name) if one.ctx == "load"]
    assert not [one for one in imported if one not in used], "remove these imports"
    assert "style=" not in text and "onclick" not in text


def test_no_row_of_a_run_is_lost_when_its_resource_is_gone(ada: FlaskClient) -> None:
    with db.session() as session:
        session.delete(session.scalars(select(Resource).where(Resource.name == "docs")).one())
        session.commit()
        number = session.scalars(select(Run.id).where(Run.resource_name == "docs").order_by(Run.id.desc())).first()
    assert "Applied docs" in ada.get(f"/runs/{number}").text


def test_a_silent_link_is_told_and_keeps_no_page_waiting(ada: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()
    monkeypatch.setattr(heartbeat, "link", heartbeat.Heartbeat())
    monkeypatch.setattr(heartbeat.client, "alive", lambda: answered.wait(20) and False)
    assert "the link does not answer" not in ada.get("/servers").text, "nobody knows yet"
    answered.set()
    for _ in range(100):
        if "the link does not answer" in ada.get("/servers").text:
            break
        time.sleep(0.05)
    else:
        pytest.fail("A page never said that the link is silent.")
