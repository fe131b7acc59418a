"""From a wish to rows: resources, their parts, servers."""

from __future__ import annotations

from pathlib import Path

import pytest

from panel.catalog import Refused
from panel.link import client
from panel.link.ssh import fingerprint
from panel.runs import resources, servers, spec
from panel.runs.errors import (
    DomainTaken,
    NameTaken,
    NotReady,
    PartOfAnother,
    RunsError,
    ServerInUse,
    Unknown,
    WrongFingerprint,
)
from panel.runs.outcome import Outcome
from panel.runs.settle import Verdict, settle
from panel.store import db
from panel.store.models import Mode, Resource, Run, Server, State

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1bMBGsEnNhxpWZRYjHPbQ6yJY8qZTNs+5oH9pTz0pX"
APP = {"repo": "https://192.0.2.200/guestbook.git", "domain": "guestbook.example.org"}


@pytest.fixture
def s(database, monkeypatch):
    from panel.settings import settings

    monkeypatch.setenv("WEBOPS_GIT_NETWORKS", "192.0.2.0/24")
    settings.cache_clear()
    with db.session() as session:
        for name in ("web1", "web2"):
            session.add(Server(name=name, address="192.0.2.1", host_key=KEY, public_key="ssh-ed25519 AAAA webops",
                               private_key=b"", ready_at=db.now(session)))
        session.commit()
        yield session


def _ask(s, name="guestbook", kind="django_app", server="web1", given=APP, **more):
    return resources.ask(s, kind=kind, name=name, where=server, given=given, actor="ada", door="api", **more)


def _end(s, run, state=State.SUCCEEDED):
    from panel.runs import claim

    claim.claim(s, run.id, "here:1")
    s.commit()
    assert settle(run.id, "here:1", Verdict(state), Outcome(), 0)
    s.expire_all()


def test_one_wish_makes_the_resource_its_parts_and_the_run(s):
    run = _ask(s)
    parts = {one.name: one for one in s.query(Resource) if one.parent_id}
    assert set(parts) == {"guestbook-db", "guestbook-vhost", "guestbook-cert"}
    assert {one.parent.name for one in parts.values()} == {"guestbook"}
    assert parts["guestbook-vhost"].values["nginx_vhost_domain"] == "guestbook.example.org"
    assert run.values["django_app_domain"] == "guestbook.example.org"
    assert [(one.host, one.server_name) for one in run.servers] == [("guestbook@web1", "web1")]


def test_parts_follow_their_parent_and_go_when_they_are_not_wanted_any_more(s):
    _end(s, _ask(s))
    run = _ask(s, given={"repo": APP["repo"], "database": False})
    assert s.query(Resource).filter_by(name="guestbook-cert").count() == 1, "it is there until the run has succeeded"
    _end(s, run)
    assert [one.name for one in s.query(Resource)] == ["guestbook"]


def test_a_check_writes_nothing_but_its_run(s):
    run = _ask(s, mode=Mode.CHECK)
    assert s.query(Resource).count() == 0
    assert (run.resource_id, run.resource_name, run.servers[0].host) == (None, "guestbook", "guestbook@web1")
    _end(s, _ask(s))
    _ask(s, given={**APP, "domain": "other.example.org"}, mode=Mode.CHECK)
    assert s.query(Resource).filter_by(name="guestbook").one().values["django_app_domain"] == APP["domain"]


def test_secrets_are_kept_apart_and_kept_when_left_out(s):
    given = {**APP, "secrets": [{"name": "API_KEY", "value": "hunter22"}, {"name": "B", "value": "second22"}]}
    run = _ask(s, given=given)
    row = s.query(Resource).filter_by(name="guestbook").one()
    assert "hunter22" not in str(row.values) + str(run.values) and b"hunter22" not in row.secrets
    _ask(s, given={**APP, "secrets": [{"name": "API_KEY", "value": None}]})
    assert resources.values_file(s, row, True)["django_app_secrets"] == [{"name": "API_KEY", "value": "hunter22"}]
    assert "django_app_secrets" not in resources.values_file(s, row, False)
    _ask(s)
    assert "django_app_secrets" in resources.values_file(s, row, True)


@pytest.mark.parametrize("wish,error", [
    ({"kind": "static_site", "given": {"repo": APP["repo"], "domain": "x.example.org"}}, NameTaken),
    ({"server": "web2"}, NameTaken),
    ({"name": "other"}, DomainTaken),
    ({"name": "guestbook-db", "given": {"repo": APP["repo"]}}, NameTaken),
    ({"kind": "nothing"}, Unknown), ({"kind": "server"}, Unknown), ({"server": "nowhere"}, Unknown),
    ({"name": "Bad Name"}, Refused), ({"given": {"domain": "x.example.org"}}, Refused),
    ({"given": {**APP, "domain": "{{ x }}"}}, Refused)])
def test_what_cannot_be_is_refused_in_words_and_leaves_nothing(s, wish, error):
    _ask(s)
    rows, runs = s.query(Resource).count(), s.query(Run).count()
    with pytest.raises(error) as refused:
        _ask(s, **wish)
    s.rollback()
    assert len(str(refused.value)) > 20
    assert (s.query(Resource).count(), s.query(Run).count()) == (rows, runs)


def test_a_name_leaves_room_for_those_of_its_parts(s):
    """What the parts are named is decided before a run begins, not by the part that fails at it."""
    with pytest.raises(Refused) as refused:
        _ask(s, name="a" * 25)
    problem, = refused.value.problems
    assert (problem.parameter, problem.code) == ("name", "name_too_long") and "at most 23" in problem.message
    assert s.query(Resource).count() == 0
    assert _ask(s, name="a" * 23).resource_name == "a" * 23
    assert _ask(s, name="b" * 26, given={"repo": APP["repo"]}).resource_name == "b" * 26


@pytest.mark.parametrize("host", [
    "127.0.0.1", "10.1.2.3", "169.254.169.254", "[::1]", "[::ffff:10.0.0.1]", "localhost"])
def test_repositories_in_private_networks_are_refused(s, host):
    with pytest.raises(Refused) as refused:
        _ask(s, given={"repo": f"https://{host}/x.git"})
    assert refused.value.problems[0].parameter == "repo"


def test_an_action_brings_the_values_of_its_resource(s):
    _end(s, _ask(s))
    row = s.query(Resource).filter_by(name="guestbook").one()
    run = resources.act(s, resource=row, action="restart", given={}, actor="ada", door="cli")
    assert run.values["django_app_repo"] == APP["repo"] and run.action == "restart"
    with pytest.raises(Unknown):
        resources.act(s, resource=row, action="dance", given={}, actor="ada", door="cli")
    part = s.query(Resource).filter_by(name="guestbook-db").one()
    for action in ("main", "remove"):
        with pytest.raises(PartOfAnother):
            resources.act(s, resource=part, action=action, given={}, actor="ada", door="cli")


def test_a_removed_resource_goes_with_its_parts(s):
    _end(s, _ask(s))
    row = s.query(Resource).filter_by(name="guestbook").one()
    run = resources.act(s, resource=row, action="remove", given={}, actor="ada", door="cli")
    _end(s, run, State.FAILED)
    assert s.query(Resource).count() == 4
    _end(s, resources.act(s, resource=row, action="remove", given={}, actor="ada", door="cli"))
    assert s.query(Resource).count() == 0 and s.query(Run).count() == 3


def test_a_server_from_its_address_to_ready(database, monkeypatch):
    monkeypatch.setattr(client, "ask", lambda method, **_: {"keys": [KEY], "fingerprints": []})
    with db.session() as s:
        server = servers.add(s, "web1", "192.0.2.1", 22, "ada")
        assert server.public_key.startswith("ssh-ed25519 ") and b"PRIVATE" not in server.private_key
        login = servers.Login("root", password="hunter22")
        with pytest.raises(RunsError, match="host key"):
            servers.ready(s, server, login, "ada", "api")
        with pytest.raises(WrongFingerprint):
            servers.accept(s, server, "SHA256:wrong", "ada")
        for _ in range(2):
            servers.accept(s, server, fingerprint(KEY), "ada")
        assert (server.host_key, server.offered_host_key) == (KEY, "")
        with pytest.raises(NotReady):
            resources.ask(s, kind="static_site", name="site", where=server, actor="ada", door="api",
                          given={"repo": "https://192.0.2.1/x.git", "domain": "x.example.org"})
        run = servers.ready(s, server, login, "ada", "api")
        assert run.values["server_public_keys"] == [server.public_key]
        assert "hunter22" not in str(run.values) and b"hunter22" not in run.secrets
        for leave in (servers.forget, lambda *words: servers.remove(*words, "api")):
            with pytest.raises(ServerInUse):
                leave(s, server, "ada")
        _end(s, run)
        assert server.ready_at
        servers.forget(s, server, "ada")
        assert s.query(Server).count() == 0 and s.query(Run).count() == 1


def test_only_the_host_key_that_was_compared_is_accepted(database, monkeypatch):
    other = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQDZ"
    monkeypatch.setattr(client, "ask", lambda method, **_: {"keys": [KEY, other], "fingerprints": []})
    with db.session() as s:
        server = servers.add(s, "web1", "192.0.2.1", 22, "ada")
        servers.accept(s, server, fingerprint(KEY), "ada")
        assert (server.host_key, server.offered_host_key) == (KEY, "")


def test_a_server_leaves_by_a_run_and_its_row_goes_with_it(s):
    server = s.query(Server).filter_by(name="web1").one()
    _end(s, servers.remove(s, server, "ada", "cli", mode=Mode.CHECK))
    _end(s, servers.remove(s, server, "ada", "cli"), State.FAILED)
    assert s.query(Server).filter_by(name="web1").one().ready_at
    run = servers.remove(s, server, "ada", "cli")
    with pytest.raises(NotReady, match="is being removed"):
        _ask(s)
    s.rollback()
    _end(s, run)
    assert s.query(Server).filter_by(name="web1").count() == 0
    assert [part.server_name for part in run.servers] == ["web1"]


def test_a_server_that_shows_another_key_gets_nothing(s):
    server = s.query(Server).filter_by(name="web1").one()
    server.offered_host_key = KEY + "x"
    with pytest.raises(RunsError, match="shows another host key than the one that was accepted"):
        _ask(s)


def test_a_user_without_password_or_key_signs_in_with_webops_own(database, monkeypatch, tmp_path):
    monkeypatch.setattr(client, "ask", lambda method, **_: {"keys": [KEY], "fingerprints": []})
    with db.session() as s:
        server = servers.add(s, "new1", "192.0.2.7", 22, "ada")
        servers.accept(s, server, fingerprint(KEY), "ada")
        run = servers.ready(s, server, servers.Login("debian", sudo_password="sudo it"), "ada", "api")
        made = spec.build(run, tmp_path)
        host = made.told["inventory"]["all"]["children"]["server"]["hosts"]["new1"]
        assert (host["ansible_user"], host["ansible_become_password"]) == ("debian", "sudo it")
        key = spec.key_of(server)
        assert made.told["files"][Path(host["ansible_ssh_private_key_file"]).name] == key
        assert any(line in text for text in made.secrets for line in key.splitlines()[1:2])


@pytest.mark.parametrize("login", [
    servers.Login("-oProxyCommand=x", "x"), servers.Login("root", private_key="nonsense"), None])
def test_logins_that_cannot_work_are_refused(s, login):
    server = s.query(Server).filter_by(name="web1").one()
    server.ready_at = None
    with pytest.raises(Refused):
        servers.ready(s, server, login, "ada", "api")


MODEL = {"model": "org/one", "revision": "v1", "kv_cache": "1G"}


def _swap(s, name="tiny", state=State.SUCCEEDED, **given):
    row = s.query(Resource).filter_by(name=name).one()
    run = resources.act(s, resource=row, action="swap", given=given, actor="ada", door="api")
    _end(s, run, state)
    return run.values, s.query(Resource).filter_by(name=name).one().values


def test_what_a_swap_brought_is_the_resources_own_from_then_on(s):
    _end(s, _ask(s, "tiny", "vllm_model", given=MODEL))
    used, after = _swap(s, model="org/two")
    assert used == {"vllm_model_model": "org/two", "vllm_model_kv_cache": "1G"}, "another model has other revisions"
    assert after == used
    used, after = _swap(s, revision="v2", accept_interruption=True)
    assert used["vllm_model_accept_interruption"] is True
    assert after == {"vllm_model_model": "org/two", "vllm_model_revision": "v2", "vllm_model_kv_cache": "1G"}


def test_a_swap_that_failed_changes_no_wish(s):
    _end(s, _ask(s, "tiny", "vllm_model", given=MODEL))
    before = s.query(Resource).filter_by(name="tiny").one().values
    assert _swap(s, state=State.FAILED, model="org/two")[1] == before
