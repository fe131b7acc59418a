"""Logins of private repositories, submodules and Git LFS, as the program that fetches treats them."""

import json
import os
import subprocess
import time
from pathlib import Path

import pytest

from tests.unit.test_modules_programs import commit, git, origin, wanted

__all__ = ["origin"]
KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nc2VjcmV0\n-----END OPENSSH PRIVATE KEY-----"
HTTPS = "https://git.example.org/team/app.git"


@pytest.mark.parametrize(("base", "address", "meant"), [
    (HTTPS, "../theme.git", "https://git.example.org/team/theme.git"),
    (HTTPS + "/", "../theme.git", "https://git.example.org/team/theme.git"),
    (HTTPS, "./inner.git", "https://git.example.org/team/app.git/inner.git"),
    (HTTPS, "../../other/theme", "https://git.example.org/other/theme"),
    ("ssh://git@git.example.org:2222/team/app.git", "../theme.git", "ssh://git@git.example.org:2222/team/theme.git"),
    ("git@git.example.org:team/app.git", "../theme.git", "git@git.example.org:team/theme.git"),
    ("git@git.example.org:app.git", "../theme.git", "git@git.example.org:theme.git"),
    ("git@git.example.org:/srv/app.git", "../theme.git", "git@git.example.org:/srv/theme.git"),
    (HTTPS, "https://elsewhere.example.org/a.git", "https://elsewhere.example.org/a.git"),
])
def test_an_address_of_a_submodule_is_seen_from_its_repository(program, base, address, meant):
    assert program("submodules").resolve(base, address) == meant


@pytest.mark.parametrize(("base", "address"), [
    (HTTPS, "../../../elsewhere"), ("git@git.example.org:app.git", "../../x"),
    (HTTPS, "../../../../evil.example.org/x"),
])
def test_it_never_leads_to_another_host(program, base, address):
    with pytest.raises(program("submodules").Unusable, match=r"leads out of"):
        program("submodules").resolve(base, address)


@pytest.mark.parametrize("address", [
    "ext::sh -c id", "file:///etc", "/srv/x", "http://h.example.org/x", "git://h.example.org/x", "ssh://-oProxyCommand=x/y",
    "-oProxyCommand=x:y", "git@-oProxyCommand=x:y", "https://user:secret@h.example.org/x", "https://h.example.org/a b",
    "https://h.example.org/\nx", "git@h.example.org:-x", "fd::17", "ftp://h.example.org/x", "", "https:///x",
])
def test_nothing_else_than_https_and_ssh_is_fetched_from(program, address):
    with pytest.raises(program("submodules").Unusable) as refused:
        program("submodules").usable(address, "https:ssh")
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(("address", "used"), [
    ("https://ada@h.example.org/x.git", "https://h.example.org/x.git"),
    ("ssh://git@h.example.org:2222/x.git", "ssh://git@h.example.org:2222/x.git"),
    ("git@h.example.org:a/x.git", "git@h.example.org:a/x.git"),
])
def test_an_address_is_used_without_the_name_that_a_token_replaces(program, address, used):
    assert program("submodules").usable(address, "https:ssh") == used


@pytest.mark.parametrize(("address", "token", "key"), [
    (HTTPS, True, True),
    ("https://git.example.org/other.git", True, True),
    ("https://GIT.example.org:443/other.git", True, True),
    ("git@git.example.org:team/app.git", False, True),
    ("https://git.example.org:8443/team/app.git", False, False),
    ("https://git.example.org.evil.org/x", False, False),
    ("https://evil.org/git.example.org", False, False),
    ("git@evil.org:git.example.org", False, False),
])
def test_a_login_goes_to_its_own_host_alone(program, monkeypatch, address, token, key):
    monkeypatch.setenv("WEBOPS_LOGIN", json.dumps({"user": "ada", "token": "tok-123456", "key": KEY}))
    login = program("login").Login(HTTPS)
    assert "WEBOPS_LOGIN" not in os.environ
    given = login.environment(address, "/srv/known_hosts")
    assert ("tok-123456" in given.values()) is token
    assert ("IdentitiesOnly=yes" in given["GIT_SSH_COMMAND"]) is key
    said = " ".join([given["GIT_SSH_COMMAND"], *(text for name, text in given.items() if name.startswith("GIT_"))])
    assert "tok-123456" not in said and "c2VjcmV0" not in said


def test_git_gets_the_token_from_its_helper_for_that_host_only(program, monkeypatch):
    monkeypatch.setenv("WEBOPS_LOGIN", json.dumps({"user": "ada", "token": "tok-'\"$x\\n%s"}))
    login = program("login").Login(HTTPS)

    def filled(address):
        environment = {**os.environ, **login.environment(address, "/x"), "GIT_TERMINAL_PROMPT": "0",
                       "GIT_CONFIG_GLOBAL": "/dev/null"}
        host = address.split("/")[2]
        done = subprocess.run(["git", "credential", "fill"], input=f"protocol=https\nhost={host}\n\n", env=environment,
                              capture_output=True, text=True, check=False)
        return dict(line.split("=", 1) for line in done.stdout.splitlines())

    assert filled(HTTPS)["username"] == "ada" and filled(HTTPS)["password"] == "tok-'\"$x\\n%s"
    assert "password" not in filled("https://evil.org/x")


def test_the_key_is_a_file_of_this_process_alone(program, monkeypatch):
    monkeypatch.setenv("WEBOPS_LOGIN", json.dumps({"key": KEY}))
    command = program("login").Login("git@git.example.org:app.git").environment("git@git.example.org:app.git", "/x")
    path = command["GIT_SSH_COMMAND"].split(" -i ")[1]
    assert path.startswith(f"/proc/{os.getpid()}/fd/")
    assert Path(path).read_text() == KEY + "\n" and os.stat(path).st_mode & 0o777 == 0o600


@pytest.fixture
def theme(tmp_path):
    where = tmp_path / "theme"
    where.mkdir()
    git(where, "init", "-q", "-b", "main")
    commit(where, {"tide.txt": "high"}, "Theme")
    return where


def with_theme(origin, pinned, address):
    git(origin, "update-index", "--add", "--cacheinfo", f"160000,{pinned},web/theme")
    (origin / ".gitmodules").write_text(f'[submodule "t"]\n\tpath = web/theme\n\turl = {address}\n')
    git(origin, "add", ".gitmodules")
    git(origin, "commit", "-q", "-m", "With a theme")
    return git(origin, "rev-parse", "HEAD")


def test_a_pinned_submodule_is_checked_out_though_its_branch_went_on(program, origin, theme, tmp_path):
    pinned = git(theme, "rev-parse", "HEAD")
    commit(theme, {"tide.txt": "low"}, "Later")
    wish = wanted(origin, tmp_path)
    made = with_theme(origin, pinned, "../theme")
    assert program("fetch").fetch(wish)["submodules"] == 1
    tree = program("tree").check_out(wish["mirror"], made, str(tmp_path / "release"))
    assert Path(tree, "web/theme/tide.txt").read_text() == "high"
    # It is there now: nobody is asked again.
    theme.rename(tmp_path / "gone")
    assert program("fetch").fetch(wish)["submodules"] == 1


def test_what_is_missing_is_told(program, origin, theme, tmp_path):
    with_theme(origin, "1" * 40, "../theme")
    stop = program("report").Stop
    with pytest.raises(stop, match=r"One submodule is missing: web/theme: .*theme has no commit 1111111\."):
        program("fetch").fetch(wanted(origin, tmp_path))
    git(origin, "rm", "-q", ".gitmodules")
    git(origin, "commit", "-q", "-m", "No addresses")
    with pytest.raises(stop, match=r"names no address for it in \.gitmodules"):
        program("fetch").fetch(wanted(origin, tmp_path))


def test_submodules_that_never_end_are_refused(program, origin, theme, tmp_path, monkeypatch):
    monkeypatch.setattr(program("submodules"), "DEEPEST", 1)
    below = tmp_path / "below"
    below.mkdir()
    git(below, "init", "-q", "-b", "main")
    leaf = commit(below, {"x": "1"}, "Below")
    middle = with_theme(theme, leaf, "../below")
    with_theme(origin, middle, "../theme")
    with pytest.raises(program("report").Stop, match="too many submodules"):
        program("fetch").fetch(wanted(origin, tmp_path))


POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'a' * 64}\nsize 5\n"


def test_large_files_without_git_lfs_are_refused(program, origin, tmp_path, monkeypatch):
    commit(origin, {"pictures/.gitattributes": "*.png filter=lfs\n", "pictures/a.png": POINTER}, "Picture")
    monkeypatch.setattr(program("lfs").shutil, "which", lambda name: None)
    with pytest.raises(program("report").Stop, match=r"1 file is kept in Git LFS, and git-lfs is not installed"):
        program("fetch").fetch(wanted(origin, tmp_path))


def test_a_text_that_only_speaks_of_git_lfs_is_none(program, origin, tmp_path):
    commit(origin, {"README": POINTER, ".gitattributes": "*.txt text\n"}, "Words")
    assert program("fetch").fetch(wanted(origin, tmp_path))["large"] == 0


@pytest.mark.parametrize(("words", "told"), [
    ("fatal: could not read Username for 'https://h': terminal prompts disabled", "it asks for a login"),
    ("fatal: Authentication failed for 'https://h/'", "it refuses the token"),
    ("git@h: Permission denied (publickey).", "it accepts no key of this server"),
    ("Host key verification failed.", "its host key is not the one"),
])
def test_why_a_repository_cannot_be_read(program, origin, tmp_path, words, told):
    reason, then = program("fetch").Repository(wanted(origin, tmp_path), str(tmp_path))._reason(words)
    assert told in reason and then


def test_with_a_login_the_same_words_mean_something_else(program, tmp_path, monkeypatch):
    monkeypatch.setenv("WEBOPS_LOGIN", json.dumps({"key": KEY}))
    one = program("fetch").Repository({"repo": "git@h.example.org:a.git"}, str(tmp_path))
    assert "it does not accept the deploy key" in one._reason("git@h: Permission denied (publickey).")[0]
    assert "may not read it" in one._reason("ERROR: Repository not found.")[0]


def test_what_a_task_is_handed_is_in_no_file(module, tmp_path):
    hand_over = module("webops_unit").hand_over
    path = tmp_path / "task-fetch.pipe"
    with hand_over(str(path), {"WEBOPS_LOGIN": "tok-123456" * 9000}):
        assert path.is_fifo() and path.stat().st_mode & 0o777 == 0o640
        # Nobody has read it, so it is nowhere yet; whoever reads gets all of it, once.
        assert json.loads(path.read_text())["WEBOPS_LOGIN"] == "tok-123456" * 9000
    assert list(tmp_path.iterdir()) == []


def test_a_task_that_never_reads_keeps_nobody_waiting(module, tmp_path):
    began = time.monotonic()
    with module("webops_unit").hand_over(str(tmp_path / "pipe"), {"A": "b"}):
        pass
    assert time.monotonic() - began < 2 and list(tmp_path.iterdir()) == []


def test_a_task_without_a_login_has_no_pipe(module, tmp_path):
    with module("webops_unit").hand_over(None, {}):
        assert list(tmp_path.iterdir()) == []


def test_before_apply_it_says_so(module, tmp_path):
    refused = module("webops_unit").Refused
    hand_over = module("webops_unit").hand_over
    with pytest.raises(refused, match="Needs Apply"), hand_over(f"{tmp_path}/none/pipe", {"A": 1}):
        pass


@pytest.mark.parametrize(("found", "words"), [
    ({}, "4f1c9aa · Fix"), ({"submodules": 1}, "4f1c9aa · Fix · 1 submodule"),
    ({"submodules": 2, "large": 3}, "4f1c9aa · Fix · 2 submodules · 3 files of Git LFS"),
])
def test_a_step_says_what_came_along(module, found, words):
    assert module("webops_commit").summary({"commit": "4f1c9aa00", "subject": "Fix", **found}) == words


def test_a_public_repository_is_handed_nothing(module):
    login = module("webops_repository").login
    assert login({"login": {"user": "x-access-token", "token": "", "key": ""}}) == {} == login({"login": {}})
    assert json.loads(login({"login": {"user": "a", "token": "b", "key": ""}})["WEBOPS_LOGIN"])["token"] == "b"
