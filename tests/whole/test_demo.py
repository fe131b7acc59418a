"""The README's first command, in a fresh copy: two sites on HTTPS, again without a change, and gone again."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from panel.settings import ROOT
from sandbox import why_not
from tests.processes import short_folder

HOST = "guestbook.demo.test"


@dataclass
class Clone:
    """A copy of what git knows of this checkout, with nothing built in it."""

    folder: Path

    def make(self, target: str) -> str:
        # The demo is a person's: it knows nothing of the sandbox of the tests, but is ended with a broken-off run.
        surroundings = {key: value for key, value in os.environ.items() if not key.startswith("WEBOPS_")}
        if state := os.environ.get("WEBOPS_SANDBOX_STATE"):
            surroundings["PART_OF"] = f"WEBOPS_SANDBOX_STATE={state}"
        done = subprocess.run(["make", "--no-print-directory", target], cwd=self.folder, env=surroundings, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        assert done.returncode == 0, done.stdout
        return done.stdout

    @property
    def told(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "var" / "demo.json").read_text())
        return found

    def left(self) -> list[str]:
        """Processes, mounts and networks that name this copy."""
        processes = [" ".join(one.info["cmdline"]) for one in psutil.process_iter(["cmdline"])
                     if str(self.folder) in " ".join(one.info["cmdline"] or [])]
        mounts = [line for line in Path("/proc/mounts").read_text().splitlines() if str(self.folder) in line]
        return processes + mounts

    def bridge(self) -> list[str]:
        prefix = self.told["server"]["address"].rpartition(".")[0]
        links = subprocess.run(["ip", "-br", "address"], capture_output=True, text=True, check=True).stdout
        return [line for line in links.splitlines() if f" {prefix}." in line]


@pytest.fixture
def clone() -> Iterator[Clone]:
    if reason := why_not():
        pytest.skip(reason)
    folder = short_folder("demo")
    listed = subprocess.run(["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=ROOT, check=True,
                            capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    one = Clone(folder)
    if state := os.environ.get("WEBOPS_SANDBOX_STATE"):
        # bin/test finds it there, where this is killed before it has tidied up.
        (Path(state) / "demo.clone").symlink_to(folder)
    try:
        yield one
    finally:
        one.make("demo-stop")
        shutil.rmtree(folder, ignore_errors=True)
        if state:
            (Path(state) / "demo.clone").unlink()


@pytest.fixture
def visitor(monkeypatch: pytest.MonkeyPatch) -> requests.Session:
    """Somebody who trusts one authority and finds the demo's domains at its server."""
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    monkeypatch.delenv("CURL_CA_BUNDLE", raising=False)
    return requests.Session()


def lead(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """Names that end in .demo.test lead to the server, as a hosts file would have it."""
    import socket

    asked = socket.getaddrinfo

    def answer(host: Any, *more: Any, **options: Any) -> Any:
        return asked(address if str(host).endswith(".demo.test") else host, *more, **options)

    monkeypatch.setattr(socket, "getaddrinfo", answer)


def test_two_sites_on_https_then_no_change_then_nothing_left(clone: Clone, visitor: requests.Session,
                                                             monkeypatch: pytest.MonkeyPatch) -> None:
    first = clone.make("demo")
    told = clone.told
    assert told["password"] in first and "webops run list" in first and "make demo-stop" in first
    lead(monkeypatch, told["sites"][0]["address"])
    visitor.verify = told["ca"]
    for site in told["sites"]:
        assert visitor.get(site["url"], timeout=20).status_code == 200
    page = visitor.get(f"https://{HOST}/", timeout=20)
    token = re.search(r'csrfmiddlewaretoken" value="([^"]+)', page.text)
    assert token
    line = {"csrfmiddlewaretoken": token[1], "name": "Ada", "text": "I was here"}
    posted = visitor.post(f"https://{HOST}/", data=line,
                          headers={"Referer": f"https://{HOST}/"}, timeout=20)
    assert posted.status_code == 200 and "I was here" in posted.text
    assert "I was here" in rows(told["server"])

    second = clone.make("demo")
    assert "nothing changed" in second and told["password"] not in second

    bridge = clone.bridge()
    assert bridge and clone.left()
    clone.make("demo-stop")
    assert clone.left() == []
    names = subprocess.run(["ip", "-br", "link"], capture_output=True, text=True, check=True).stdout
    assert bridge[0].split()[0] not in names.split()


def rows(server: dict[str, str]) -> str:
    """What the guestbook's table holds, asked of PostgreSQL itself."""
    known = Path(server["key"]).with_name("known_hosts")
    asked = subprocess.run(
        ["ssh", "-i", server["key"], "-o", f"UserKnownHostsFile={known}", "-o", "IdentitiesOnly=yes",
         f"{server['user']}@{server['address']}",
         "cd / && runuser -u postgres -- psql -At guestbook_db -c 'select text from book_message'"],
        capture_output=True, text=True, check=True)
    return asked.stdout
