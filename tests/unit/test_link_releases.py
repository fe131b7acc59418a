"""Releases as the link reads them on a server: bounded, names of variables only, whatever lies there."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from panel.link import kept, verdict
from panel.link.remote import releases

SECRET = "s3cr3t-value"


class Place:
    """A resource's folder on a server, with a repository of its own."""

    def __init__(self, folder: Path) -> None:
        self.base = folder / "guestbook"
        (self.base / "live" / "releases").mkdir(parents=True)
        (self.base / "env").mkdir()
        (self.base / "shared").mkdir()
        self.git("init", "--quiet", "--bare", "-b", "main")

    def git(self, *words: str, text: str = "") -> str:
        who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
        command = ["git", *who, f"--git-dir={self.base}/shared/repo.git", *words]
        return subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout.strip()

    def commit(self, subject: str, parent: str = "") -> str:
        tree = self.git("mktree")
        return self.git("commit-tree", tree, *(["-p", parent] if parent else []), text=subject)

    def release(self, identity: str, commit: str, env: dict[str, str], **more: Any) -> str:
        identity = f"{identity}-{commit[:7]}"
        record = {"id": identity, "build": identity, "commit": commit, "subject": f"Of {identity}", "served": True,
                  "project": {"python": "/x"}, **more}
        (self.base / "live" / "releases" / f"{identity}.json").write_text(json.dumps(record))
        (self.base / "env" / f"{identity}.json").write_text(json.dumps(env))
        return identity

    def serve(self, identity: str) -> None:
        link = self.base / "live" / "release"
        link.unlink(missing_ok=True)
        link.symlink_to(f"releases/{identity}.json")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr(releases, "_ROOT", tmp_path)
    releases._counted.clear()
    # There is no such user here: what would run as the app's runs as ourselves.
    real = subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda argv, **more: real(
        argv[argv.index("--") + 1:] if argv[0] == "sudo" else argv, **more))
    return Place(tmp_path)


@pytest.fixture
def two(place: Place) -> tuple[str, str]:
    first = place.commit("First")
    second = place.commit("Third", place.commit("Second", first))
    a = place.release("20261120-100000", first, {"KEPT": "1", "GONE": "1", "KEY": SECRET},
                      migration_files=["shop/migrations/0001_initial.py"])
    b = place.release("20261121-100000", second, {"KEPT": "1", "NEW": "1", "KEY": SECRET + "2"},
                      migration_files=["shop/migrations/0001_initial.py", "shop/migrations/0002_note.py"])
    place.serve(b)
    return a, b


def test_the_list_is_newest_first_and_says_which_serves(place: Place, two: tuple[str, str]) -> None:
    found = kept.releases(releases.releases("guestbook"))
    assert [(one["id"], one["live"]) for one in found] == [(two[1], True), (two[0], False)]
    assert "newest" not in found[0] and SECRET not in json.dumps(found)


def test_after_going_back_the_newest_says_how_far_it_is_ahead(place: Place, two: tuple[str, str]) -> None:
    place.serve(two[0])
    newest, live = kept.releases(releases.releases("guestbook"))
    assert live["live"] and newest["newest"] == {
        "commits": 2, "environment": {"added": ["NEW"], "removed": ["GONE"], "changed": ["KEY"]}}


def test_two_are_compared_both_ways_without_a_value_leaving(place: Place, two: tuple[str, str]) -> None:
    told = releases.compare("guestbook", *two)
    found = kept.compared(told)
    assert [one["subject"] for one in found["commits"]] == ["Third", "Second"] and not found["commits_gone"]
    assert found["environment"] == {"added": ["NEW"], "removed": ["GONE"], "changed": ["KEY"]}
    assert found["migrations"] == {"added": ["shop.0002_note"], "removed": []}
    assert SECRET not in json.dumps(told)
    other_way = releases.compare("guestbook", two[1], two[0])
    assert len(other_way["commits_gone"]) == 2 and not other_way["commits"]
    assert other_way["migrations"]["removed"] == ["shop.0002_note"]


def test_at_most_fifty_commits_and_how_many_more(place: Place) -> None:
    last = first = place.commit("First")
    for number in range(53):
        last = place.commit(f"Number {number}", last)
    a, b = place.release("20261120-100000", first, {}), place.release("20261121-100000", last, {})
    found = releases.compare("guestbook", a, b)
    assert (len(found["commits"]), found["commits_more"]) == (50, 3)


def test_what_cannot_be_compared_says_why(place: Place, two: tuple[str, str]) -> None:
    assert "has no release '20250101-000000-0000000' any more. There are: " in releases.compare(
        "guestbook", "20250101-000000-0000000", two[1])["error"]
    for wrong in ("../../../etc/passwd", "--upload-pack=x", "", "20261120-100000-xyz"):
        assert "error" in releases.compare("guestbook", wrong, two[1])
        assert "error" in releases.compare(wrong, *two)
    lost = place.release("20261122-100000", "f" * 40, {})
    assert "git could not tell" in releases.compare("guestbook", two[0], lost)["commits_unknown"]
    option = place.release("20261123-100000", "--output=/tmp/x", {}).replace("--outp", "0000000")
    assert "error" in releases.compare("guestbook", two[0], option)


def test_broken_and_foreign_files_are_passed_over(place: Place, two: tuple[str, str]) -> None:
    folder = place.base / "live" / "releases"
    (folder / "20261124-100000-0000000.json").write_text("{")
    (folder / "20261125-100000-0000000.json").write_text('{"id": "another"}')
    (folder / "20261126-100000-0000000.json").symlink_to("/etc/passwd")
    assert [one["id"] for one in releases.releases("guestbook")] == [two[1], two[0]]
    assert releases.releases("nobody") == [] and releases.releases("../x") == []


def test_a_server_may_say_what_it_wants() -> None:
    told = [{"id": "20261120-100000-4f1c9aa", "subject": "\x1b[31mred" * 100, "seconds": "x", "run": True, "back": [],
             "newest": {"commits": -1, "environment": {"added": "x", "changed": [{}] * 500}}, "more": "x"},
            {"id": "x"}, {"id": 1}, 5, None]
    one, = kept.releases(told)
    assert set(one) == {"id", "served", "live", "subject", "newest"} and "\x1b" not in one["subject"]
    assert one["newest"]["commits"] is None and len(one["newest"]["environment"]["changed"]) == 100
    for nonsense in ("x", 5, None, {}):
        assert kept.releases(nonsense) == []
    seen = {"records": {"x": {"kind": "django_app"}}, "releases": {"x": told}}
    assert verdict.resource("x", "django_app", "web1", True, seen).data["releases"] == [one]
