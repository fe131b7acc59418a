"""What .env.example names is asked for before the first deploy of an app, and reaches the app."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator

import pexpect
import pytest

from cli.exits import Exit
from panel.settings import ROOT
from tests.world import World

pytestmark = pytest.mark.sandbox
SECRET = "smtp://ada:Mail-S3cret@mail.example.org"
EXAMPLE = "# Where mail goes\nMAIL_PASSWORD=\nFIELD_ENCRYPTION_KEY=\nPAGE_SIZE=25\nSECRET_KEY=x\n"
APPLY = ["apply", "django_app", "asking", "--server", "web1", "--repo"]


@pytest.fixture
def address(world: World) -> Iterator[str]:
    """A repository that names variables."""
    repository = world.repository("guestbook")
    repository.commit("Say what it wants to know", {".env.example": EXAMPLE})
    yield repository.address
    repository.undo()


def test_the_first_deploy_asks_for_what_only_a_person_knows(world: World, address: str) -> None:
    refused = world.webops(*APPLY, address)
    assert refused.returncode == Exit.REFUSED and "MAIL_PASSWORD" in refused.stderr, refused.stderr
    assert "PAGE_SIZE" not in refused.stderr and world.api("GET", "/resources/asking").status_code == 404
    assert "No plan yet" in world.webops("plan", "list", "--resource", "asking").stdout, "it was only looked at"

    terminal = pexpect.spawn(sys.executable, ["-m", "cli", *APPLY, address], cwd=str(ROOT), timeout=400,
                             encoding="utf-8", env=world.environment, dimensions=(40, 200))
    screen = ""
    for question, answer in ((r"MAIL_PASSWORD.*Where mail goes.*: ", SECRET), (r"FIELD_ENCRYPTION_KEY.*: ", ""),
                             (r"PAGE_SIZE.*\[25\]: ", "")):
        terminal.expect(question)
        screen += str(terminal.before) + str(terminal.after)
        terminal.sendline(answer)
    terminal.expect(pexpect.EOF)
    terminal.close()
    screen += str(terminal.before)
    assert terminal.exitstatus == Exit.OK and SECRET not in screen, screen
    release = world.root("readlink", "/srv/webops/asking/live/release").strip().rpartition("/")[2]
    held = json.loads(world.root("cat", f"/srv/webops/asking/env/{release}"))
    assert (held["MAIL_PASSWORD"], held["PAGE_SIZE"]) == (SECRET, "25")
    assert re.fullmatch(r"[\w-]{43}=", held["FIELD_ENCRYPTION_KEY"])
    plan = world.ask("POST", "/resources/asking/plans", {})
    world.succeeded(plan["run"]["id"])
    assert world.ask("GET", f"/plans/{plan['plan']['id']}")["variables"] == []
    world.succeeded(world.act("asking", "remove", remove_data="asking"))
