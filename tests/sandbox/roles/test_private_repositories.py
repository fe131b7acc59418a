"""Repositories that ask for a login: a token over https, a deploy key over ssh; neither is ever found anywhere."""

from __future__ import annotations

import hashlib
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.sandbox.roles.conftest import Ready
from tests.sandbox.roles.play import Played
from tests.sandbox.roles.repositories import Repository
from tests.watcher import Watcher

pytestmark = pytest.mark.sandbox
TOKEN, OTHER = (f"tok-S3cret-{secrets.token_hex(6)}" for _ in range(2))
DOMAIN = "harbour.example.org"


def key_pair(path: Path) -> tuple[str, str]:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)], check=True)
    return path.read_text(), path.with_suffix(".pub").read_text().strip()


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, str]]:
    place = tmp_path_factory.mktemp("keys")
    return [key_pair(place / name) for name in ("right", "other")]


@pytest.fixture(scope="module")
def repository(ready: Ready, tmp_path_factory: pytest.TempPathFactory) -> Repository:
    return Repository(ready, "site", tmp_path_factory.mktemp("repositories"))


@pytest.fixture(scope="module", autouse=True)
def watcher(ready: Ready, keys: list[tuple[str, str]]) -> Iterator[Watcher]:
    """Looks at all processes from the first play on."""
    logins = [TOKEN, OTHER, *(line for key, _ in keys for line in key.splitlines()[2:-1])]
    with Watcher(logins) as one:
        yield one


def values(address: str, **more: Any) -> dict[str, Any]:
    return {"static_site_repo": address, "static_site_domain": DOMAIN, "static_site_certificate": "self_signed",
            "static_site_command": ["python3", "build.py"], "static_site_directory": "public", **more}


def deploy(ready: Ready, address: str, check: bool = False, **more: Any) -> Played:
    return ready.play("static_site", "harbour", values(address, **more), account="webops-deploy", action="deploy",
                      check=check)


def private(ready: Ready, repository: Repository, token: str = TOKEN) -> str:
    return ready.box.publish(repository.path, f"private-{ready.server.name}", "x-access-token", token)


def page(ready: Ready) -> str:
    return ready.curl(f"https://{DOMAIN}/", "-k")


def test_a_token_opens_a_repository(ready: Ready, repository: Repository) -> None:
    address = private(ready, repository)
    bare = ready.play("static_site", "harbour", values(address))
    assert f"{address} could not be read: it asks for a login." in bare.words(), bare.output
    assert "Give a token (Repository token), or use its ssh address with a deploy key." in bare.words()
    wrong = deploy(ready, address, static_site_repo_token=OTHER)
    assert "it refuses the token" in wrong.words(), wrong.output
    applied = ready.play("static_site", "harbour", values(address, static_site_repo_token=TOKEN))
    assert applied.code == 0, applied.words() or applied.output
    assert "small harbour" in page(ready)
    again = deploy(ready, address, static_site_repo_token=TOKEN)
    assert again.changed == [] and again.code == 0, again.output


def test_a_check_reads_it_too(ready: Ready, repository: Repository) -> None:
    repository.edit("A new title", "pages/index.md", "a small harbour", "a large harbour")
    address = private(ready, repository)
    found = deploy(ready, address, check=True, static_site_repo_token=TOKEN)
    assert found.code == 0 and "Fetch the code" in found.changed, found.words() or found.output
    refused = deploy(ready, address, check=True, static_site_repo_token=OTHER)
    assert "it refuses the token" in refused.words(), refused.output


def test_another_token_is_used_at_the_next_deploy(ready: Ready, repository: Repository) -> None:
    address = private(ready, repository, OTHER)
    assert "it refuses the token" in deploy(ready, address, static_site_repo_token=TOKEN).words()
    done = deploy(ready, address, static_site_repo_token=OTHER)
    assert done.code == 0 and "a large harbour" in page(ready), done.words() or done.output


def open_by_ssh(ready: Ready, repository: Repository, public: str) -> str:
    """A git host on the server itself: a user whose key may do nothing but git."""
    ready.run("sh", "-c", "id git 2>/dev/null || useradd -m -p '*' git")
    ready.run("rm", "-rf", "/home/git/site.git")
    public_address = ready.box.publish(repository.path, f"open-{ready.server.name}")
    ready.run("runuser", "-u", "git", "--", "git", "clone", "-q", "--bare", public_address, "/home/git/site.git")
    ready.run("install", "-d", "-o", "git", "-m", "700", "/home/git/.ssh")
    line = f'command="git-shell -c \\"$SSH_ORIGINAL_COMMAND\\"",restrict {public}\n'
    ready.run("tee", "/home/git/.ssh/authorized_keys", text=line)
    return "git@localhost:site.git"


def test_a_deploy_key_opens_a_repository(ready: Ready, repository: Repository, keys: list[tuple[str, str]]) -> None:
    (right, public), (other, other_public) = keys
    address = open_by_ssh(ready, repository, public)
    assert "it accepts no key of this server" in deploy(ready, address).words()
    wrong = deploy(ready, address, static_site_repo_key=other)
    assert "it does not accept the deploy key" in wrong.words(), wrong.output
    repository.edit("Another title", "pages/index.md", "harbour", "haven")
    open_by_ssh(ready, repository, public)
    found = deploy(ready, address, check=True, static_site_repo_key=right)
    assert found.code == 0 and "Fetch the code" in found.changed, found.words() or found.output
    done = deploy(ready, address, static_site_repo_key=right)
    assert done.code == 0 and "haven" in page(ready), done.words() or done.output
    open_by_ssh(ready, repository, other_public)
    assert "it does not accept the deploy key" in deploy(ready, address, static_site_repo_key=right).words()
    assert deploy(ready, address, static_site_repo_key=other).code == 0


def test_submodules_are_fetched_with_the_same_login(ready: Ready, repository: Repository, tmp_path: Path) -> None:
    theme = tmp_path / "theme"
    theme.mkdir()
    run = ["git", "-C", str(theme), "-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    subprocess.run([*run, "init", "-q", "-b", "main"], check=True)
    (theme / "tide.txt").write_text("The tide of the theme\n")
    subprocess.run([*run, "add", "-A"], check=True)
    subprocess.run([*run, "commit", "-q", "-m", "Theme"], check=True)
    pinned = subprocess.run([*run, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    ready.box.publish(theme, f"theme-{ready.server.name}", "x-access-token", TOKEN)
    repository.git("update-index", "--add", "--cacheinfo", f"160000,{pinned},static/theme")
    (repository.path / ".gitmodules").write_text(
        f'[submodule "theme"]\n\tpath = static/theme\n\turl = ../theme-{ready.server.name}.git\n')
    repository.git("add", ".gitmodules")
    repository.git("commit", "-q", "-m", "A theme")
    address = private(ready, repository)
    command = {"static_site_command": ["cp", "-r", "static", "public"]}
    done = deploy(ready, address, static_site_repo_token=TOKEN, **command)
    assert done.code == 0, done.words() or done.output
    assert done.results["Fetch the code"]["webops_summary"].endswith("A theme · 1 submodule")
    assert "The tide of the theme" in ready.curl(f"https://{DOMAIN}/theme/tide.txt", "-k")
    ready.box.publish(theme, f"theme-{ready.server.name}", "x-access-token", OTHER)
    repository.git("rm", "-q", "--cached", "static/theme")
    gone = "1" * 40
    repository.git("update-index", "--add", "--cacheinfo", f"160000,{gone},static/theme")
    repository.git("commit", "-q", "-m", "A theme that is not there")
    missing = deploy(ready, address, static_site_repo_token=TOKEN, **command)
    assert "One submodule is missing: static/theme:" in missing.words(), missing.output
    assert "it refuses the token" in missing.words()
    assert "The tide of the theme" in ready.curl(f"https://{DOMAIN}/theme/tide.txt", "-k")
    repository.git("rm", "-q", "--cached", "static/theme")
    repository.git("rm", "-q", ".gitmodules")
    repository.git("commit", "-q", "-m", "No theme")


def test_large_files_are_no_pointers(ready: Ready, repository: Repository) -> None:
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'a' * 64}\nsize 5\n"
    repository.commit("A picture", {".gitattributes": "*.png filter=lfs diff=lfs merge=lfs -text\n",
                                    "static/a.png": pointer, "static/b.png": pointer})
    refused = deploy(ready, private(ready, repository), static_site_repo_token=TOKEN)
    words = "2 files are kept in Git LFS, and git-lfs is not installed on this server."
    assert words in refused.words(), refused.output
    assert "Add git-lfs to the system packages" in refused.words()


def test_large_files_come_with_the_same_login(ready: Ready, repository: Repository) -> None:
    content = b"A picture of the harbour\n" * 100
    number = hashlib.sha256(content).hexdigest()
    kept = repository.path / ".git" / "lfs" / "objects" / number[:2] / number[2:4] / number
    kept.parent.mkdir(parents=True)
    kept.write_bytes(content)
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{number}\nsize {len(content)}\n"
    (repository.path / "static" / "b.png").unlink(missing_ok=True)
    repository.commit("A picture", {".gitattributes": "*.png filter=lfs diff=lfs merge=lfs -text\n",
                                    "static/a.png": pointer})
    more = {"static_site_packages": ["git-lfs"], "static_site_repo_token": TOKEN, "static_site_directory": "static",
            "static_site_command": []}
    applied = ready.play("static_site", "harbour", values(private(ready, repository), **more))
    assert applied.code == 0, applied.words() or applied.output
    assert applied.results["Fetch the code"]["webops_summary"].endswith("1 file of Git LFS")
    assert ready.curl(f"https://{DOMAIN}/a.png", "-k").encode() == content
    assert deploy(ready, private(ready, repository), **more).changed == []


def test_no_login_is_to_be_found(ready: Ready, watcher: Watcher) -> None:
    assert watcher.rounds > 20 and watcher.seen == set()
    needles = "|".join(needle.decode() for needle in watcher.needles).replace("+", "[+]")
    found = ready.run("grep", "-raElsE", needles, "/var/log", "/tmp", "/var/tmp", "/run", "/etc", "/home", "/root",
                      "/dev/shm", "/srv/webops", check=False).split()
    assert [path for path in found if not path.startswith("/home/git/")] == []
    assert ready.run("sh", "-c", "ls /srv/webops/harbour/env | grep task || true").strip() == ""
    journal = ready.run("journalctl", "-q", "--no-pager", "-o", "json", "-n", "100000")
    assert [one for one in watcher.needles if one.decode() in journal] == []
