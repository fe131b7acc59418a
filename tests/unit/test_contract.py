"""webops.yml, webops.json and Procfile: they are read as data, and what is wrong is told with path and reason."""

import json
import re

import pytest

from tests.contracts import PROJECT, contract, read, reasons, said

EVERYTHING = """
name: shop
kind: django_app
python: 3.10
packages: [libmagic1, gettext]
requirements: requirements.txt
django: {settings: config.settings.production}
build:
  - npm ci
  - [npm, run, build]
release:
  - python manage.py warm_cache
processes:
  worker: {command: celery -A shop worker, count: 2, memory: 512M}
  beat:
    command: [celery, -A, shop, beat]
cron:
  - {name: nightly, schedule: "*-*-* 03:15", command: python manage.py clearsessions}
health: {path: /healthz, status: [200], timeout: 5, tries: 30}
environment: {required: [STRIPE_KEY], optional: [SENTRY_DSN]}
needs: {database: true, cache: yes}
limits: {memory: 2G, cpu: 150, tasks: 300}
"""


def test_everything_that_can_be_said_is_read_by_its_type() -> None:
    found = said(EVERYTHING)
    assert reasons(found) == []
    assert found.source == "webops.yml"
    values = found.values
    assert values["python"] == "3.10", "a version is text: 3.10 is not 3.1"
    assert values["build"] == [["/bin/sh", "-c", "npm ci"], ["npm", "run", "build"]]
    worker = {"command": ["/bin/sh", "-c", "celery -A shop worker"], "count": 2, "memory": "512M"}
    assert values["processes"]["worker"] == worker
    assert values["processes"]["beat"] == {"command": ["celery", "-A", "shop", "beat"]}
    assert values["cron"][0]["schedule"] == "*-*-* 03:15"
    assert values["health"] == {"path": "/healthz", "status": [200], "timeout": 5, "tries": 30}
    assert values["needs"] == {"database": True, "cache": True}
    assert values["limits"] == {"memory": "2G", "cpu": 150, "tasks": 300}


def test_json_says_the_same() -> None:
    yaml = said(EVERYTHING)
    wanted = {**yaml.values, "python": "3.10"}
    found = said(json.dumps(wanted), "webops.json")
    assert reasons(found) == []
    assert (found.source, found.values) == ("webops.json", wanted)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "processes:\n  worker:\n    comand: x\n",
            "webops.yml, line 3: processes.worker.comand: There is no 'comand' here. Did you mean 'command'?",
        ),
        ("proceses: {}", "webops.yml, line 1: proceses: There is no 'proceses' here. Did you mean 'processes'?"),
        ("env: {required: [A]}", "webops.yml, line 1: env: There is no 'env' here. Did you mean 'environment'?"),
        ("colour: red", "webops.yml, line 1: colour: There is no 'colour' here. Possible: name, kind,"),
        (
            "processes: [worker]",
            "processes: Write keys with values here, such as {worker: {command: celery -A shop worker}}.",
        ),
        ("processes: {worker: celery}", "processes.worker: Write keys with values here"),
        (
            "processes: {worker: {count: 2}}",
            "processes.worker: 'command' is missing, such as command: celery -A shop worker.",
        ),
        (
            "processes: {worker: {command: x, count: many}}",
            "processes.worker.count: Write a whole number from 0 to 50, such as 2.",
        ),
        ("processes: {worker: {command: x, count: -1}}", "processes.worker.count: Write a whole number"),
        ("processes: {worker: {command: x, count: 1.5}}", "processes.worker.count: Write a whole number"),
        ("processes: {web: {command: gunicorn}}", "processes.web: WebOps starts the web process itself"),
        ("processes: {task: {command: x}}", "processes.task: 'task' is taken by WebOps."),
        ("processes: {My_Worker: {command: x}}", "processes.My_Worker: Use up to 30 characters"),
        ("processes: {'a; rm': {command: x}}", "processes.a; rm: Use up to 30 characters"),
        ("build:\n- |\n  one\n  two\n", "build[1]: A command is one line. Write several as a list"),
        ("build: [[]]", "build[1]: Write a command: one line, or a list of words"),
        (
            "cron: [{name: a, schedule: '*/5 * * * *', command: x}]",
            "cron[1].schedule: This is cron's form. Write systemd's:",
        ),
        ("cron: [{name: a, schedule: 'daily; rm', command: x}]", "cron[1].schedule: Write when it runs:"),
        (
            "cron: [{name: a, schedule: daily, command: x}, {name: a, schedule: daily, command: y}]",
            "cron: The name 'a' is there twice.",
        ),
        ("packages: ['-o Dpkg::x=y']", "packages[1]: Write the name of a Debian package, such as libpq-dev."),
        ("packages: {a: b}", "packages: Write a list here, such as [libmagic1]."),
        ("health: {path: 'http://x'}", "health.path: Write a path as in a URL"),
        ("health: {status: [600]}", "health.status[1]: Write a whole number from 100 to 599"),
        ("environment: {required: [PATH]}", "environment.required[1]: 'PATH' changes how programs are started"),
        ("needs: {database: maybe}", "needs.database: Write true or false."),
        ("limits: {memory: lots}", "limits.memory: Write a size in bytes"),
        ("name: a\x1b", "webops.yml: This is not YAML: "),
        ("python: 2.7", "python: Write a version, such as 3.12."),
        ("requirements: ../../etc/passwd", "requirements: Write a path inside the project"),
        ("kind: docker", "kind: 'docker' is not possible. Write django_app or static_site."),
        ("kind: static_site", "kind: It says static_site, and django_app was chosen in WebOps."),
        ("publish: public\nkind: django_app", "publish: This is for static_site, and 'kind' says django_app."),
        ("- a\n- b\n", "webops.yml, line 1: The file must begin with keys"),
        ("name: a\nname: b", "webops.yml, line 2: 'name' stands here twice. Leave one."),
        ("a: &x b\nc: *x", "webops.yml, line 1: Anchors and aliases (& and *) are not read."),
        (
            "packages: !!python/object/apply:os [touch CANARY]",
            "Tags such as tag:yaml.org,2002:python/object/apply:os are not read",
        ),
        ("name: !unsafe x", "webops.yml, line 1: Tags such as !unsafe are not read."),
        ("name: a\n---\nname: b", "The file holds a second document"),
        ("name: [", "webops.yml, line 2: This is not YAML"),
        ("? [a]\n: b", "webops.yml, line 1: A key must be a word."),
        ("name: " + "[" * 30, "This is nested deeper than 8 levels."),
        ("packages: [" + "a," * 5000 + "]", "The file holds more than 4000 values."),
        ("x: " + "a" * 70_000, "The file is larger than 64 KB."),
        ("name: \ufffd", "The file is not UTF-8 text."),
    ],
    ids=lambda value: value[:40],
)
def test_what_is_wrong_is_told_with_path_and_reason(text: str, problem: str) -> None:
    told = reasons(said(text, kind="django_app"))
    assert any(problem in one for one in told), told


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "webops.json, line 1: This is not JSON"),
        ('{"name": "a", "name": "b"}', "webops.json: 'name' stands there twice."),
        ('{"limits": {"cpu": NaN}}', "NaN is no value in JSON."),
        ("[" * 60_000, "webops.json: This is nested deeper than 8 levels."),
        ('{"a":' * 20 + "1" + "}" * 20, "webops.json: This is nested deeper than 8 levels."),
        ("[]", "webops.json: The file must begin with keys"),
        ('{"processes": {"worker": {"command": true, "count": "x"}}}', "processes.worker.count"),
    ],
    ids=lambda value: value[:30],
)
def test_what_is_wrong_in_json_too(text: str, problem: str) -> None:
    told = reasons(said(text, "webops.json"))
    assert any(problem in one for one in told), told


def test_null_and_nothing_are_not_said() -> None:
    found = said("name:\npython: null\nprocesses: ~\nhealth:\n  path:\n")
    assert reasons(found) == []
    assert found.values == {"health": {}}
    assert said("").values == {}
    assert said("# only a remark\n").values == {}


def test_values_are_data() -> None:
    hostile = "{{ lookup('pipe','touch /tmp/CANARY') }} $(id) `id` ; x"
    found = said(json.dumps({"build": [hostile, ["echo", hostile]]}), "webops.json")
    assert found.values["build"] == [["/bin/sh", "-c", hostile], ["echo", hostile]]


def test_two_contracts_are_one_too_many() -> None:
    found = read({**PROJECT, "webops.yml": "", "webops.json": "{}"})
    assert reasons(found) == ["The code: webops.yml and webops.json are there. Leave one of them."]


def test_a_contract_that_is_a_link_is_not_followed() -> None:
    found = read(PROJECT, "webops.yml")
    assert reasons(found) == ["webops.yml: It is no plain file. Write the file itself instead of a link."]


def test_many_problems_are_told_at_once_and_not_without_end() -> None:
    told = reasons(said("\n".join(f"wrong{place}: x" for place in range(200))))
    assert len(told) == 20


PROCFILE = """# what runs
web: gunicorn shop.wsgi --log-file -
worker: celery -A shop worker --concurrency=2
celery_beat: celery -A shop beat
release: python manage.py check --deploy
"""


def test_a_procfile_gives_processes_and_a_release_command() -> None:
    found = said(PROCFILE, "Procfile")
    assert reasons(found) == []
    assert found.source == "Procfile"
    assert found.values == {
        "processes": {
            "worker": {"command": ["/bin/sh", "-c", "celery -A shop worker --concurrency=2"]},
            "celery-beat": {"command": ["/bin/sh", "-c", "celery -A shop beat"]},
        },
        "release": [["/bin/sh", "-c", "python manage.py check --deploy"]],
    }
    text = " ".join(found.found)
    assert (
        "WebOps starts the web process itself" in text and "celery_beat of the Procfile is called celery-beat" in text
    )


def test_webops_yml_wins_over_the_procfile_key_by_key() -> None:
    found = read({**PROJECT, "Procfile": PROCFILE, "webops.yml": "processes: {mailer: {command: mailer}}"})
    assert found.source == "webops.yml"
    assert list(found.values["processes"]) == ["mailer"]
    assert found.values["release"] == [["/bin/sh", "-c", "python manage.py check --deploy"]]
    assert "webops.yml says processes itself, so those of the Procfile are left alone." in found.found


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("worker celery", "Procfile, line 1: Write a name, a colon and a command"),
        ("a: x\na: y", "Procfile, line 2: 'a' is there twice."),
        ("A_b: x\na-b: y", "Procfile, line 2: 'a-b' is there twice."),
        ("task: x", "Procfile, line 1: 'task': 'task' is taken by WebOps."),
        ("worker: x\u202e", "Procfile, line 1: Remove the invisible characters"),
        ("\n".join(f"p{place}: x" for place in range(30)), "Procfile, line 21: At most 20 processes are possible."),
        ("a: " + "x" * 3000, "Procfile, line 1: A command has at most 2000 characters."),
    ],
    ids=lambda value: value[:30],
)
def test_a_procfile_that_is_wrong_is_told_by_its_line(text: str, problem: str) -> None:
    assert any(problem in one for one in reasons(said(text, "Procfile")))


def schemas(schema: dict, path: str = "") -> list:
    inner = {**schema.get("properties", {}), "<name>": schema.get("additionalProperties"), "[]": schema.get("items")}
    return [(path, schema)] + [one for key, part in inner.items() if part for one in schemas(part, f"{path}.{key}")]


def test_the_schema_is_whole() -> None:
    formats = contract.check.formats.FORMATS
    for path, schema in schemas(contract.SCHEMA):
        assert schema.get("format", "command") in {*formats, "command"}, path
        names = set(schema.get("properties", {}))
        others = [word for part in schema.get("properties", {}).values() for word in part.get("also", [])]
        assert not names & set(others), path
        assert len(others) == len(set(others)), path
        leaf = schema.get("type") not in ("object",) and "[]" not in path.rsplit(".", 1)[-1]
        if path and leaf:
            assert schema["description"].endswith(".") and schema.get("examples"), path


def test_each_example_of_the_schema_is_accepted() -> None:
    def text(path: str, value: object) -> str:
        keys = [key for key in path.split(".") if key]
        for key in reversed(keys):
            value = {key: value}
        return json.dumps(value)

    for path, schema in schemas(contract.SCHEMA):
        if schema.get("examples") and "<name>" not in path and "[]" not in path:
            kind = (schema.get("kinds") or ["django_app"])[0]
            found = said(text(path, schema["examples"][0]), "webops.json", kind=kind)
            assert not [one for one in found.problems if one.file == "webops.json"], (path, reasons(found))


def test_words_for_other_tools_find_their_key() -> None:
    assert re.search("Did you mean 'cron'", reasons(said("crontab: []"))[0])
    assert re.search("Did you mean 'health'", reasons(said("healthcheck: {}"))[0])
