"""What people read: one state and one sentence per resource and server, whatever a server sent."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from panel.link import ssh, verdict, wording
from panel.link.plain import plain, tidy
from panel.link.scan import _keys
from tests.unit.test_link_probes import certificate


def judged(*answers: dict[str, Any], record: dict[str, Any] | None = None) -> verdict.Verdict:
    seen = {"records": {"guestbook": record or {"kind": "django_app"}}, "answers": {"guestbook": list(answers)}}
    return verdict.resource("guestbook", "django_app", "web1", True, seen)


def units(*states: str, any_: bool = True, **more: Any) -> dict[str, Any]:
    names = ("wo-guestbook@a.service", "wo-guestbook@b.service")
    return {"type": "unit", "any": any_, "units": [
        {"name": name, "load": "loaded", "active": state, **more} for name, state in zip(names, states, strict=False)]}


def answered(status: int, ms: int = 12) -> dict[str, Any]:
    return {"type": "http", "url": "https://x.org/healthz", "wanted": [200], "status": status, "ms": ms}


def der(folder: Path, days: int, issuer: str) -> dict[str, Any]:
    pem = certificate(folder, days, issuer).read_bytes()
    found = x509.load_pem_x509_certificates(pem)[0].public_bytes(serialization.Encoding.DER)
    return {"type": "certificate", "path": "/etc/webops/certs/x/fullchain.pem", "der": base64.b64encode(found).decode()}


def test_serving(tmp_path: Path) -> None:
    found = judged(units("active", "inactive"), answered(200), der(tmp_path, 60, "Let's Encrypt"))
    assert found.state == "ok"
    until = found.data["probes"][2]["until"][:10]
    assert found.text == f"Serving: answered 200 in 12 ms. Certificate valid until {until} (Let's Encrypt)."
    assert "der" not in found.data["probes"][2]


@pytest.mark.parametrize(("answers", "state", "text"), [
    ([units("inactive", "inactive"), answered(502)], "stopped", "Stopped: both slots are down."),
    ([units("failed", "inactive", result="oom-kill"), answered(502)], "failed",
     "Failed: wo-guestbook@a failed (the server ran out of memory)."),
    ([units("active", "inactive"), answered(500)], "failed",
     "Failed: answered 500 instead of 200 at https://x.org/healthz."),
    ([units("activating", "inactive", sub="auto-restart")], "failed",
     "Failed: wo-guestbook@a and wo-guestbook@b ends again and again."),
    ([units("activating", any_=False, sub="start")], "unknown", "Starting: wo-guestbook@a is starting."),
    ([units("activating", "inactive", sub="start-post", restarts="1"), answered(503)], "unknown",
     "Starting: wo-guestbook@a is starting again, after it ended by itself."),
    ([units("active", any_=False)], "ok", "Running: wo-guestbook@a is active."),
    ([units("active", "inactive", any_=False)], "stopped", "Stopped: wo-guestbook@b is not running."),
    ([{"type": "unit", "units": [{"name": "x.service", "load": "not-found", "active": "inactive"}]}], "missing",
     "Not there: x is not installed."),
    ([{"type": "http", "url": "http://x", "error": "permission denied"}], "unknown",
     "Unknown: no answer at http://x: permission denied."),
    ([{"type": "path", "path": "/srv/x", "there": False}], "missing", "Not there: /srv/x is gone."),
    ([{"type": "new", "error": "this WebOps does not know this kind of probe"}], "unknown",
     "Unknown: this WebOps does not know this kind of probe."),
])
def test_other_states(answers: list[dict[str, Any]], state: str, text: str) -> None:
    found = judged(*answers)
    if "again and again" in text:
        text = text.replace(" and wo-guestbook@b", "")
    assert (found.state, found.text) == (state, text)


def test_certificates_in_need(tmp_path: Path) -> None:
    assert "and browsers refuse it" in judged(answered(200), der(tmp_path, -1, "X")).text
    assert "its renewal is overdue" in judged(answered(200), der(tmp_path, 3, "X")).text
    assert judged({"type": "certificate", "der": "AAAA"}).state == "failed"


def test_nothing_there_and_something_else_there() -> None:
    before = verdict.resource("shop", "django_app", "web1", False, {"records": {}})
    assert before.text == "Not there yet: nothing of shop is on web1."
    other = judged(record={"kind": "static_site"})
    assert other.state == "failed" and "is a static_site, not a django_app" in other.text
    assert "cannot be used: it does not belong to root alone" in judged(
        record={"broken": "it does not belong to root alone"}).text


@pytest.mark.parametrize("seen", [
    {}, {"records": 7}, {"records": {"guestbook": []}}, {"records": {"guestbook": {"kind": {"a": 1}}}},
    {"records": {"guestbook": {"kind": "django_app"}}, "answers": {"guestbook": [None, 7, {"type": []}]}},
    {"records": {"guestbook": {"kind": "django_app"}}, "answers": {"guestbook": [
        {"type": "unit", "units": [{"name": None, "active": ["x"]}]}, {"type": "certificate", "der": {}},
        {"type": "http", "status": "\x1b[31m", "wanted": "x"}]}},
])
def test_a_server_that_lies_about_the_form_makes_no_error(seen: dict[str, Any]) -> None:
    found = verdict.resource("guestbook", "django_app", "web1", True, seen)
    assert found.text.isprintable()


def test_a_time_that_differs_is_no_news() -> None:
    first, second = judged(answered(200, 12)), judged(answered(200, 340))
    assert second.same_as(first.state, first.text)
    assert not judged(answered(500)).same_as(first.state, first.text)


def test_the_server_in_words() -> None:
    figures = {"load": [0.25, 0, 0], "cpus": 2, "memory_total": 4 * 1024 ** 3, "memory_available": 1024 ** 3,
               "disk_total": 20 * 1024 ** 3, "disk_free": 15 * 1024 ** 3, "reboot": True}
    assert wording.reached(figures) == ("Reached: load 0.2 on 2 CPUs, memory 75 % of 4.0 GB, disk 25 % of 20.0 GB. "
                                        "It wants a reboot, because of updates.")
    assert wording.reached({"load": "x", "memory_total": 0}) == "Reached."
    at = datetime(2026, 11, 2, 14, 2, tzinfo=UTC)
    target = ssh.Target(1, "web1", "192.0.2.1", 2222, "", "", b"")
    reason = ssh.meaning("ssh: connect to host 192.0.2.1 port 2222: Connection timed out", target)
    assert wording.unreachable(reason, at) == (
        "Cannot be reached since 2026-11-02 14:02 UTC: connection timed out. "
        "Check that the server is on and that its firewall lets WebOps in on port 2222.")


@pytest.mark.parametrize(("said", "code"), [
    ("ssh: Could not resolve hostname web1: Name or service not known", "name"),
    ("ssh: connect to host x port 22: No route to host", "network"),
    ("Timeout, server 192.0.2.1 not responding.", "timeout"),
    ("No ED25519 host key is known for webops-1 and you have requested strict checking.", "host_key"),
    ("kex_exchange_identification: Connection closed by remote host", "closed"),
    ("bash: line 1: exec: python3: not found", "python"),
    ("", "unknown"),
])
def test_what_ssh_complains_about(said: str, code: str) -> None:
    assert ssh.meaning(said, ssh.Target(1, "web1", "192.0.2.1", 22, "", "", b"")).code == code


@pytest.mark.parametrize(("text", "shown"), [
    ("\x1b[1;31mred\x1b[0m", "red"), ("\x1b]8;;javascript:alert(1)\x07here\x1b]8;;\x07", "here"),
    ("\x1b]0;title\x1b\\x", "x"), ("\x9b31mx", "x"), ("a\x00b\x07c", "abc"), ("a\r\nb", "a  b"), ("a\tb", "a    b"),
    ("user\u202egnp.exe", "user\\u202egnp.exe"), ("Grüße 🎉 </script>", "Grüße 🎉 </script>"),
])
def test_text_from_a_server_is_only_text(text: str, shown: str) -> None:
    assert plain(text, 100) == shown


def test_long_and_deep_things_are_cut() -> None:
    assert plain("x" * 5000, 10) == "xxxxxxxxxx … (4990 characters more)"
    deep: Any = "end"
    for _ in range(500):
        deep = {"a": [deep] * 2}
    assert len(str(tidy(deep))) < 10_000
    assert tidy({"a": 10 ** 400, "b": float("nan")}) == {"a": "1" + "0" * 400, "b": "nan"}


def test_only_host_keys_that_are_keys_are_offered() -> None:
    key = "AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
    output = (f"# 192.0.2.1:22 SSH-2.0\n[192.0.2.1]:2222 ssh-ed25519 {key}\n192.0.2.1 ssh-dss AAAA\n"
              "192.0.2.1 ssh-rsa !!\n@cert-authority * ssh-rsa AAAA\n")
    assert _keys(output) == [f"ssh-ed25519 {key}"]
    assert ssh.fingerprint(_keys(output)[0]) == "SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU"
