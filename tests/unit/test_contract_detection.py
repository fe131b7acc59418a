"""Without a contract: what a repository is, is found out, and said with its reason."""

import pytest

from tests.contracts import MANAGE, PROJECT, WSGI, contract, read, reasons


def words(found) -> str:
    return "\n".join(found.found)


def test_a_plain_project_is_found_with_its_reasons() -> None:
    found = read(PROJECT)
    assert (found.source, found.kind) == ("detected", "django_app")
    assert (found.project.directory, found.project.settings, found.project.wsgi) == (
        "",
        "config.settings",
        "config.wsgi:application",
    )
    assert found.found == [
        "Django project: manage.py, the only manage.py.",
        "Settings: config.settings, as config/wsgi.py says.",
        "WSGI application: config.wsgi:application, from config/wsgi.py.",
        "Requirements: requirements.txt.",
    ]


def test_a_project_is_found_wherever_it_lies_with_its_own_requirements() -> None:
    files = {f"services/backend/{name}": text for name, text in PROJECT.items()}
    found = read({**files, "requirements.txt": "mkdocs", "examples/manage.py": MANAGE, "Procfile": "worker: x"})
    assert found.project.directory == "services/backend"
    assert found.project.wsgi == "config.wsgi:application", "as Python sees it from the project's directory"
    assert found.requirements.file == "services/backend/requirements.txt"
    assert "nearest to the top (also there: examples/manage.py)" in words(found)
    assert list(found.values["processes"]) == ["worker"]


def test_requirements_around_the_project_are_found() -> None:
    found = read(
        {f"backend/{name}": text for name, text in PROJECT.items() if "requirements" not in name}
        | {"requirements.txt": ""}
    )
    assert found.requirements.file == "requirements.txt"


def test_a_manage_py_of_something_else_is_passed_over() -> None:
    found = read({"manage.py": "from flask_script import Manager", "web/manage.py": MANAGE})
    assert found.project.directory == "web"


def test_settings_for_servers_win_over_those_for_a_developer() -> None:
    local, production = (
        text.replace("config.settings", f"config.settings.{name}")
        for text, name in ((MANAGE, "local"), (WSGI, "production"))
    )
    found = read({"manage.py": local, "config/wsgi.py": production, "config/asgi.py": production})
    assert found.project.settings == "config.settings.production"
    assert (
        "Settings: config.settings.production, as config/wsgi.py says; manage.py names config.settings.local."
        in found.found
    )


def test_production_beside_local_is_taken() -> None:
    local = MANAGE.replace("config.settings", "shop.settings.dev")
    found = read({"src/manage.py": local}, "src/shop/settings/production.py", "src/shop/settings/dev.py")
    assert found.project.settings == "shop.settings.production"
    assert "shop.settings.dev, which is for a developer's own machine, and production lies beside it" in words(found)


SILENT = "from django.core.management import execute_from_command_line"


def test_settings_that_nothing_names_are_found_by_their_name() -> None:
    files = dict.fromkeys(("shop/settings/base.py", "shop/settings/__init__.py", "shop/settings/development.py",
                           "shop/settings/test.py", "shop/settings/my-host.py", "shop/models.py"), "")
    found = read({"manage.py": SILENT, **files})
    assert found.project.settings == "shop.settings.base"
    assert "Settings: shop.settings.base, by its name; manage.py names none." in found.found
    found = read({"manage.py": SILENT, **files, "shop/settings/production.py": ""})
    assert found.project.settings == "shop.settings.production"


def test_of_several_settings_the_person_chooses() -> None:
    found = read({"manage.py": SILENT, "shop/settings/one.py": "", "shop/settings/two.py": ""})
    words_said = "There are: shop.settings.one, shop.settings.two. Fill in 'Settings module'."
    assert any(words_said in one for one in reasons(found))


@pytest.mark.parametrize(
    "line",
    [
        'os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")',
        "os.environ['DJANGO_SETTINGS_MODULE'] = 'shop.settings'",
        'os.environ.setdefault(\n    "DJANGO_SETTINGS_MODULE",\n    "shop.settings",\n)',
        'os.getenv("DJANGO_SETTINGS_MODULE", "shop.settings")',
    ],
)
def test_settings_are_read_in_each_usual_form(line: str) -> None:
    assert read({"manage.py": f"import django\n{line}\n"}).project.settings == "shop.settings"


def test_what_is_given_is_not_looked_for() -> None:
    given = {"directory": "other", "settings": "a.b", "wsgi": "a.c:app", "requirements": "requirements/dev.txt"}
    found = read({**PROJECT, "other/manage.py": MANAGE, "requirements/dev.txt": ""}, given=given)
    assert (found.project.directory, found.project.settings, found.project.wsgi) == ("other", "a.b", "a.c:app")
    assert found.requirements.file == "requirements/dev.txt"
    assert reasons(found) == []


@pytest.mark.parametrize(
    ("files", "given", "problem"),
    [
        ({"README.md": ""}, {}, "This repository holds no manage.py, so it is not a Django project."),
        ({"manage.py": "import django"}, {}, "manage.py does not say which settings the project uses."),
        (PROJECT, {"directory": "web"}, "There is no manage.py in 'web' of the repository. It is in: .."),
        (
            PROJECT,
            {"requirements": "req.txt"},
            "There is no file 'req.txt' in the repository. There are: requirements.txt.",
        ),
    ],
)
def test_what_is_not_there_is_told(files: dict[str, str], given: dict[str, str], problem: str) -> None:
    assert any(problem in one for one in reasons(read(files, kind="django_app", given=given)))


@pytest.mark.parametrize(
    ("names", "how", "file"),
    [
        (["uv.lock", "pyproject.toml", "requirements.txt"], "uv", "uv.lock"),
        (["poetry.lock", "pyproject.toml", "requirements.txt"], "poetry", "poetry.lock"),
        (["uv.lock", "requirements.txt"], "pip", "requirements.txt"),
        (["Pipfile", "Pipfile.lock"], "pipenv", "Pipfile.lock"),
        (["Pipfile"], "pipenv", "Pipfile"),
        (
            ["requirements.txt", "requirements/production.txt", "requirements/base.txt"],
            "pip",
            "requirements/production.txt",
        ),
        (["requirements-prod.txt", "requirements.txt"], "pip", "requirements-prod.txt"),
        (["requirements/local.txt", "requirements/base.txt"], "pip", "requirements/base.txt"),
        (["requirements-dev.txt"], "none", ""),
        ([], "none", ""),
    ],
)
def test_requirements_are_found_the_most_exact_first(names: list[str], how: str, file: str) -> None:
    files = {name: text for name, text in PROJECT.items() if name != "requirements.txt"}
    found = read({**files, **dict.fromkeys(names, "")})
    assert (found.requirements.how, found.requirements.file) == (how, file)
    assert "Requirements: " in words(found)


@pytest.mark.parametrize(
    ("text", "how"),
    [
        ('[project]\nname = "x"\ndependencies = ["django"]\n', "project"),
        ('[tool.poetry]\nname = "x"\n[tool.poetry.dependencies]\ndjango = "^5"\n', "poetry"),
        ("[tool.ruff]\nline-length = 100\n", "none"),
    ],
)
def test_a_pyproject_counts_where_it_names_dependencies(text: str, how: str) -> None:
    files = {name: text for name, text in PROJECT.items() if name != "requirements.txt"}
    assert read({**files, "pyproject.toml": text}).requirements.how == how


@pytest.mark.parametrize(
    ("files", "generator", "publish", "build"),
    [
        ({"index.html": "", "a.css": ""}, "plain", ".", []),
        ({"README.md": "", "public/index.html": ""}, "plain", "public", []),
        (
            {"mkdocs.yml": "site_name: x\nplugins: !!python/name:os.system\n"},
            "mkdocs",
            "site",
            [["python", "-m", "mkdocs", "build", "--site-dir", "site"]],
        ),
        (
            {"mkdocs.yml": "site_dir: 'out'\n"},
            "mkdocs",
            "out",
            [["python", "-m", "mkdocs", "build", "--site-dir", "out"]],
        ),
        (
            {"mkdocs.yml": "site_dir: ../../etc\n"},
            "mkdocs",
            "site",
            [["python", "-m", "mkdocs", "build", "--site-dir", "site"]],
        ),
        ({"hugo.toml": 'baseURL = "/"\n'}, "hugo", "public", [["hugo", "--minify", "--destination", "public"]]),
        ({"config.toml": "", "content/a.md": ""}, "hugo", "public", [["hugo", "--minify", "--destination", "public"]]),
        (
            {
                "package.json": '{"scripts": {"build": "vite build"}, "devDependencies": {"vite": "5"}}',
                "index.html": "",
            },
            "npm",
            "dist",
            [["npm", "run", "build"]],
        ),
        (
            {"package.json": '{"scripts": {"build": "x"}, "dependencies": {"react-scripts": "5"}}'},
            "npm",
            "build",
            [["npm", "run", "build"]],
        ),
    ],
)
def test_a_site_is_found_with_its_generator(files: dict[str, str], generator: str, publish: str, build: list) -> None:
    found = read(files)
    assert found.kind == "static_site"
    assert (found.site.generator, found.site.publish, found.site.build) == (generator, publish, build)
    assert found.found[0].startswith("Static site: ")
    assert reasons(found) == []


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"README.md": ""}, "There is neither an index.html"),
        ({"package.json": '{"scripts": {"build": "make"}}'}, "where it writes is not known"),
        ({"package.json": "[" * 60_000}, "There is neither an index.html"),
    ],
)
def test_a_site_that_is_none_is_told(files: dict[str, str], problem: str) -> None:
    assert any(problem in one for one in reasons(read(files, kind="static_site")))


def test_a_build_that_is_given_needs_no_detection() -> None:
    found = read({"build.py": ""}, kind="static_site", given={"command": ["python3", "build.py"], "publish": "public"})
    assert reasons(found) == []


def test_what_is_seen_and_not_acted_upon_is_mentioned() -> None:
    found = read({**PROJECT, ".python-version": "3.13.1\n", "package.json": '{"scripts": {"build": "vite build"}}'})
    assert ".python-version names Python 3.13. The server's own is used unless" in words(found)
    assert "package.json has a build script. It is not run unless" in words(found)


EXAMPLE = """# Django
SECRET_KEY=insecure-abc
DEBUG=True
DATABASE_URL=postgres://postgres:postgres@db:5432/shop
ALLOWED_HOSTS=localhost,127.0.0.1

# Payment: see https://dashboard.stripe.example
STRIPE_SECRET_KEY=sk_test_xxx
STRIPE_PUBLISHABLE_KEY=
export EMAIL_HOST_PASSWORD="change-me"
DJANGO_SUPERUSER_PASSWORD=secret
FIELD_ENCRYPTION_KEY=
CELERY_BROKER_URL=redis://redis:6379/0
SITE_NAME="My # shop"  # shown in the title
PAGE_SIZE=25
SUPPORT_URL=https://help.example.org/
GREETING='it''s'
LD_PRELOAD=/tmp/evil.so
nonsense
SITE_NAME=twice
"""


def test_an_example_environment_is_sorted_by_what_can_be_done() -> None:
    found = read({**PROJECT, ".env.example": EXAMPLE})
    by_name = {one.name: one for one in found.variables}
    ways = {name: one.way for name, one in by_name.items()}
    assert ways == {
        "SECRET_KEY": "given",
        "DATABASE_URL": "given",
        "ALLOWED_HOSTS": "given",
        "DEBUG": "default",
        "SITE_NAME": "default",
        "PAGE_SIZE": "default",
        "SUPPORT_URL": "default",
        "GREETING": "default",
        "STRIPE_SECRET_KEY": "ask",
        "STRIPE_PUBLISHABLE_KEY": "ask",
        "EMAIL_HOST_PASSWORD": "ask",
        "CELERY_BROKER_URL": "ask",
        "DJANGO_SUPERUSER_PASSWORD": "generate",
        "FIELD_ENCRYPTION_KEY": "generate",
    }
    assert by_name["DEBUG"].value == "False", "what is for a developer's own machine is not offered"
    assert by_name["SITE_NAME"].value == "My # shop" and by_name["SITE_NAME"].help == "shown in the title"
    assert by_name["STRIPE_SECRET_KEY"].help.startswith("Payment: see")
    assert {name for name, one in by_name.items() if one.secret} == {
        "SECRET_KEY",
        "STRIPE_SECRET_KEY",
        "EMAIL_HOST_PASSWORD",
        "DJANGO_SUPERUSER_PASSWORD",
        "FIELD_ENCRYPTION_KEY",
    }
    assert (by_name["PAGE_SIZE"].type, by_name["DEBUG"].type, by_name["SUPPORT_URL"].type) == (
        "number",
        "boolean",
        "url",
    )
    assert not any(one.value for one in by_name.values() if one.secret), "an example's secret is nobody's secret"
    assert ".env.example, line 19: This line is no NAME=value and is passed over." in found.found
    assert reasons(found) == [], "an example stops nothing"


def test_a_generated_value_has_the_form_that_its_name_promises() -> None:
    from cryptography.fernet import Fernet

    assert len(contract.make("DJANGO_SUPERUSER_PASSWORD")) == 64
    assert contract.make("A_SECRET_KEY") != contract.make("A_SECRET_KEY")
    Fernet(contract.make("FIELD_ENCRYPTION_KEY"))


@pytest.mark.parametrize("name", [".env.sample", ".env.dist"])
def test_other_names_of_the_example(name: str) -> None:
    assert [one.name for one in read({**PROJECT, name: "A=1\n"}).variables] == ["A"]


def test_hostile_repositories_are_read_to_the_end() -> None:
    """Nothing that a repository holds makes the reading raise, run or take long."""
    nasty = [
        "\0",
        "\ufffd",
        "&a [*a]",
        "[" * 60_000,
        "a: " * 20_000,
        "\n" * 65_000,
        "x" * 70_000,
        "!!python/object:os.system []",
        "{{ lookup('pipe','id') }}",
        "=" * 60_000,
        "A=" + "\\" * 60_000,
        "'" * 60_000,
        "%TAG ! x",
        "\u202e",
        "<<: {a: b}",
    ]
    names = [
        "webops.yml",
        "webops.json",
        "Procfile",
        ".env.example",
        "manage.py",
        "config/wsgi.py",
        "pyproject.toml",
        "package.json",
        "mkdocs.yml",
        "requirements.txt",
        ".python-version",
        "hugo.toml",
    ]
    for text in nasty:
        for name in names:
            for kind in ("", "django_app", "static_site"):
                read({**PROJECT, name: text}, "a\nb/manage.py", "../x/manage.py", kind=kind)
