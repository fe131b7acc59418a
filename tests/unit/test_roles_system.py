"""What the roles of the system stand on, without a server: quoting, marks, files that come back, the strategy."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import crossplane
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
HOSTILE = ['a"b', "a'b", "a\\", "a\\\"; } server { listen 81; }", "$host", "${host}", "# x", "{{ 1 + 1 }}", "; }", " "]


def load(path: str, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


lock = load("plugins/module_utils/webops_lock.py", "ansible.module_utils.webops_lock")
place = load("plugins/module_utils/webops_place.py", "ansible.module_utils.webops_place")
record = load("plugins/module_utils/webops_record.py", "ansible.module_utils.webops_record")
postgresql = load("plugins/module_utils/webops_postgresql.py", "ansible.module_utils.webops_postgresql")
replaced = load("plugins/module_utils/webops_replaced.py", "ansible.module_utils.webops_replaced")
default = load("plugins/module_utils/webops_default.py", "ansible.module_utils.webops_default")
stage = load("plugins/module_utils/webops_stage.py", "ansible.module_utils.webops_stage")
unbroken = load("plugins/module_utils/webops_unbroken.py", "ansible.module_utils.webops_unbroken")
quoting = load("plugins/filter/nginx.py", "webops_filter_nginx")
nginx = load("plugins/modules/webops_nginx.py", "webops_module_nginx")


@pytest.mark.parametrize("text", HOSTILE)
def test_a_value_for_nginx_stays_one_argument(text: str, tmp_path: Path) -> None:
    file = tmp_path / "nginx.conf"
    file.write_text(f"http {{ server {{ add_header X-A {quoting.nginx_text(text)} always; }} }}")
    parsed = crossplane.parse(str(file), check_ctx=False, check_args=False)
    assert parsed["status"] == "ok", parsed["errors"]
    server = parsed["config"][0]["parsed"][0]["block"]
    assert [one["directive"] for one in server] == ["server"]
    assert [one["directive"] for one in server[0]["block"]] == ["add_header"]
    assert len(server[0]["block"][0]["args"]) == 3


@pytest.mark.parametrize("text", ["a\nb", "a\rb", "a\0b", "a\x7fb"])
def test_what_nginx_cannot_carry_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="control character"):
        quoting.nginx_text(text)


def test_a_path_of_a_url_is_no_pattern() -> None:
    pattern = quoting.nginx_pattern("/a.b/")
    assert pattern == '"^/a[.]b/(.*)$"' and not re.match(pattern.strip('"'), "/axb/c")
    for text in ('/a"b', "/a$", "/a b", "/a]", "/a\\"):
        with pytest.raises(ValueError):
            quoting.nginx_pattern(text)


def test_older_nginx_and_kernels_without_ipv6_are_spoken_to_in_their_words() -> None:
    text = "    listen 443 ssl;\n    listen [::]:443 ssl;\n    http2 on;\n"
    assert nginx.for_this_nginx(text, (1, 26, 0), True) == text
    assert nginx.for_this_nginx(text, (1, 18, 0), True) == "    listen 443 ssl http2;\n    listen [::]:443 ssl http2;\n"
    assert nginx.for_this_nginx(text, (1, 26, 0), False) == "    listen 443 ssl;\n    http2 on;\n"


@pytest.mark.parametrize(("text", "sockets"), [
    ("server { listen 80 default_server; listen [::]:80 default_server; server_name _; }", {"80", "[::]:80"}),
    ("server { listen 0.0.0.0:443 ssl default_server; listen 8080; server_name a.example.org; }", {"443"}),
    ("server { listen *:80 default; server_name a.example.org; } # listen 81 default_server;", {"80"}),
    ("server { root /var/www; }", {"80"}), ('server { listen [::]; server_name ""; }', {"[::]:80"}),
    ("server { listen 192.0.2.1; server_name _; }", {"192.0.2.1:80"}),
    ("server { listen 80; server_name a.example.org; }", set()),
])
def test_who_answers_for_all_names_is_found_by_socket(text: str, sockets: set[str]) -> None:
    assert default.claimed(text) == sockets


def test_our_default_server_stands_back_where_somebody_else_has_one_and_comes_again() -> None:
    text = (ROOT / "roles/server/templates/default.conf.j2").read_text()
    ours = nginx.for_this_nginx(text, (1, 22, 1), True)
    whole = default.answering(ours, set())
    assert default.claimed(whole) == {"80", "[::]:80", "443", "[::]:443"} and default.answering(whole, set()) == whole
    back = default.answering(whole, {"80", "[::]:443"})
    listens = re.findall("listen (.*);", back)
    assert listens == ["80", "[::]:80 default_server", "443 default_server ssl http2", "[::]:443 ssl http2"]
    assert default.answering(back, set()) == whole


def test_what_a_package_wrote_is_told_from_what_somebody_made_of_it(tmp_path: Path,
                                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    file, link = tmp_path / "default", tmp_path / "enabled"
    file.write_text("server { listen 80 default_server; }\n")
    link.symlink_to(file)
    program = tmp_path / "dpkg-query"
    digest = hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest()
    program.write_text(f"#!/bin/sh\necho ' /etc/default/nginx 0 obsolete'; echo ' {file} {digest}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert not default.is_changed(str(link), "nginx-common")
    file.write_text("server { listen 80 default_server; root /srv/mine; }\n")
    assert default.is_changed(str(link), "nginx-common") and default.is_changed(str(file), "nginx-common")
    file.unlink()
    assert not default.is_changed(str(link), "nginx-common"), "it leads nowhere, so nothing is served there"


def test_what_was_switched_off_comes_back_where_nginx_takes_it(tmp_path: Path) -> None:
    site, target = tmp_path / "default", tmp_path / "debians"
    target.write_text("server { listen 80 default_server; server_name _; }")

    def changed(changes: list[Any]) -> list[str]:
        for entry, _seen in changes:
            place.put(entry)
        return sorted(one.name for one in tmp_path.iterdir() if one != target)

    assert default.off(str(site)) == [] == default.on(str(site), [])
    site.symlink_to("debians")
    assert changed(default.off(str(site))) == [".webops-replaced._.default"]
    others = ["server { listen 443 default_server; }", "server { listen 80; }"]
    assert changed(default.on(str(site), others)) == ["default"]
    assert os.readlink(site) == "debians"
    changed(default.off(str(site)))
    assert changed(default.on(str(site), ["server { listen *:80 default_server; server_name a.example.org; }"])) == []
    site.symlink_to("debians")
    changed(default.off(str(site)))
    target.unlink()
    assert changed(default.on(str(site), [])) == [], "it would lead nowhere"


@pytest.mark.parametrize(("text", "stays"), [
    ("http {\n  # server_names_hash_bucket_size 64;\n}", True),
    ("http {\n  server_names_hash_bucket_size 64;\n}", False),
    ("http { server_names_hash_bucket_size 64; }", False), ("http { include extra/*.conf; }", False),
])
def test_what_nginx_takes_once_is_left_to_who_said_it(tmp_path: Path, text: str, stays: bool) -> None:
    """Also in a file that the main one includes; those of the folders are read as the sites that they are."""
    for name in ("extra/size.conf", "conf.d/webops.conf"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("server_names_hash_bucket_size 128;")
    (tmp_path / "nginx.conf").write_text(f"include conf.d/*.conf; {text}")
    texts = default.main_texts(str(tmp_path), [str(tmp_path / "conf.d")])
    ours = (ROOT / "roles/server/templates/nginx.conf.j2").read_text()
    [left] = default.leaving_out([place.Entry({"path": default.SETTINGS, "content": ours})], texts)
    assert ("server_names_hash_bucket_size 512;" in left.content.decode()) == stays
    assert b"geo $webops_dollar" in left.content


def test_names_that_are_served_are_found() -> None:
    text = '# server_name no.example.org;\nserver { server_name a.example.org "b.example.org"\n c.example.org; }'
    assert nginx.served(text) == {"a.example.org", "b.example.org", "c.example.org"}


def test_a_reload_is_over_when_no_old_worker_accepts(monkeypatch: pytest.MonkeyPatch) -> None:
    """An old worker goes on accepting for a while after the new ones are there; its title says when that is over."""
    monkeypatch.setattr(nginx, "ask", lambda *_words: None)
    titles = ("nginx: worker process", "nginx: worker process is shutting down", "nginx: cache manager process")
    processes = [subprocess.Popen([title, "60"], executable="/bin/sleep") for title in titles]
    pids = {str(process.pid) for process in processes}
    try:
        monkeypatch.setattr(nginx, "workers", iter([pids, {"1"}, {"1"}, {"1"}]).__next__)
        accepting = iter([True, False])
        old, accepts = str(processes[0].pid), nginx.accepts
        monkeypatch.setattr(nginx, "accepts", lambda pid: next(accepting) if pid == old else accepts(pid))
        nginx.reload()
        assert next(accepting, None) is None, "it did not wait for the old worker"
        assert [accepts(str(process.pid)) for process in processes] == [True, False, False]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert not accepts(old)


def test_a_password_becomes_what_postgresql_stores() -> None:
    # RFC 7677's own example: user `user`, password `pencil`.
    import base64

    made = postgresql.verifier("pencil", base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="))
    assert made == ("SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY="
                    ":wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=")
    assert postgresql.matches(made, "pencil") and not postgresql.matches(made, "Pencil")
    assert not postgresql.matches(None, "") and not postgresql.matches("md5abc", "x")


@pytest.mark.parametrize("text", ["a'b", "'; DROP--", "\\", "é", '"'])
def test_sql_holds_a_value_together(text: str) -> None:
    assert postgresql.literal(text)[1:-1].replace("''", "'") == text
    assert postgresql.identifier(text)[1:-1].replace('""', '"') == text
    with pytest.raises(ValueError):
        postgresql.literal("\0")


def entry(path: Path, **other: Any) -> Any:
    return place.Entry({"path": str(path), **other})


def test_a_file_is_replaced_whole_and_brought_back(tmp_path: Path) -> None:
    file = tmp_path / "one"
    file.write_text("# webops\nold\n")
    file.chmod(0o600)
    seen, wish = place.Seen(str(file)), entry(file, content="# webops\nnew\n", mode="0640")
    assert seen.differs(wish) and seen.is_ours()
    place.put(wish)
    assert file.read_text().endswith("new\n") and file.stat().st_mode & 0o777 == 0o640
    place.bring_back(seen)
    assert file.read_text().endswith("old\n") and file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_a_link_that_was_planted_leads_nobody_astray(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / "planted").symlink_to(victim)
    place.put(entry(tmp_path / "planted", content="# webops\n"))
    assert victim.read_text() == "mine" and not (tmp_path / "planted").is_symlink()
    (tmp_path / "directory").symlink_to(tmp_path)
    with pytest.raises(OSError):
        place.put(entry(tmp_path / "directory", state="directory", mode="0777"))


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone is led astray by others' directories")
def test_root_stays_out_of_directories_of_others(tmp_path: Path) -> None:
    os.chown(tmp_path, 65534, 65534)
    with pytest.raises(place.Refused, match="can be changed by others"):
        place.refuse_unsafe_parent(str(tmp_path / "deep" / "file"))


def test_a_validator_is_asked_before_anything_is_replaced(tmp_path: Path) -> None:
    wish = entry(tmp_path / "file", content="# webops\n", validate=["sh", "-c", "cat \"$1\"; exit 1", "sh", "%s"])
    with pytest.raises(place.Refused) as refused:
        place.validate([wish])
    assert refused.value.journal == ["# webops"] and not (tmp_path / "file").exists()


def test_uv_on_servers_is_the_pinned_one() -> None:
    pinned = re.search(r"^uv==.*?(?=^    #|^\S)", (ROOT / "requirements.txt").read_text() + "x", re.M | re.S)
    assert pinned
    wanted = pinned[0].strip().removesuffix("\\").strip()
    assert (ROOT / "roles/server/files/uv.txt").read_text().strip() == wanted, \
        "roles/server/files/uv.txt must be the lines of uv in requirements.txt: copy them after `make lock`"


def test_the_inventory_and_its_example_are_read() -> None:
    text = (ROOT / "inventory/hosts.yml").read_text()
    assert yaml.safe_load(text)["all"]["children"] in ({}, None) or yaml.safe_load(text)["all"]["children"]
    lines = [line[4:] for line in text.splitlines() if line.startswith("#   ") and "ansible-playbook" not in line]
    if lines:
        assert "shop-db@web1" in yaml.safe_load("\n".join(lines))["all"]["children"]["postgres_db"]["hosts"]


@pytest.mark.parametrize("plain, word", [("", "StrategyMixin"), ("1", "linear only")])
def test_the_strategy_is_mitogens_where_it_is_there(plain: str, word: str) -> None:
    code = ("import sys; sys.path.insert(0, 'plugins/strategy'); import webops_linear as w;"
            "print([c.__name__ for c in w.StrategyModule.__mro__] if w.fast() else 'linear only')")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True,
                          env={**os.environ, "WEBOPS_PLAIN": plain})
    assert word in done.stdout


def test_the_strategy_is_ansibles_own_where_mitogen_is_missing() -> None:
    code = ("import sys; sys.modules['ansible_mitogen'] = None; sys.path.insert(0, 'plugins/strategy');"
            "import webops_linear as w; print(w.fast(), w.StrategyModule.__mro__[1].__module__)")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split()[0] == "()" and "linear" in done.stdout
