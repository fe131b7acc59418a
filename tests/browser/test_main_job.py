"""The main job by clicking: add a server, deploy both examples, watch them live, open them."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Box, Chromium, Panel, sign_in

pytestmark = [pytest.mark.browser, pytest.mark.sandbox]

MINUTES = 60_000


def _watch(page: Page, heading: str, minutes: float = 15) -> None:
    """The page of a run, to its good end; steps were seen as they happened."""
    expect(page).to_have_url(re.compile(r"/runs/\d+$"))
    expect(page.locator("#steps li[id]:visible").first).to_be_visible(timeout=MINUTES)
    done = page.get_by_role("heading", level=1, name=heading)
    failed = page.get_by_role("alert", name="What went wrong")
    expect(done.or_(failed).first).to_be_visible(timeout=minutes * MINUTES)
    assert not failed.count(), failed.inner_text()
    expect(page.locator("#run-lead")).to_contain_text("Succeeded in")


def test_add_the_server(page: Page, panel: Panel, box: Box) -> None:
    sign_in(page, panel)
    page.get_by_role("link", name="Add a server").click()
    page.get_by_label("Name").fill("web1")
    page.get_by_label("Address").fill(box.address)
    page.get_by_label("SSH port").fill(str(box.port))
    page.get_by_role("button", name="Look at its host key").click()
    expect(page.get_by_role("heading", name="Is this web1?")).to_be_visible(timeout=MINUTES)
    assert page.locator(".fingerprint").first.inner_text() in box.fingerprints, "the key is the server's own"
    page.get_by_role("button", name="Yes, accept this key").click()
    page.get_by_label("User").fill(box.user)
    page.get_by_label("A private key").check()
    page.get_by_label("Private key", exact=True).fill(box.private_key.read_text())
    page.get_by_role("button", name="Make it ready").click()
    _watch(page, "Made web1 ready")


def _fill(page: Page, panel: Panel, kind: str, box: Box, name: str) -> None:
    page.goto(f"{panel.url}/new")
    page.get_by_role("link", name=kind, exact=True).click()
    page.get_by_label("Name needed").fill(name)
    page.locator("input[name$='_repo']").fill(box.repos[name])
    page.get_by_role("textbox", name=re.compile(r"^Domain( needed)?$")).fill(box.domains[name])
    for details in page.locator("details.group:not([open]) > summary").all():
        details.click()
    page.get_by_role("textbox", name="ACME directory").fill(box.acme_directory)
    page.locator('[name$="_acme_ca_bundle"]').fill(box.acme_bundle)
    terms = page.get_by_role("group", name="Terms accepted")
    terms.get_by_label("Yes").check()


@pytest.mark.parametrize(("kind", "name"), [("Django app", "guestbook"), ("Static site", "site")])
def test_deploy_an_example(page: Page, panel: Panel, box: Box, kind: str, name: str) -> None:
    sign_in(page, panel)
    _fill(page, panel, kind, box, name)
    if name == "site":
        page.locator('[name="static_site_command"]').fill("python3\nbuild.py")
        page.locator('[name="static_site_directory"]').fill("public")
    page.get_by_role("button", name="Apply").last.click()
    _watch(page, f"Applied {name}")
    expect(page.get_by_role("link", name=re.compile("^Open"))).to_have_attribute("href", f"https://{box.domains[name]}/")
    page.goto(f"{panel.url}/resources/{name}")
    expect(page.locator("#state .state--ok")).to_contain_text("Serving", timeout=MINUTES)


def _trusting(ca: Path, folder: Path) -> None:
    """A home for Chromium that trusts this authority and no further one."""
    store = folder / ".pki" / "nssdb"
    store.mkdir(parents=True)
    trust = ["certutil", "-A", "-t", "C,,", "-n", "sandbox", "-i", str(ca)]
    for argv in (["certutil", "-N", "--empty-password"], trust):
        subprocess.run([*argv, "-d", f"sql:{store}"], check=True)


@pytest.mark.parametrize("name", ["guestbook", "site"])
def test_open_the_site(starter: Chromium, box: Box, panel: Panel, tmp_path: Path, name: str) -> None:
    with socket.create_connection((box.address, 443), timeout=10):
        pass
    if shutil.which("certutil") is None:
        pytest.fail("certutil is missing (package libnss3-tools): Chromium learns of the sandbox's authority with it.")
    _trusting(box.ca, tmp_path)
    rule = ", ".join(f"MAP {domain} {box.address}" for domain in box.domains.values())
    browser = starter.launch(f"--host-resolver-rules={rule}", home=tmp_path)
    window = browser.new_page()
    answer = window.goto(f"https://{box.domains[name]}/")
    assert answer and answer.status == 200
    expect(window.get_by_role("heading", level=1)).to_be_visible()
    browser.close()
