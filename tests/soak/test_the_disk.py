"""Deploys one after the other leave what is kept, and nothing besides."""

from __future__ import annotations

import os

import pytest

from tests.world import World, wait

pytestmark = pytest.mark.sandbox
TIMES = int(os.environ.get("WEBOPS_SOAK_TIMES", "50"))
KEPT = 5
HOME = "/srv/webops/guestbook"
#: What a commit leaves in the mirror of the repository, at most (KB).
COMMIT = 20


def test_the_disk_grows_by_the_kept_releases_and_no_more(guestbook: World) -> None:
    def deploy(number: int) -> None:
        files = {"note.txt": str(number), "book/static/book/extra.txt": f"{number:04}\n" * 30_000}
        guestbook.repository("guestbook").commit(f"Number {number}", files)
        guestbook.succeeded(guestbook.act("guestbook", "deploy"))

    def used() -> dict[str, int]:
        """KB by directory, once what was pruned is gone."""
        wait("pruning has ended", lambda: int(guestbook.root("sh", "-c", f"ls {HOME}/releases | wc -l")) <= KEPT)
        lines = guestbook.root("du", "-k", "--max-depth=2", HOME).splitlines()
        return {path.removeprefix(HOME) or "/": int(size) for size, path in (line.split("\t") for line in lines)}

    for number in range(KEPT + 1):
        deploy(number)
    before = used()
    for number in range(KEPT + 1, KEPT + 1 + TIMES):
        deploy(number)
    after = used()
    print(f"{TIMES} deploys: {before['/']} KB before, {after['/']} KB after")
    grown = {path: after[path] - before.get(path, 0) for path in after if after[path] > before.get(path, 0)}
    assert after["/"] - before["/"] <= TIMES * COMMIT, grown
    for place in ("releases", "public", "live/releases"):
        assert len(guestbook.root("ls", f"{HOME}/{place}").split()) == KEPT, place
