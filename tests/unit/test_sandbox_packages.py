"""The package cache: what it keeps, and that clients get what they would have got without it."""

import http.client
import http.server
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from sandbox import packages
from sandbox.shelf import Shelf


@pytest.mark.parametrize(("url", "kept"), [
    ("http://d.example/pool/main/n/nginx/nginx_1.22_amd64.deb", True),
    ("http://d.example/dists/bookworm/main/binary-amd64/by-hash/SHA256/abc", True),
    ("https://f.example/packages/aa/six-1.17.0-py2.py3-none-any.whl", True),
    ("https://f.example/packages/aa/six-1.17.0-py2.py3-none-any.whl.metadata", True),
    ("http://d.example/dists/bookworm/InRelease", False),
    ("http://d.example/a.deb/InRelease", False),
])
def test_only_what_never_changes_is_kept(url, kept):
    assert packages.never_changes(url) is kept


def test_a_file_of_another_site_has_an_address_here_and_back():
    url = "https://f.example/packages/aa/six.whl"
    assert packages.real_url(packages.file_path(url)) == url
    assert packages.file_path(f"{url}#sha256=ab").endswith("six.whl#sha256=ab")
    assert packages.real_url("/file/ftp/f.example/x") is None


def test_links_of_an_index_page_lead_through_the_cache():
    page = b'<a href="../../files/a.whl#sha256=ab">a</a>'
    assert packages.localise(page, "text/html", "https://p.example/simple/a/") == (
        b'<a href="/file/https/p.example/files/a.whl#sha256=ab">a</a>')
    project = json.dumps({"name": "a", "files": [{"url": "https://f.example/a.whl", "hashes": {"sha256": "ab"}}]})
    made = json.loads(packages.localise(project.encode(), "application/vnd.pypi.simple.v1+json", "https://p.example/"))
    assert made["files"] == [{"url": "/file/https/f.example/a.whl", "hashes": {"sha256": "ab"}}]


@pytest.mark.parametrize(("header", "wanted"), [
    (None, None), ("bytes=0-9", (0, 9)), ("bytes=90-", (90, 99)), ("bytes=-10", (90, 99)), ("bytes=0-999", (0, 99)),
    ("bytes=-", None), ("bytes=200-", None), ("bytes=0-1,5-6", None), ("lines=1-2", None),
])
def test_ranges(header, wanted):
    assert packages.wanted_range(header, 100) == wanted


class Site(http.server.BaseHTTPRequestHandler):
    """A registry that counts how often it is asked."""

    asked: list[str] = []
    broken = False

    def do_GET(self) -> None:
        self.asked.append(self.path)
        body = b'<a href="/f/a-1.whl">a</a>' if self.path.startswith("/simple/a") else b"x" * 1000
        missing = self.path.endswith("gone.deb")
        self.send_response(503 if self.broken else 404 if missing else 200)
        self.send_header("Content-Length", str(len(body) * (2 if self.path.endswith("cut.deb") else 1)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture
def cache(tmp_path) -> Iterator[str]:
    """A package cache before a registry; its address. Both end with the test."""
    site = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site)
    upstream = f"http://127.0.0.1:{site.server_port}"
    handler = type("Handler", (packages.Handler,), {"shelf": Shelf(tmp_path), "index": f"{upstream}/simple/"})
    front = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Site.asked, Site.broken = [], False
    for server in (site, front):
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{front.server_port}/file/http/127.0.0.1:{site.server_port}"
    for server in (site, front):
        server.shutdown()
        server.server_close()


def get(url: str, headers: dict[str, str] | None = None, method: str = "GET") -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers or {}, method=method)) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as refusal:
        return refusal.code, b""


def test_a_package_is_fetched_once_and_served_from_then_on(cache):
    first, second = get(f"{cache}/n.deb"), get(f"{cache}/n.deb")
    assert first == second == (200, b"x" * 1000)
    assert Site.asked == ["/n.deb"]
    assert get(f"{cache}/n.deb", {"Range": "bytes=10-19"}) == (206, b"x" * 10)
    assert get(f"{cache}/n.deb", method="HEAD") == (200, b"")


def test_what_can_change_is_asked_for_each_time(cache):
    get(f"{cache}/InRelease"), get(f"{cache}/InRelease")
    assert Site.asked == ["/InRelease", "/InRelease"]


def test_a_refusal_is_passed_on_and_not_kept(cache):
    assert get(f"{cache}/gone.deb")[0] == 404
    assert get(f"{cache}/gone.deb")[0] == 404
    assert len(Site.asked) == 2


def test_half_a_package_is_never_kept_and_the_client_is_told(cache, tmp_path):
    connection = http.client.HTTPConnection(cache.split("/")[2], timeout=5)
    connection.request("GET", cache[cache.index("/file/"):] + "/cut.deb")
    with pytest.raises(http.client.IncompleteRead):
        connection.getresponse().read()
    assert not list(tmp_path.iterdir())


def test_an_index_page_outlives_a_registry_that_fails(cache, monkeypatch):
    page = cache.split("/file/")[0] + "/simple/a/"
    status, first = get(page)
    assert status == 200
    assert b"/file/http/127.0.0.1" in first
    monkeypatch.setattr(packages, "PAGE_AGE", -1)
    monkeypatch.setattr(packages, "open_url", lambda *words: (_ for _ in ()).throw(OSError("no route")))
    assert get(page) == (200, first)
    assert get(page.replace("/a/", "/b/"))[0] == 502


def test_nothing_else_is_served(cache):
    home = cache.split("/file/")[0]
    for path in ("/", "/simple/", "/file/ftp/x/y", "/simple/../etc"):
        assert get(home + path)[0] == 404
