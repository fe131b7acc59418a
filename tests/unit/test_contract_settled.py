"""What holds in the end: values given in WebOps over webops.yml over the Procfile over what was found."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from tests.contracts import PROJECT, contract, read, said

ACTION = Path(__file__).parents[2] / "plugins" / "action" / "webops_contract.py"
WORKER = "processes: {worker: {command: celery -A shop worker, count: 2}}\n"


def settled(text: str = "", given: dict[str, Any] | None = None, variables: tuple[str, ...] = (), **files: str) -> Any:
    found = read({**PROJECT, **({"webops.yml": text} if text else {}), **files}, kind="django_app", given=given or {})
    return contract.settle(found, given or {}, variables)


def refused(*arguments: Any, **more: Any) -> Any:
    with pytest.raises(contract.Refused) as caught:
        settled(*arguments, **more)
    return caught.value


def test_without_a_contract_the_defaults_hold() -> None:
    found = settled()
    assert found["source"] == "detected"
    assert found["health"] == {"path": "/", "status": [200, 204, 301, 302], "timeout": 10, "tries": 20}
    assert found["limits"] == {"memory": "1G", "cpu": 200, "tasks": 256}
    assert found["requirements"] == {"how": "pip", "file": "requirements.txt"}
    assert found["project"] == {
        "directory": "",
        "settings": "config.settings",
        "wsgi": "",
        "wsgi_found": "config.wsgi:application",
    }
    assert (found["processes"], found["cron"], found["packages"], found["build"]) == ([], [], [], [])


def test_the_contract_wins_over_the_defaults_and_a_value_over_the_contract() -> None:
    text = "python: 3.12\nhealth: {path: /healthz, tries: 5}\nlimits: {memory: 2G, cpu: 100}\npackages: [libmagic1]\n"
    assert settled(text)["python"] == "3.12"
    given = {
        "python": "3.13",
        "health": {"tries": 9, "path": ""},
        "limits": {"memory": "512M"},
        "packages": ["gettext"],
    }
    found = settled(text, given)
    assert found["python"] == "3.13"
    assert found["health"] == {"path": "/healthz", "status": [200, 204, 301, 302], "timeout": 10, "tries": 9}
    assert found["limits"] == {"memory": "512M", "cpu": 100, "tasks": 256}
    assert found["packages"] == ["gettext", "libmagic1"], "packages are added to each other"


def test_processes_take_their_memory_from_the_limits_and_their_number_from_webops() -> None:
    text = WORKER + "limits: {memory: 300M}\n"
    assert settled(text)["processes"] == [
        {"name": "worker", "command": ["/bin/sh", "-c", "celery -A shop worker"], "count": 2, "memory": "300M"}
    ]
    assert settled(text, {"processes": [{"name": "worker", "count": 5}]})["processes"][0]["count"] == 5
    assert settled(text, {"processes": [{"name": "worker", "count": 0}]})["processes"] == [], "none is wanted"


def test_a_number_for_a_process_that_is_not_there_is_refused() -> None:
    error = refused(WORKER, {"processes": [{"name": "worke", "count": 1}]})
    assert str(error).endswith("the repository has no process of that name. Did you mean 'worker'?")
    assert error.next == "Give it a command, or correct the name."


def test_a_command_given_in_webops_makes_a_process_and_a_job_of_a_repository_that_names_none() -> None:
    given = {
        "processes": [{"name": "mailer", "command": "python manage.py mail"}],
        "cron": [{"name": "tidy", "schedule": "daily", "command": "python manage.py clearsessions"}],
    }
    found = settled("", given)
    mailer = {"name": "mailer", "command": ["/bin/sh", "-c", "python manage.py mail"], "count": 1, "memory": "1G"}
    tidy = {"name": "tidy", "schedule": "daily", "command": ["/bin/sh", "-c", "python manage.py clearsessions"]}
    assert (found["processes"], found["cron"]) == ([mailer], [tidy])
    assert (found["root"]["processes"], found["root"]["cron"]) == ({"mailer": {"count": 1, "memory": "1G"}},
                                                                  {"tidy": "daily"})


def test_a_command_given_in_webops_wins_and_the_rest_stays_as_the_repository_says() -> None:
    text = WORKER + "cron: [{name: tidy, schedule: daily, command: one}, {name: warm, schedule: hourly, command: w}]\n"
    given = {
        "processes": [{"name": "worker", "count": None, "command": "celery -A shop worker -l info"}],
        "cron": [{"name": "tidy", "schedule": "weekly", "command": "two"}],
    }
    found = settled(text, given)
    assert [(one["command"][2], one["count"]) for one in found["processes"]] == [("celery -A shop worker -l info", 2)]
    assert [(one["name"], one["schedule"], one["command"][-1]) for one in found["cron"]] == [
        ("tidy", "weekly", "two"),
        ("warm", "hourly", "w"),
    ]


def test_commands_given_in_webops_are_run_instead_of_those_of_the_repository() -> None:
    text = "build: [make]\nrelease: [echo]\n"
    assert settled(text)["build"] == [["/bin/sh", "-c", "make"]]
    assert settled(text, {"build": ["npm ci", "npm run build"]})["build"] == [
        ["/bin/sh", "-c", "npm ci"],
        ["/bin/sh", "-c", "npm run build"],
    ]


def test_a_name_that_must_be_set_is_told_before_anything_is_built() -> None:
    text = "environment: {required: [STRIPE_KEY, MAIL_HOST, SECRET_KEY]}\n"
    error = refused(text, variables=("SECRET_KEY",))
    assert str(error) == "STRIPE_KEY and MAIL_HOST must be set, says webops.yml: environment.required."
    assert error.next == "Give it a value in 'Environment' or 'Secret environment', then apply."
    assert settled(text, variables=("STRIPE_KEY", "MAIL_HOST", "SECRET_KEY"))


@pytest.mark.parametrize(
    ("need", "label", "own"),
    [
        ("database", "PostgreSQL database", "DATABASE_URL"),
        ("cache", "Cache", "REDIS_URL"),
    ],
)
def test_a_resource_that_is_needed_and_switched_off_is_told(need: str, label: str, own: str) -> None:
    text = f"needs: {{{need}: true}}\n"
    assert str(refused(text, {need: False})) == f"webops.yml: needs.{need}: The app needs one, and '{label}' is off."
    assert settled(text, {need: True}) and settled(text, {need: False}, (own,))


def test_problems_stop_everything_and_name_the_file() -> None:
    error = refused("processes: {worker: {}}\nneed: {}\n")
    assert str(error).startswith("webops.yml, line 1: processes.worker: 'command' is missing")
    assert "(and 1 more below)" in str(error) and len(error.problems) == 2
    assert error.next.startswith("Correct webops.yml in the repository and commit it")


def test_what_needs_root_is_told_one_by_one() -> None:
    before = settled(WORKER)["root"]
    assert contract.needs_apply(before, before) == []
    text = (
        "processes:\n  worker: {command: other, count: 3, memory: 2G}\n  beat: {command: x}\n"
        "cron: [{name: nightly, schedule: daily, command: x}]\npackages: [libmagic1]\nlimits: {cpu: 50}\n"
    )
    assert contract.needs_apply(settled(text)["root"], before) == [
        "the package libmagic1 is wanted",
        "the process beat is new",
        "3 of the process worker are wanted, and 2 are installed",
        "the process worker may use 1G of memory, and 2G is wanted",
        "the cron job nightly is new",
        "the limit of cpu is 200, and 50 is wanted",
    ]
    assert contract.needs_apply(settled()["root"], before) == ["the process worker is gone from the repository"]


def test_what_is_gone_is_named_for_removal() -> None:
    text = WORKER + "cron: [{name: nightly, schedule: daily, command: x}]\n"
    before = settled(text)["root"]
    assert contract.gone(before, before) == {"processes": [], "cron": []}
    fewer = settled(WORKER, {"processes": [{"name": "worker", "count": 1}]})["root"]
    assert contract.gone(fewer, before) == {
        "processes": [{"name": "worker", "numbers": [2], "whole": False}],
        "cron": ["nightly"],
    }
    assert contract.gone(settled()["root"], before)["processes"] == [
        {"name": "worker", "numbers": [1, 2], "whole": True}
    ]


def test_another_command_of_a_process_needs_no_root() -> None:
    other = settled(WORKER.replace("celery -A shop worker", "rq worker"))["root"]
    assert contract.needs_apply(other, settled(WORKER)["root"]) == []


def test_an_app_from_before_contracts_needs_apply_only_for_what_is_new() -> None:
    assert contract.needs_apply(settled()["root"], None) == []
    assert contract.needs_apply(settled(WORKER)["root"], None) == ["the process worker is new"]


def test_commands_of_a_procfile_beside_the_project_are_run_there() -> None:
    files = {f"backend/{name}": text for name, text in PROJECT.items()}
    found = read({**files, "backend/Procfile": "worker: celery"}, kind="django_app")
    assert contract.settle(found, {})["commands_in"] == "backend"
    assert settled(WORKER)["commands_in"] == ""


def test_the_plan_shows_commands_and_names_and_no_value() -> None:
    found = read(
        {
            **PROJECT,
            "webops.yml": WORKER + "environment: {required: [A], optional: [SENTRY_DSN]}\n",
            ".env.example": "A=1\nB_TOKEN=abcdef\n",
        }
    )
    settings = contract.settle(found, {}, ["A"])
    plan = contract.plan(found, settings, ["A"])
    assert plan["source"] == "webops.yml"
    assert plan["processes"]["worker"]["command"] == "celery -A shop worker"
    offered = {one["name"]: (one["way"], one["required"]) for one in plan["variables"]}
    assert offered == {"B_TOKEN": ("ask", False), "SENTRY_DSN": ("ask", False)}
    assert "abcdef" not in str(plan)


def site(files: dict[str, str], **given: Any) -> Any:
    return contract.settle(read(files, kind="static_site", given=given), given)


def test_a_site_is_built_as_it_was_found_and_as_it_was_said() -> None:
    mkdocs = {"mkdocs.yml": "site_name: x\n"}
    found = site(mkdocs)
    assert (found["publish"], found["extra"]) == ("site", ["mkdocs"])
    assert found["build"] == [["python", "-m", "mkdocs", "build", "--site-dir", "site"]]
    own = site(mkdocs, command=["make"], publish="out")
    assert (own["build"], own["publish"], own["extra"]) == ([["make"]], "out", [])
    assert site({"hugo.toml": "", "content/a.md": ""})["packages"] == ["hugo"]
    assert site({"index.html": ""})["publish"] == "."
    assert site({"webops.yml": "kind: static_site\nbuild: [make]\npublish: out\n"})["publish"] == "out"


def action() -> Any:
    spec = importlib.util.spec_from_file_location("webops_contract_action", ACTION)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.answer


def test_the_task_fails_in_words_or_returns_what_holds() -> None:
    files = {**PROJECT, "webops.yml": WORKER}
    done = action()({"kind": "django_app", "files": files, "listing": [], "given": {}})
    assert done["webops_summary"] == "webops.yml · worker × 2"
    assert done["webops_plan"]["contract"]["needs_apply"] == ["the process worker is new"]
    assert done["settings"]["processes"][0]["name"] == "worker"
    failed = action()({"kind": "django_app", "files": files, "refuse_root": True})
    assert failed["failed"] and failed["msg"] == "Needs Apply, because the process worker is new."
    broken = action()({"kind": "django_app", "files": {**PROJECT, "webops.yml": "proceses: {}"}})
    assert broken["failed"] and "Did you mean 'processes'?" in broken["msg"] and broken["journal"]


def test_before_the_code_is_fetched_the_values_alone_hold() -> None:
    done = action()(
        {
            "kind": "django_app",
            "files": None,
            "given": {"limits": {"memory": "2G"}, "processes": [{"name": "worker", "count": 2}]},
        }
    )
    assert done["msg"].startswith("follows") and done["settings"]["limits"]["memory"] == "2G"


def test_said_is_read() -> None:
    assert said(WORKER).source == "webops.yml"
