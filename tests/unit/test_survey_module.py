"""webops_survey on this machine: sockets and their processes, files as their owners may read them."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from tests.surveyed import PROXIED, dump

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="reads as other users")


@pytest.fixture
def survey(module: Callable[[str], ModuleType]) -> ModuleType:
    return module("webops_survey")


@needs_root
def test_a_socket_is_found_with_the_process_that_holds_it(survey: ModuleType, tmp_path: Path) -> None:
    path = str(tmp_path / "with a blank.sock")
    with socket.socket(socket.AF_UNIX) as local, socket.create_server(("127.0.0.1", 0)) as wide:
        local.bind(path)
        local.listen()
        known = survey.listening()
        mine = [known[one] for one in survey.opened(str(os.getpid())) if one in known]
        assert {path, str(wide.getsockname()[1])} <= set(mine)
    assert path not in survey.listening().values()


@needs_root
def test_a_file_is_read_as_the_owner_of_its_directory(survey: ModuleType, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents[:3]:
        if parent != Path("/tmp"):
            parent.chmod(parent.stat().st_mode | 0o011)
    secret, theirs, open_to_all = tmp_path / "secret", tmp_path / "theirs", tmp_path / "open"
    secret.write_text("root's")
    secret.chmod(0o600)
    theirs.mkdir()
    open_to_all.mkdir(mode=0o777)
    open_to_all.chmod(0o777)
    (theirs / "own").write_text("own")
    (theirs / "planted").symlink_to(secret)
    (open_to_all / "planted").symlink_to(secret)
    shutil.chown(theirs, "nobody", "nogroup")
    assert survey.read(str(secret)) == "root's" and survey.read(str(theirs / "own")) == "own"
    assert survey.read(str(theirs / "planted")) is None and survey.read(str(open_to_all / "planted")) is None
    assert survey.read(str(tmp_path / "none")) is None
    (tmp_path / "large").write_text("x" * (65 << 10))
    assert survey.read(str(tmp_path / "large")) is None


@needs_root
def test_a_checkout_is_read_and_git_is_not_asked(survey: ModuleType, tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "config").write_text("[core]\n\tfsmonitor = touch CANARY\n")
    (tmp_path / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    (tmp_path / "public" / "site").mkdir(parents=True)
    found = survey.checkout(str(tmp_path / "public" / "site"))
    assert (found["place"], found["within"], found["head"]) == (str(tmp_path), "public/site", "ref: refs/heads/main\n")
    assert not list(tmp_path.rglob("CANARY")) and survey.checkout("/usr/bin") is None


def test_files_are_looked_for_where_nginx_and_systemd_name_them(survey: ModuleType) -> None:
    text = dump(site=PROXIED + "# ssl_certificate_key /etc/shadow;\nserver { ssl_certificate_key 'a b'; }")
    assert survey.named(text, "ssl_certificate_key") == ["/etc/letsencrypt/live/shop.example.org/privkey.pem", "a"]
    assert survey.named(text, "root") == ["/srv/shop"]
    shown = survey.properties("EnvironmentFiles=/a (ignore_errors=no)\nEnvironmentFiles=/b (ignore_errors=yes)")
    assert shown["EnvironmentFiles"] == "/a (ignore_errors=no) /b (ignore_errors=yes)"
    mine = {"Id": "shop.service", "FragmentPath": "/etc/systemd/system/shop.service"}
    assert survey.is_somebodys(mine) and not survey.is_somebodys({**mine, "Id": "wo-shop@a.service"})
    assert not survey.is_somebodys({**mine, "FragmentPath": "/usr/lib/systemd/system/cron.service"})
