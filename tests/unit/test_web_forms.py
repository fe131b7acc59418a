"""Forms made from roles: what was typed is never lost, secrets are never shown back, rows work without scripts."""

from __future__ import annotations

import re

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select

from panel.catalog import catalog
from panel.store import db
from panel.store.models import Mode, Resource, Run, State
from panel.store.seal import unseal
from panel.web import fields
from tests.panels import send

REPO = "https://git.example.org/blog.git"
GOOD = {"name": "blog", "server": "web1", "django_app_repo": REPO, "django_app_domain": "blog.example.org"}


@pytest.fixture(autouse=True)
def _public(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names of examples are known to nobody; whether they are private is not what is tested here."""
    from panel.runs import refuse

    monkeypatch.setattr(refuse, "_private", lambda host: None)


def _stored(name: str) -> Resource | None:
    with db.session() as session:
        return session.scalar(select(Resource).where(Resource.name == name))


def test_every_kind_has_a_form_with_all_its_parameters(ada: FlaskClient) -> None:
    for kind in catalog().kinds.values():
        page = ada.get(f"/new/{kind.name}").text
        for parameter in kind.main.parameters:
            assert f'name="{parameter.name}"' in page or f'value="add:{parameter.name}"' in page, parameter.name
            assert f'name="{kind.name}_name"' not in page


def test_what_was_asked_for_becomes_a_run(ada: FlaskClient) -> None:
    answer = send(ada, "/new/django_app", **GOOD, django_app_workers="5",
                  django_app_aliases="a.example.org\nb.example.org",
                  **{"django_app_environment-0-name": "MODE", "django_app_environment-0-value": " x ",
                     "django_app_secrets-0-name": "KEY", "django_app_secrets-0-value": "hunter2"})
    assert answer.status_code == 303, answer.text[:3000]
    stored = _stored("blog")
    assert stored
    assert stored.values == {
        "django_app_repo": REPO, "django_app_domain": "blog.example.org", "django_app_workers": 5,
        "django_app_aliases": ["a.example.org", "b.example.org"],
        "django_app_environment": [{"name": "MODE", "value": " x "}]}
    page = ada.get(answer.location).text
    assert "<h1>Apply blog</h1>" in page and "hunter2" not in page
    assert ada.get("/resources/blog-vhost").status_code == 200, "its parts are resources too"


def test_what_is_said_of_a_server_is_asked_where_it_is_made_ready(ada: FlaskClient) -> None:
    page = ada.get("/servers/web1/ready").text
    assert "As it is" in page and "server_public_keys" not in page
    refused = send(ada, "/servers/web1/ready", way="account", server_allowed_from="web1.example.org")
    assert refused.status_code == 422 and "Write an IP address, or a network" in refused.text
    assert "web1.example.org</textarea>" in refused.text
    for given, said in (({}, {}), ({"server_unattended_upgrades": "no", "server_journal_size": "2G"},
                                   {"server_unattended_upgrades": False, "server_journal_size": "2G"})):
        answer = send(ada, "/servers/web1/ready", way="account", **given)
        with db.session() as session:
            values = session.get_one(Run, int(answer.location.rpartition("/")[2])).values
        assert {name: value for name, value in values.items() if name != "server_public_keys"} == said


def test_checking_first_stores_nothing_but_the_run(ada: FlaskClient) -> None:
    answer = send(ada, "/new/django_app", **GOOD, mode="check")
    assert answer.status_code == 303
    assert _stored("blog") is None
    with db.session() as session:
        run = session.scalars(select(Run).order_by(Run.id.desc())).first()
    assert run and run.mode is Mode.CHECK and run.values["django_app_repo"] == REPO
    again = ada.get(f"/new/django_app?run={run.id}&server=web1").text
    assert f'value="{REPO}"' in again and 'value="blog"' in again


def test_problems_stand_beside_their_fields_and_nothing_is_lost(ada: FlaskClient) -> None:
    typed = {"name": "Blog!", "server": "web1", "django_app_repo": "ext::sh -c id", "django_app_domain": "a b",
             "django_app_workers": "many",
             "django_app_environment-3-name": "1A", "django_app_environment-3-value": "<v>",
             "django_app_certificate_key": "-----BEGIN PRIVATE KEY-----", "django_app_acme_terms": "yes"}
    answer = send(ada, "/new/django_app", **typed)
    assert answer.status_code == 422
    page = answer.text
    assert _stored("Blog!") is None
    for value in ("Blog!", "ext::sh -c id", "a b", "many", "1A", "&lt;v&gt;"):
        assert f'value="{value}"' in page, value
    assert "-----BEGIN PRIVATE KEY-----" in page
    assert re.search(r'name="django_app_acme_terms" value="yes" checked', page)
    assert re.search(r'id="name"[^>]*aria-invalid="true"', page), "the name is marked"
    for words in ("Only https:// and ssh addresses are allowed.", "Write one full domain in lower case",
                  "Workers must be a whole number.", "Use letters, digits and &#39;_&#39;"):
        assert words in page, words
    assert page.count('aria-invalid="true"') >= 5
    assert "things are</strong>" not in page and "Nothing was done, and what you typed is still here." in page


def test_rows_are_added_and_removed_without_scripts(ada: FlaskClient) -> None:
    rows = {"django_app_environment-0-name": "A", "django_app_environment-0-value": "1",
            "django_app_environment-1-name": "B", "django_app_environment-1-value": "2"}
    page = send(ada, "/new/django_app", **GOOD, **rows, rows="add:django_app_environment").text
    assert 'name="django_app_environment-2-name"' in page and 'value="blog"' in page
    page = send(ada, "/new/django_app", **GOOD, **rows, rows="remove:django_app_environment:0").text
    assert 'name="django_app_environment-0-name" value="B"' in page
    assert 'name="django_app_environment-1-name"' not in page
    assert _stored("blog") is None


def test_a_secret_is_kept_changed_and_taken_away_by_name(ada: FlaskClient) -> None:
    secrets = {"django_app_secrets-0-name": "A", "django_app_secrets-0-value": "one",
               "django_app_secrets-1-name": "B", "django_app_secrets-1-value": "two"}
    send(ada, "/new/django_app", **GOOD, **secrets)
    form = {key: value for key, value in GOOD.items() if key.startswith("django")}
    page = ada.get("/resources/blog/edit").text
    assert "one" not in re.findall(r'value="([^"]*)"', page) and 'name="django_app_secrets-1-kept" value="B"' in page
    kept = {"django_app_secrets-0-kept": "A", "django_app_secrets-0-name": "A", "django_app_secrets-0-value": "",
            "django_app_secrets-1-kept": "B", "django_app_secrets-1-name": "B", "django_app_secrets-1-value": "new"}
    assert send(ada, "/resources/blog/edit", **form, **kept).status_code == 303
    assert _secrets() == {"A": "one", "B": "new"}
    first = {key: value for key, value in kept.items() if "-0-" in key}
    assert send(ada, "/resources/blog/edit", **form, **first).status_code == 303
    assert _secrets() == {"A": "one"}
    assert send(ada, "/resources/blog/edit", **form).status_code == 303
    assert _secrets() == {}, "the last one can be taken away too"


def test_a_single_secret_is_kept_and_taken_away(ada: FlaskClient) -> None:
    def held() -> str | None:
        stored = _stored("blog")
        assert stored
        return (unseal("resource:blog:secrets", stored.secrets) if stored.secrets else {}).get("django_app_repo_token")

    send(ada, "/new/django_app", **GOOD, django_app_repo_token="t0ken-of-ada")
    form = {key: value for key, value in GOOD.items() if key.startswith("django")}
    assert 'name="django_app_repo_token-gone"' in ada.get("/resources/blog/edit").text
    assert send(ada, "/resources/blog/edit", **form).status_code == 303 and held() == "t0ken-of-ada"
    wrong = send(ada, "/resources/blog/edit", **{**form, "django_app_domain": "; }"}, **{
        "django_app_repo_token-gone": "1"}).text
    assert re.search(r'name="django_app_repo_token-gone" value="1" checked', wrong) and held() == "t0ken-of-ada"
    assert send(ada, "/resources/blog/edit", **form, **{"django_app_repo_token-gone": "1"}).status_code == 303
    assert held() is None
    assert "django_app_repo_token-gone" not in ada.get("/resources/blog/edit").text


def _secrets() -> dict[str, str]:
    stored = _stored("blog")
    assert stored
    opened = unseal("resource:blog:secrets", stored.secrets) if stored.secrets else {}
    return {item["name"]: item["value"] for item in opened.get("django_app_secrets", [])}


def test_what_goes_back_to_its_default_is_forgotten(ada: FlaskClient) -> None:
    send(ada, "/new/django_app", **GOOD, django_app_workers="5", django_app_migrate="no")
    page = ada.get("/resources/blog/edit").text
    assert re.search(r'name="django_app_migrate" value="no" checked', page)
    send(ada, "/resources/blog/edit", django_app_repo=REPO, django_app_domain="blog.example.org", django_app_workers="",
         django_app_migrate="")
    stored = _stored("blog")
    assert stored and stored.values == {"django_app_repo": REPO, "django_app_domain": "blog.example.org"}


def test_a_taken_name_domain_or_unready_server_is_said_beside_the_field(ada: FlaskClient) -> None:
    for changed, place in (({"name": "docs"}, "name"), ({"server": "db1"}, "server"), ({"server": "nope"}, "server"),
                           ({"django_app_domain": "shop.example.org"}, "f-django_app_domain")):
        answer = send(ada, "/new/django_app", **{**GOOD, **changed})
        assert answer.status_code == 422, changed
        marked = re.search(rf'<(?:input|select)[^>]*id="{place}"[^>]*aria-invalid="true"', answer.text)
        assert marked, (changed, place)
        assert f'value="{REPO}"' in answer.text


def test_a_dangerous_action_asks_for_the_name(ada: FlaskClient) -> None:
    path = "/resources/guestbook/actions/remove"
    assert send(ada, path).status_code == 422
    refused = send(ada, path, confirm="guest", django_app_remove_data="guestbook")
    assert refused.status_code == 422 and "This is not &#39;guestbook&#39;." in refused.text
    assert 'value="guestbook"' in refused.text, "what was typed is still there"
    assert send(ada, path, mode="check").status_code == 303, "looking at what would go needs no name"
    answer = send(ada, path, confirm="guestbook")
    assert answer.status_code == 303
    assert "Remove guestbook" in ada.get(answer.location).text


def test_an_action_without_values_is_one_button(ada: FlaskClient) -> None:
    page = ada.get("/resources/docs").text
    assert 'action="/resources/docs/actions/deploy"' in page
    assert send(ada, "/resources/docs/actions/deploy", "/resources/docs").status_code == 303


def test_an_action_asks_for_its_own_values(ada: FlaskClient) -> None:
    path = "/resources/guestbook/actions/command"
    refused = send(ada, path)
    assert refused.status_code == 422 and "is needed." in refused.text
    answer = send(ada, path, django_app_command="createsuperuser\n--noinput")
    assert answer.status_code == 303
    with db.session() as session:
        run = session.scalars(select(Run).order_by(Run.id.desc())).first()
    assert run and run.values["django_app_command"] == ["createsuperuser", "--noinput"]


def test_a_failed_run_is_done_again_with_one_button(ada: FlaskClient) -> None:
    answer = send(ada, "/runs/9/repetition", "/runs/9")
    assert answer.status_code == 303 and answer.location == "/runs/12"


@pytest.mark.parametrize(("mode", "end", "label"), [
    (Mode.CHECK, State.SUCCEEDED, "Roll back…"), (Mode.APPLY, State.FAILED, "Roll back again…")])
def test_a_rollback_is_repeated_to_the_release_that_it_was_for(ada: FlaskClient, mode: Mode, end: State,
                                                               label: str) -> None:
    path = "/resources/guestbook/actions/rollback"
    first = send(ada, path, confirm="guestbook", mode=mode.value, django_app_release="20260102-030405-77b1e04",
                 django_app_rollback_data="yes")
    number = int(first.location.rpartition("/")[2])
    with db.session() as session:
        session.get_one(Run, number).state = end
        session.commit()
    button = re.search(rf'href="([^"]+)">{label}</a>', ada.get(first.location).text)
    assert button
    form = ada.get(button[1]).text
    assert 'value="20260102-030405-77b1e04"' in form
    assert re.search(r'name="django_app_rollback_data" value="yes" checked', form)
    other = ada.get(f"{path}?run={number}&release=77b1e04").text
    assert 'value="77b1e04"' in other and "20260102-030405" not in other, "what a link says comes first"
    for elsewhere in ("/resources/shop/actions/rollback", "/resources/guestbook/actions/command"):
        assert "20260102-030405" not in ada.get(f"{elsewhere}?run={number}").text


def test_a_command_is_run_again_with_its_words(ada: FlaskClient) -> None:
    path = "/resources/guestbook/actions/command"
    first = send(ada, path, django_app_command="createsuperuser\n--noinput")
    number = int(first.location.rpartition("/")[2])
    assert "createsuperuser\n--noinput</textarea>" in ada.get(f"{path}?run={number}").text


def test_a_form_reads_back_what_it_wrote() -> None:
    action = catalog().kind("django_app").main
    values = {"django_app_repo": REPO, "django_app_health_status": [200, 301], "django_app_migrate": False,
              "django_app_certificate": "own", "django_app_environment": [{"name": "A", "value": "1\n2"}]}
    entered = fields.from_values(action, values, {})
    from panel.catalog import clean

    assert clean(catalog().kind("django_app"), "main", fields.given(action, entered)).values == values


def test_a_deploy_key_is_made_before_the_first_apply(ada: FlaskClient) -> None:
    answer = send(ada, "/new/django_app", **{**GOOD, "django_app_repo": "git@git.example.org:blog.git"},
                  django_app_workers="5", make="django_app_repo_key")
    assert answer.status_code == 303 and answer.location.endswith("/resources/blog/edit#f-django_app_repo_key")
    stored = _stored("blog")
    assert stored and stored.applied_at is None and stored.secrets
    with db.session() as session:
        assert session.scalar(select(Run).where(Run.resource_name == "blog")) is None
    private = unseal("resource:blog:secrets", stored.secrets)["django_app_repo_key"]
    for path in ("/resources/blog/edit", "/resources/blog"):
        page = ada.get(path).text
        assert re.search(r"ssh-ed25519 AAAA[A-Za-z0-9+/]{60,} webops-blog", page), path
        assert private.splitlines()[3] not in page
    edit = ada.get("/resources/blog/edit").text
    assert 'value="git@git.example.org:blog.git"' in edit and "Make another key" in edit
    applied = send(ada, "/resources/blog/edit", django_app_repo="git@git.example.org:blog.git",
                   django_app_domain="blog.example.org")
    assert applied.status_code == 303, applied.text[:2000]
    again = _stored("blog")
    assert again and again.secrets
    assert unseal("resource:blog:secrets", again.secrets)["django_app_repo_key"] == private, "kept"


def test_a_key_needs_a_name_and_a_server_and_nothing_more(ada: FlaskClient) -> None:
    refused = send(ada, "/new/static_site", make="static_site_repo_key")
    assert refused.status_code == 422 and "Choose a server." in refused.text
    assert send(ada, "/new/static_site", name="leaflet", server="web1", make="static_site_repo_key").status_code == 303
    stored = _stored("leaflet")
    assert stored and stored.values == {}


def test_another_key_for_what_runs_keeps_what_was_typed(ada: FlaskClient) -> None:
    before = _stored("guestbook")
    page = send(ada, "/resources/guestbook/edit", django_app_repo=REPO, django_app_workers="7",
                make="django_app_repo_key")
    assert page.status_code == 200 and "webops-guestbook" in page.text
    assert re.search(r'name="django_app_workers"[^>]* value="7"', page.text)
    after = _stored("guestbook")
    assert before and after and after.values == before.values and after.secrets != before.secrets
