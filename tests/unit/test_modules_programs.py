"""What runs as an app's own user: fetching a commit, building a release. Real git repositories, real environments."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contracts import contract


def git(where, *arguments):
    identity = ["-c", "user.name=Ada", "-c", "user.email=a@example.org"]
    done = subprocess.run(["git", "-C", str(where), *identity, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def origin(tmp_path):
    """A repository with a commit on main and one on dev, and a tag."""
    where = tmp_path / "origin"
    where.mkdir()
    git(where, "init", "-q", "-b", "main")
    commit(where, {"a.txt": "1", "app/migrations/0001_initial.py": "", "app/migrations/__init__.py": ""}, "First")
    git(where, "tag", "-a", "v1", "-m", "one")
    git(where, "branch", "dev")
    return where


def commit(where, files, subject):
    for name, text in files.items():
        (where / name).parent.mkdir(parents=True, exist_ok=True)
        (where / name).write_text(text)
    git(where, "add", "-A")
    git(where, "commit", "-q", "-m", subject)
    return git(where, "rev-parse", "HEAD")


def wanted(origin, tmp_path, ref="main", **more):
    return {"repo": str(origin), "ref": ref, "mirror": str(tmp_path / "repo.git"), "protocols": "file", **more}


@pytest.mark.parametrize("ref", ["main", "dev", "v1"])
def test_a_branch_or_a_tag_becomes_its_commit(program, origin, tmp_path, ref):
    found = program("fetch").fetch(wanted(origin, tmp_path, ref))
    assert found["commit"] == git(origin, "rev-parse", "main")
    assert (found["subject"], found["author"]) == ("First", "Ada")
    assert found["migrations"] == ["app/migrations/0001_initial.py"]


def test_a_new_commit_is_found_and_an_old_one_can_be_named(program, origin, tmp_path):
    fetch = program("fetch").fetch
    first = fetch(wanted(origin, tmp_path))["commit"]
    second = commit(origin, {"a.txt": "2"}, "Second")
    assert fetch(wanted(origin, tmp_path))["commit"] == second
    assert fetch(wanted(origin, tmp_path, first))["commit"] == first
    assert fetch(wanted(origin, tmp_path, second[:9]))["commit"] == second


def test_the_commits_since_the_live_one_are_told_also_without_touching_the_mirror(program, origin, tmp_path):
    fetch = program("fetch").fetch
    first = fetch(wanted(origin, tmp_path))["commit"]
    names = [commit(origin, {"a.txt": f"{n}"}, f"Number {n}") for n in range(60)]
    for more in ({"look": True}, {}):
        found = fetch(wanted(origin, tmp_path, since=first, **more))
        assert [one["id"] for one in found["commits"]] == names[:9:-1] and found["commits_more"] == 10
        assert found["commits"][0]["subject"] == "Number 59" and found["commits"][0]["short"] == names[-1][:7]
        if more:
            assert git(tmp_path / "repo.git", "rev-parse", "refs/webops/wanted") == first


@pytest.mark.parametrize("ref", ["main", "dev", "v1", "refs/heads/main"])
def test_what_a_name_stands_for_is_told_without_fetching(program, origin, tmp_path, ref):
    git(origin, "branch", "feature/main")
    found = program("fetch").fetch(wanted(origin, tmp_path, ref, look="resolve"))
    assert found == {"commit": git(origin, "rev-parse", f"{ref}^{{commit}}")}
    assert not (tmp_path / "repo.git").exists()


def test_a_rewritten_branch_is_followed(program, origin, tmp_path):
    fetch = program("fetch").fetch
    fetch(wanted(origin, tmp_path))
    git(origin, "commit", "-q", "--amend", "-m", "Rewritten")
    assert fetch(wanted(origin, tmp_path))["subject"] == "Rewritten"


def test_a_missing_branch_names_those_that_are_there(program, origin, tmp_path):
    with pytest.raises(program("report").Stop) as stop:
        program("fetch").fetch(wanted(origin, tmp_path, "nope"))
    assert str(stop.value) == f"Branch 'nope' does not exist in {origin}. Branches: dev, main."


@pytest.mark.parametrize("repo", ["file:///etc", "ext::sh -c touch% CANARY", "--upload-pack=touch CANARY", "/etc", "git://127.0.0.1/x"])
def test_other_ways_to_a_repository_are_refused(program, tmp_path, monkeypatch, repo):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(program("report").Stop, match="could not be read"):
        program("fetch").fetch({"repo": repo, "ref": "main", "mirror": str(tmp_path / "repo.git")})
    assert not list(tmp_path.glob("**/CANARY"))


def test_looking_leaves_nothing_behind(program, origin, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "passing"))
    (tmp_path / "passing").mkdir()
    found = program("fetch").fetch(wanted(origin, tmp_path, look=True))
    assert found["subject"] == "First"
    assert not (tmp_path / "repo.git").exists()
    assert not list((tmp_path / "passing").iterdir())


TOLD = {"read": contract.READ, "named": contract.NAMED, "skipped": contract.SKIPPED}


def test_a_fetch_tells_the_files_that_matter_and_no_others(program, origin, tmp_path):
    (origin / "Procfile").symlink_to("/etc/passwd")
    commit(origin, {"web/manage.py": "import django", "webops.yml": "python: 3.12\n", "a/b/c/d/e/f/g/manage.py": "",
                    "requirements.txt": "é" * 40_000, "node_modules/x/package.json": "{}",
                    "web/shop/settings/base.py": "secret", "odd\nname/manage.py": "x",
                    "web/shop/models.py": "", "poetry.lock": "long"}, "More")
    found = program("fetch").fetch(wanted(origin, tmp_path, told=TOLD))
    assert found["files"]["webops.yml"] == "python: 3.12\n"
    assert found["files"]["odd\nname/manage.py"] == "x"
    assert sorted(found["files"]) == ["odd\nname/manage.py", "requirements.txt", "web/manage.py", "webops.yml"]
    assert len(found["files"]["requirements.txt"].encode()) > contract.document.LIMIT, "too large, and seen to be so"
    assert set(found["listing"]) - set(found["files"]) == {
        "Procfile", "a.txt", "poetry.lock", "web/shop/settings/base.py"}
    assert found["migrations"] == ["app/migrations/0001_initial.py"]


def test_of_too_many_files_the_deepest_are_left_out_and_it_is_said_how_many(program, module, origin, tmp_path,
                                                                             monkeypatch):
    monkeypatch.setattr(program("fetch").listing, "MOST_PATHS", 6)
    commit(origin, {**{f"assets/icons/{n}.svg": str(n) for n in range(10)}, "webops.yml": "python: 3.12\n",
                    "web/manage.py": "import django"}, "Many")
    found = program("fetch").fetch(wanted(origin, tmp_path, told=TOLD))
    assert sorted(found["files"]) == ["web/manage.py", "webops.yml"]
    assert found["left_out"] == 9
    assert module("webops_commit").summary(found).endswith("Many · 9 files too many were not looked at, the deepest")


def test_looking_tells_the_same_and_fetches_the_contents_at_once(program, origin, tmp_path):
    git(origin, "config", "uploadpack.allowFilter", "true")
    git(origin, "config", "uploadpack.allowAnySHA1InWant", "true")
    commit(origin, {"manage.py": "import django", "config/wsgi.py": "w"}, "More")
    asked = {**wanted(origin, tmp_path, told=TOLD), "repo": f"file://{origin}"}
    fetched = program("fetch").fetch(asked)
    told = {key: fetched[key] for key in ("listing", "files")}
    assert told["files"] == {"manage.py": "import django", "config/wsgi.py": "w"}
    looked = program("fetch").fetch({**asked, "look": True, "mirror": str(tmp_path / "none")})
    assert {key: looked[key] for key in told} == told
    again = program("fetch").fetch({**asked, "look": "told", "commit": looked["commit"]})
    assert again == {"commit": looked["commit"], **told}


def test_what_is_told_goes_beside_the_mirror_where_a_link_is_not_followed(program, origin, tmp_path):
    aside = tmp_path / "told.json"
    aside.symlink_to(tmp_path / "elsewhere")
    found = program("fetch").fetch(wanted(origin, tmp_path, told=TOLD, aside=str(aside)))
    assert "files" not in found and not (tmp_path / "elsewhere").exists()
    assert json.loads(aside.read_text()) == {"commit": found["commit"], "listing": ["a.txt"], "files": {}}


def checked_out(program, origin, tmp_path):
    found = program("fetch").fetch(wanted(origin, tmp_path))
    return program("tree").check_out(str(tmp_path / "repo.git"), found["commit"], str(tmp_path / "release"))


def test_the_files_of_the_commit_are_written_and_leftovers_go(program, origin, tmp_path):
    (tmp_path / "release").mkdir()
    (tmp_path / "release" / "left").write_text("half a build")
    tree = checked_out(program, origin, tmp_path)
    assert Path(tree, "a.txt").read_text() == "1"
    assert sorted(os.listdir(tmp_path / "release")) == ["app"]


def test_a_published_link_out_of_the_project_is_refused(program, origin, tmp_path):
    (origin / "public").symlink_to("/etc")
    commit(origin, {}, "Trick")
    tree = checked_out(program, origin, tmp_path)
    with pytest.raises(program("report").Stop, match="'public' in the repository points outside"):
        program("site_build").published(tree, "public")


def test_a_link_among_published_files_may_not_lead_out(program, origin, tmp_path):
    (origin / "public").mkdir()
    (origin / "public" / "passwd").symlink_to("/etc/passwd")
    commit(origin, {"public/index.html": "hello"}, "Trick")
    tree = checked_out(program, origin, tmp_path)
    with pytest.raises(program("report").Stop, match="'public/passwd' in the repository points outside"):
        program("tree").publish(os.path.join(tree, "public"), str(tmp_path / "out"), tree, "public")


def test_a_project_that_is_not_where_it_should_be_is_told(program, tmp_path):
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "manage.py").write_text("")
    assert program("django_build").find_project(str(tmp_path), "web") == str(tmp_path / "web")
    with pytest.raises(program("report").Stop, match=r"There is no manage\.py in '\.' of the repository\."):
        program("django_build").find_project(str(tmp_path), "")


def test_build_commands_find_the_programs_of_the_project(program, tmp_path, capfd):
    tree = tmp_path / "app"
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    (tree / "node_modules" / ".bin").mkdir(parents=True)
    for place, name in ((tmp_path / "venv" / "bin", "tool"), (tree / "node_modules" / ".bin", "vite")):
        (place / name).write_text(f"#!/bin/sh\necho {name} in $PWD with $DJANGO_SETTINGS_MODULE\n")
        (place / name).chmod(0o755)
    (tree / "web").mkdir()
    wanted = {"build": [["tool"], ["/bin/sh", "-c", "vite && echo $((1 + 1))"]], "commands_in": "web", "cache": "/c"}
    program("django_build").run_commands(wanted, str(tmp_path), str(tree), "config.settings")
    said = capfd.readouterr().out
    assert f"tool in {tree}/web with config.settings" in said and "vite in" in said and "\n2\n" in said


@pytest.mark.parametrize(("command", "sentence", "then"), [
    (["npm", "ci"], "The build command 'npm' is not on this server.", "Add nodejs and npm to"),
    (["/bin/sh", "-c", "yarn build"], "A program of the build command 'yarn build' is not on this server.", "nodejs"),
    (["/bin/sh", "-c", "exit 3"], "The build command ended with 3: exit 3", "still served"),
])
def test_a_build_command_that_fails_is_told(program, tmp_path, monkeypatch, command, sentence, then):
    monkeypatch.setenv("PATH", "/nowhere")
    commands = program("commands")
    with pytest.raises(program("report").Stop) as stop:
        commands.run(command, str(tmp_path), commands.surroundings(str(tmp_path), str(tmp_path)), str(tmp_path))
    assert str(stop.value) == sentence and then in stop.value.next


@pytest.mark.parametrize(("application", "expected"), [
    ("config.wsgi.application", "config.wsgi:application"), (None, "shop.wsgi:application"),
])
def test_the_wsgi_application_is_found(program, application, expected):
    found = program("django_build").wsgi_of
    assert found(application, "", "shop.settings") == expected
    assert application or found(application, "a.wsgi:application", "shop.settings") == "a.wsgi:application"


def test_a_kept_directory_is_the_same_for_all_releases_and_begins_as_in_the_repository(program, tmp_path, capsys):
    build, target = program("django_build"), tmp_path / "shared" / "data" / "var"
    for release in ("one", "two"):
        (tmp_path / release / "var").mkdir(parents=True)
        (tmp_path / release / "var" / "seed.txt").write_text(f"from {release}")
        build.keep(str(tmp_path / release), "var", str(target))
        (tmp_path / release / "var" / f"{release}.txt").write_text("written by the app")
    assert sorted(path.name for path in target.iterdir()) == ["one.txt", "seed.txt", "two.txt"]
    assert (target / "seed.txt").read_text() == "from one", "what is there stays"
    build.keep(str(tmp_path / "one"), "new/place", str(tmp_path / "shared" / "data" / "new"))
    assert (tmp_path / "one" / "new" / "place").is_dir()
    (tmp_path / "one" / "file").write_text("")
    stop = program("report").Stop
    with pytest.raises(stop, match="'file' in the repository is no directory"):
        build.keep(str(tmp_path / "one"), "file", str(tmp_path / "other"))
    (tmp_path / "one" / "away").symlink_to("/etc")
    with pytest.raises(stop, match="points outside the project"):
        build.keep(str(tmp_path / "one"), "away", str(tmp_path / "other"))


def test_a_directory_of_the_settings_counts_where_it_lies_in_the_tree(program, tmp_path):
    named, tree = program("django_build").named_in, tmp_path / "app"
    (tree / "web").mkdir(parents=True)
    assert named(str(tree), str(tree / "web"), f"{tree}/static") == "static"
    assert named(str(tree), str(tree / "web"), "collected/") == "web/collected"
    for other in ("", f"{tmp_path}/shared/media", str(tree), "/srv/elsewhere"):
        assert named(str(tree), str(tree / "web"), other) == ""


def test_extras_and_further_packages_count_for_the_environment(program, tmp_path):
    def made(name, **more):
        release = tmp_path / name
        (release / "app").mkdir(parents=True)
        (release / "app" / "requirements.txt").write_text("sqlparse")
        return program("python_env").Environment(str(release), str(release / "app"), {
            "cache": "/c", "requirements": {"how": "pip", "file": "requirements.txt"}, **more})

    keys = {made("a").key(), made("b", extra=["psycopg"]).key(), made("c", extras=["postgres"]).key()}
    assert len(keys) == 3
    with pytest.raises(program("report").Stop, match=r"Extras are named \(postgres\)"):
        made("d", extras=["postgres"]).install()


def environment(program, tmp_path, name, requirements):
    release = tmp_path / name
    (release / "app").mkdir(parents=True)
    (release / "app" / "requirements.txt").write_text(requirements)
    return program("python_env").Environment(str(release), str(release / "app"), {
        "cache": str(tmp_path / "cache"), "requirements": {"how": "pip", "file": "requirements.txt"}})


def test_the_same_requirements_take_over_the_environment_with_its_own_paths(program, tmp_path, capsys):
    first = environment(program, tmp_path, "one", "# nothing\n")
    first.interpreter = lambda: sys.executable
    first.make(None)
    script = Path(first.directory, "bin", "tool")
    script.write_text(f"#!{first.python}\nprint('tool')\n")
    script.chmod(0o755)
    second = environment(program, tmp_path, "two", "# nothing\n")
    second.make(str(tmp_path / "one"))
    assert "taken over" in capsys.readouterr().out
    assert (tmp_path / "two" / "venv" / "bin" / "tool").read_text().startswith(f"#!{second.python}\n")
    assert script.read_text().startswith(f"#!{first.python}\n")
    asked = [second.python, "-c", "import sys; print(sys.prefix)"]
    prefix = subprocess.run(asked, capture_output=True, text=True, check=True)
    assert prefix.stdout.strip() == second.directory


@pytest.mark.parametrize("line", ["-e .", "./lib", "git+https://example.org/x", "x @ git+https://example.org/x"])
def test_requirements_that_can_move_are_installed_anew(program, tmp_path, line):
    assert environment(program, tmp_path, "one", line + "\n").key() == ""


def test_the_cause_of_a_failed_installation_is_found(program):
    output = ("Using Python 3.11\n  × No solution found when resolving dependencies:\n"
              "  ╰─▶ Because nope was not found in the registry\n")
    assert program("python_env").reason(output) == "Because nope was not found in the registry"


@pytest.mark.parametrize("said", [
    "Because the current Python version (3.11.2) does not satisfy Python>=3.12 and django==6.0 depends on Python>=3.12",
    "error: The requested interpreter resolved to Python 3.11.2, which is incompatible with the project's Python "
    "requirement: `>=3.13`",
    "ERROR: Package 'x' requires a different Python: 3.11.2 not in '>=3.12'",
])
def test_a_python_that_is_too_old_is_told_as_that(program, said):
    assert "'Python version'" in program("python_env").then(said)
    assert program("python_env").then("error: no such package").startswith("Correct the requirements")


def test_the_data_that_comes_back_is_of_the_time_when_the_release_was_left_last(program, tmp_path):
    """first → second (migrated) → back to first → third: what was kept before `second` is older than that."""
    snapshot = program("snapshot")
    wanted = {"directory": str(tmp_path), "since": [["2026-11-22T10:20:00Z", "first"]]}

    def keep(moment):
        one = snapshot.Snapshot(wanted, "first")
        Path(one.dump).write_text("")
        one.write_notes(at=snapshot.seconds(moment), counters={})

    keep("2026-11-22T10:10:00Z")
    with pytest.raises(program("report").Stop, match="no snapshot from the time of that release"):
        snapshot.chosen(wanted)
    keep("2026-11-22T10:30:00Z")
    assert snapshot.chosen(wanted) == "first"


class Written:
    """A database of one table, in which migrations and visitors write rows."""

    rows, applied = 0, 1

    def __init__(self, _variable=None):
        pass

    def run(self, *argv):
        Path(argv[-1].removeprefix("--file=")).write_text(f"{Written.rows} rows")

    def counters(self):
        return {"public.book": Written.rows, "public.django_migrations": Written.applied}

    settled_counters = counters


def test_the_snapshot_from_before_the_first_migration_stays(program, monkeypatch, tmp_path):
    snapshot = program("snapshot")
    monkeypatch.setattr(snapshot, "Database", Written)
    monkeypatch.setattr(snapshot, "refuse_full_disk", lambda *_more: None)
    began = snapshot.time.time() - 3600
    wanted = {"directory": str(tmp_path), "release": "r1", "variable": "X", "since": [["", "r1"]],
              "began": snapshot.time.strftime("%Y-%m-%dT%H:%M:%SZ", snapshot.time.gmtime(began))}
    dump = tmp_path / "r1.dump"

    def deploy(migrations, rows):
        told = snapshot.save(wanted)
        monkeypatch.setattr(Written, "applied", Written.applied + migrations)
        monkeypatch.setattr(Written, "rows", Written.rows + rows)
        snapshot.mark(wanted)
        return told

    def write(rows):
        monkeypatch.setattr(Written, "rows", Written.rows + rows)

    write(10)
    deploy(0, 0)
    write(2)
    assert "bytes" in deploy(1, 100), "nothing was migrated until then, so the newer one is worth more"
    assert dump.read_text() == "12 rows"
    write(3)
    assert "kept" in deploy(1, 1000)
    assert "kept" in deploy(0, 0)
    write(4)
    assert dump.read_text() == "12 rows"
    assert snapshot.count(wanted)["tables"] == {"public.book": 7}, "what visitors wrote, and no migration"
    wanted["began"] = snapshot.time.strftime("%Y-%m-%dT%H:%M:%SZ", snapshot.time.gmtime(began + 7200))
    assert "bytes" in deploy(1, 0), "it began to serve anew"
    assert dump.read_text() == "1119 rows"


def test_a_cache_that_grew_beyond_its_bound_is_emptied_and_what_releases_share_is_not_counted(program, tmp_path):
    bound, cache = program("caches").bound, tmp_path / "cache"
    (cache / "uv").mkdir(parents=True)
    (cache / "npm").mkdir()
    (cache / "uv" / "shared").write_bytes(b"x" * 50_000)
    os.link(cache / "uv" / "shared", tmp_path / "in-a-release")
    (cache / "npm" / "own").write_bytes(b"x" * 50_000)
    bound(str(cache), "uv", "npm", most=100_000)
    assert sorted(os.listdir(cache)) == ["npm", "uv"]
    bound(str(cache), "uv", "npm", most=40_000)
    assert os.listdir(cache) == ["uv"]


def test_pruning_keeps_the_commits_of_kept_releases_and_lets_go_of_the_others(program, module, origin, tmp_path):
    fetch = program("fetch").fetch
    mirror = {"mirror": str(tmp_path / "shared" / "repo.git")}
    (tmp_path / "shared").mkdir()
    (tmp_path / "releases" / "gone").mkdir(parents=True)
    (tmp_path / "releases" / "kept").mkdir()
    first = fetch({**wanted(origin, tmp_path), **mirror})["commit"]
    git(origin, "checkout", "-q", "--orphan", "anew")
    git(origin, "branch", "-D", "main")
    git(origin, "commit", "-q", "-m", "Written anew")
    git(origin, "branch", "-m", "main")
    second = fetch({**wanted(origin, tmp_path), **mirror})["commit"]

    def prune(*commits):
        told = json.dumps([["kept"], list(commits)])
        subprocess.run([sys.executable, "-I", "-", told], input=module("webops_prune").PROGRAM, text=True, check=True,
                       cwd=tmp_path)
        subprocess.run(["git", "--git-dir", mirror["mirror"], "gc", "-q", "--prune=now"], check=True)
        return [commit for commit in (first, second) if subprocess.run(
            ["git", "--git-dir", mirror["mirror"], "cat-file", "-e", commit], capture_output=True,
            check=False).returncode == 0]

    assert prune(first, second) == [first, second]
    assert os.listdir(tmp_path / "releases") == ["kept"]
    assert prune(second) == [second]
