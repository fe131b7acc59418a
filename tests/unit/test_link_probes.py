"""What runs on a server: probes, figures, records and log lines, tried on this machine."""

from __future__ import annotations

import http.server
import json
import os
import socket
import socketserver
import ssl
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from panel.link.certificate import read
from panel.link.remote import BOOT, bundle, figures, probes, records, sources, streams


class Page(http.server.BaseHTTPRequestHandler):
    seen: list[dict[str, str]] = []

    def do_GET(self) -> None:
        self.seen.append({"path": self.path, **{key.lower(): value for key, value in self.headers.items()}})
        if self.path == "/slow":
            time.sleep(3)
        self.send_response(503 if self.path == "/sick" else 200)
        self.end_headers()

    def address_string(self) -> str:
        return "somebody"

    def log_message(self, *given: Any) -> None:
        return


class UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


@pytest.fixture
def page() -> Iterator[int]:
    Page.seen.clear()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificate(tmp_path_factory.mktemp("certificate"), days=60)


def certificate(folder: Path, days: int, issuer: str = "") -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "guestbook.example.org")])
    by = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, issuer)]) if issuer else name
    now = datetime.now(UTC)
    made = (x509.CertificateBuilder().subject_name(name).issuer_name(by).public_key(key.public_key())
            .serial_number(1).not_valid_before(now - timedelta(days=90)).not_valid_after(now + timedelta(days=days))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("guestbook.example.org")]), False)
            .sign(key, hashes.SHA256()))
    pem = folder / "fullchain.pem"
    pem.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                      serialization.NoEncryption()) + made.public_bytes(serialization.Encoding.PEM))
    return pem


def one(probe: dict[str, Any]) -> dict[str, Any]:
    return probes.look({"guestbook": {"probes": [probe]}})["guestbook"][0]


def test_http_over_an_address_sends_the_name_of_the_url(page: int) -> None:
    seen = one({"type": "http", "url": "http://guestbook.example.org/healthz?full=1", "connect": f"127.0.0.1:{page}"})
    assert seen["status"] == 200 and seen["wanted"] == [200] and seen["ms"] < 1000
    assert Page.seen[0]["host"] == "guestbook.example.org"
    assert Page.seen[0]["path"] == "/healthz?full=1"


def test_https_is_asked_with_its_name_and_any_certificate(pair: Path) -> None:
    names: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair)
    context.sni_callback = lambda sock, name, _: names.append(name)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    seen = one({"type": "http", "url": "https://guestbook.example.org/", "status": [200, 301],
                "connect": f"127.0.0.1:{server.server_address[1]}"})
    server.shutdown()
    assert seen["status"] == 200
    assert names == ["guestbook.example.org"]


def test_http_over_a_socket_looks_like_a_proxy_on_https(tmp_path: Path) -> None:
    Page.seen.clear()
    server = UnixServer(str(tmp_path / "sock"), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    seen = one({"type": "http", "socket": str(tmp_path / "sock"), "host": "guestbook.example.org", "path": "/sick"})
    server.shutdown()
    assert seen["status"] == 503
    assert Page.seen[0]["x-forwarded-proto"] == "https" and Page.seen[0]["host"] == "guestbook.example.org"


def test_what_does_not_answer_is_said_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert one({"type": "http", "url": "http://x.org/", "connect": "127.0.0.1:1"})["error"] == "connection refused"
    gone = one({"type": "http", "socket": str(tmp_path / "none"), "path": "/"})
    assert gone["error"] == "no such file or directory"
    monkeypatch.setattr(probes, "PATIENCE", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        seen = one({"type": "http", "url": "http://x.org/", "connect": f"127.0.0.1:{silent.getsockname()[1]}"})
    assert seen["error"].startswith("no answer within")


def test_an_app_that_never_ends_its_answer_holds_one_thread_and_nobody_up(page: int,
                                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "DEADLINE", 0.3)
    probe = {"type": "http", "url": "http://x.org/slow", "connect": f"127.0.0.1:{page}"}
    record = {"slow": {"probes": [probe, {"type": "path", "path": "/"}]}}
    before = threading.active_count()
    for _ in range(4):
        began = time.monotonic()
        seen = probes.look(record)["slow"]
        assert time.monotonic() - began < 1
        assert "no answer" in seen[0]["error"] and seen[1]["there"]
    assert len([asked for asked in Page.seen if asked["path"] == "/slow"]) == 1
    assert threading.active_count() - before < 4


def test_a_certificate_travels_without_the_key_beside_it(pair: Path) -> None:
    seen = one({"type": "certificate", "path": str(pair)})
    found = read(seen["der"])
    assert found and found.names == ("guestbook.example.org",) and found.issuer == "self-signed"
    assert "PRIVATE" not in json.dumps(seen)


@pytest.mark.parametrize(("text", "words"), [
    ("nothing", "there is no certificate in this file"),
    ("-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----", "the certificate in this file is damaged")])
def test_a_file_without_a_certificate(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "pem").write_text(text)
    assert one({"type": "certificate", "path": str(tmp_path / "pem")})["error"] == words


def test_paths_and_what_nobody_knows(tmp_path: Path) -> None:
    assert one({"type": "path", "path": str(tmp_path)})["there"]
    assert not one({"type": "path", "path": str(tmp_path / "none")})["there"]
    assert "does not know" in one({"type": "crystal ball"})["error"]
    assert "error" in one({"type": "path"}) and "error" in one({"type": "http", "url": "http://a b/\r\nX: y"})


def test_units_are_asked_once_for_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "systemctl"
    fake.write_text("#!/bin/sh\necho \"$@\" >> " + str(tmp_path / "calls") + "\n"
                    "printf 'Id=a.service\\nLoadState=loaded\\nActiveState=active\\nSubState=running\\n\\n"
                    "Id=b.service\\nLoadState=loaded\\nActiveState=failed\\nResult=exit-code\\n'\n")
    fake.chmod(0o755)
    monkeypatch.setattr(os, "defpath", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    seen = probes.look({"one": {"probes": [{"type": "unit", "units": ["a.service", "--version", "*.service"]}]},
                        "two": {"probes": [{"type": "unit", "units": ["b.service"], "any": True}]}})
    assert [unit["name"] for unit in seen["one"][0]["units"]] == ["a.service"]
    assert seen["one"][0]["units"][0]["active"] == "active"
    assert seen["two"][0]["units"][0]["result"] == "exit-code" and seen["two"][0]["any"]
    calls = (tmp_path / "calls").read_text().splitlines()
    assert len(calls) == 1 and calls[0].endswith(" -- a.service b.service")


@pytest.mark.skipif(os.geteuid() != 0, reason="records of resources must belong to root")
def test_only_roots_own_records_count(tmp_path: Path) -> None:
    for name, mode in (("good", 0o644), ("loose", 0o666)):
        file = tmp_path / f"{name}.json"
        file.write_text('{"kind": "x"}')
        file.chmod(mode)
    (tmp_path / "link.json").symlink_to(tmp_path / "good.json")
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "text.json").write_text("{")
    (tmp_path / "..hidden.json").write_text("{}")
    found = records.records(str(tmp_path))
    assert found["good"] == {"kind": "x"}
    assert all("broken" in found[name] for name in ("loose", "link", "pipe", "text"))
    assert set(found) == {"good", "loose", "link", "pipe", "text"}
    assert records.record(str(tmp_path), "../etc/passwd") is None
    assert records.records(str(tmp_path / "none")) == {}


def test_figures_are_this_machines() -> None:
    seen = figures.figures()
    assert seen["cpus"] == os.cpu_count() and len(seen["load"]) == 3
    assert 0 < seen["memory_available"] < seen["memory_total"] and 0 < seen["disk_free"] <= seen["disk_total"]
    assert seen["uptime"] > 0 and seen["reboot"] in (True, False)


def test_a_log_file_is_followed_through_its_rotation(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    log.write_text("".join(f"line {number}\n" for number in range(50)) + "half")
    file = sources.File(str(log))
    wanted = sources.Wanted(lines=2, follow=True)
    assert [line[2] for line in file.before(wanted)] == ["line 48", "line 49"]
    coming = file.after(wanted)
    assert next(coming) == []
    with log.open("a") as more:
        more.write(" whole\n")
    assert _next(coming) == ["", "access.log", "half whole", 6]
    log.rename(tmp_path / "access.log.1")
    log.write_text("anew\n")
    assert _next(coming)[2] == "anew"


def _next(coming: Iterator[list[Any]]) -> Any:
    return next(lines for lines in coming if lines)[0]


def test_a_log_file_behind_a_link_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("canary\n")
    (tmp_path / "log").symlink_to(tmp_path / "secret")
    (tmp_path / "folder").symlink_to(tmp_path)
    for path in (tmp_path / "log", tmp_path / "folder" / "secret"):
        with pytest.raises(sources.Failed):
            sources.File(str(path)).before(sources.Wanted())


def test_lines_wait_until_the_reader_has_taken_the_others(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("".join(f"{number}\n" for number in range(2000)))
    got: list[Any] = []
    stream = streams.Stream("shop", sources.Wanted(lines=2000), [], [str(log)], lambda part: got.append(part))
    stream.start()
    time.sleep(0.5)
    held = sum(len(part.get("lines", ())) for part in got)
    assert streams.CREDIT <= held < 2 * streams.CREDIT
    stream.more(2000)
    time.sleep(0.5)
    assert sum(len(part.get("lines", ())) for part in got) == 2000 and got[-1] == {"end": ""}


def test_it_runs_on_nothing_but_its_own_input_and_ends_with_it(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-I", "-S", "-c", BOOT], stdin=-1, stdout=-1, cwd=tmp_path)
    assert child.stdin and child.stdout
    child.stdin.write(bundle(str(tmp_path)) + b'{"do": "observe", "id": 7}\n')
    child.stdin.flush()
    assert "hello" in json.loads(child.stdout.readline())
    assert json.loads(child.stdout.readline())["seen"]["records"] == {}
    child.stdin.close()
    assert child.wait(timeout=5) == 0
    assert list(tmp_path.iterdir()) == []


def test_its_modules_need_only_the_standard_library() -> None:
    import ast

    folder = Path(probes.__file__).parent
    for file in folder.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else (
                [node.module or ""] if isinstance(node, ast.ImportFrom) else [])
            for name in names:
                assert name.split(".")[0] in sys.stdlib_module_names or name.startswith("panel.link.remote"), file
        assert stat.S_IMODE(file.stat().st_mode) & 0o111 == 0
