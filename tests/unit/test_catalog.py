"""The catalog: a folder becomes a kind, and what a person gives becomes values or a problem per parameter."""

from pathlib import Path

import pytest

from panel.catalog import (
    BrokenRole,
    Cleaned,
    Kind,
    Refused,
    catalog,
    clean,
    merge_secrets,
    overlay,
    part_values,
    read_kind,
)

SPEC = """
argument_specs:
  main:
    short_description: Serve a shop
    options:
      shop_name: {type: str, description: [Name]}
      shop_domain: {type: str, required: true, description: [Domain, Where people find it.]}
      shop_workers: {type: int, default: 2, description: [Workers]}
      shop_debug: {type: bool, default: false, description: [Debug]}
      shop_size: {type: str, choices: [small, large], default: small, description: [Size]}
      shop_aliases: {type: list, elements: str, default: [], description: [Aliases]}
      shop_password: {type: str, no_log: true, description: [Password]}
      shop_environment:
        type: list
        elements: dict
        default: []
        description: [Environment]
        options:
          name: {type: str, required: true, description: [Name]}
          value: {type: str, required: true, description: [Value]}
      shop_secrets:
        type: list
        elements: dict
        default: []
        no_log: true
        description: [Secrets]
        options:
          name: {type: str, required: true, description: [Name]}
          value: {type: str, required: true, description: [Value]}
  restart: {short_description: Restart it}
"""
KIND = """
label: Shop
title: shop_domain
link: true
formats: {"shop_aliases[]": domain, "shop_environment[].name": env_name, shop_workers: positive}
actions: {restart: {label: Restart, privilege: deploy}}
includes:
  - {kind: cert, as: cert, when: shop_domain,
     values: {cert_domain: shop_domain, cert_size: shop_size, cert_x: {value: 1}}}
groups: [{label: Where, parameters: [shop_domain]}]
"""


@pytest.fixture
def shop(tmp_path: Path) -> Kind:
    (tmp_path / "shop" / "meta").mkdir(parents=True)
    (tmp_path / "shop" / "meta" / "argument_specs.yml").write_text(SPEC)
    (tmp_path / "shop" / "meta" / "kind.yml").write_text(KIND)
    return read_kind(tmp_path / "shop", tmp_path / "shop.yml")


def problems(kind: Kind, **given: object) -> dict[str, str]:
    with pytest.raises(Refused) as refused:
        clean(kind, "main", {"domain": "a.example.org", **given})
    return {one.parameter: one.code for one in refused.value.problems}


def cleaned(kind: Kind, **given: object) -> Cleaned:
    return clean(kind, "main", {"domain": "a.example.org", **given})


def test_a_folder_becomes_a_kind(shop: Kind) -> None:
    assert (shop.label, shop.main.label, shop.actions["restart"].privilege) == ("Shop", "Apply", "deploy")
    assert shop.main.privilege == "admin", "a privilege that nobody stated is the admin's"
    assert shop.main.parameters[0].key == "domain"
    assert shop.main.parameter("name") is None, "the resource's own name is no field"
    assert shop.url({"shop_domain": "a.example.org"}) == "https://a.example.org/"


def test_text_of_a_form_is_converted(shop: Kind) -> None:
    values = cleaned(shop, workers="8", debug="on", aliases="b.example.org\n c.example.org\n").values
    assert values == {"shop_domain": "a.example.org", "shop_workers": 8, "shop_debug": True,
                      "shop_aliases": ["b.example.org", "c.example.org"]}


def test_empty_means_not_given(shop: Kind) -> None:
    assert cleaned(shop, workers="", aliases=[], size=None).values == {"shop_domain": "a.example.org"}


@pytest.mark.parametrize("value", ["{{ lookup('pipe','touch CANARY') }}", "$(id)", "a'b\"c", "x\ny", "; }", "é😀",
                                   "yes", "0123", " lead ", "--x"])
def test_text_stays_text(shop: Kind, value: str) -> None:
    item = [{"name": "A", "value": value}]
    assert cleaned(shop, environment=item).values["shop_environment"] == item


def test_secrets_are_kept_apart(shop: Kind) -> None:
    result = cleaned(shop, password="s3cret", secrets=[{"name": "KEY", "value": None}])
    assert "s3cret" not in repr(result) and "shop_password" not in result.values
    assert result.secrets == {"shop_password": "s3cret", "shop_secrets": [{"name": "KEY", "value": None}]}


def test_every_problem_is_named_at_its_place(shop: Kind) -> None:
    assert problems(shop, domain="a.com; }", workers="many", size="huge", colour="red", aliases=["ok.example.org", "_"],
                    environment=[{"name": "LD_PRELOAD", "value": "x"}, {"value": "x"}, {"name": "A", "value": "x\0"}]
                    ) == {"domain": "invalid_domain", "workers": "invalid_type", "size": "invalid_choice",
                          "colour": "unknown_parameter", "aliases[1]": "invalid_domain",
                          "environment[0].name": "env_name_blocked", "environment[1].name": "required",
                          "environment[2].value": "nul_byte"}


@pytest.mark.parametrize(("given", "code"), [
    ({"size": True}, "invalid_type"), ({"size": {"a": 1}}, "invalid_type"), ({"workers": True}, "invalid_type"),
    ({"workers": 0}, "invalid_number"), ({"debug": 3}, "invalid_type"), ({"aliases": {"a": 1}}, "invalid_type"),
    ({"environment": [{"name": "A", "value": "x"}] * 2}, "duplicate_env"),
    ({"password": "x" * 33_000}, "value_too_long"), ({"aliases": ["a.example.org"] * 501}, "too_many")])
def test_refusals(shop: Kind, given: dict[str, object], code: str) -> None:
    assert code in problems(shop, **given).values()


def test_what_is_required_must_be_there(shop: Kind) -> None:
    with pytest.raises(Refused, match="Domain is needed"):
        clean(shop, "main", {})
    assert clean(shop, "main", {}, partial=True).values == {}


def test_an_edit_lies_over_what_was_there(shop: Kind) -> None:
    old = {"shop_workers": 4, "shop_size": "large"}
    assert overlay(shop.main, old, {"workers": "", "debug": True}) == {"shop_size": "large", "shop_debug": True}


def test_a_parameter_given_by_both_of_its_names_is_refused(shop: Kind) -> None:
    assert problems(shop, size="small", shop_size="large") == {"size": "duplicate_parameter"}


def test_a_secret_is_kept_by_its_name() -> None:
    old = {"k": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}], "p": "x"}
    new = {"k": [{"name": "A", "value": None}, {"name": "C", "value": "3"}, {"name": "D", "value": None}]}
    assert merge_secrets(old, new) == {"k": [{"name": "A", "value": "1"}, {"name": "C", "value": "3"}], "p": "x"}


def test_a_secret_is_taken_away_by_an_empty_list(shop: Kind) -> None:
    gone = clean(shop, "main", {"domain": "a.example.org", "password": []}, known_secrets={"shop_password": "x"})
    assert gone.secrets == {"shop_password": ""}
    assert merge_secrets({"shop_password": "x", "k": "y"}, gone.secrets) == {"k": "y"}


def test_an_empty_number_in_a_row_is_none_and_an_empty_text_is_one() -> None:
    kind = catalog().kind("django_app")
    given = {"repo": "https://git.example.org/a/b", "environment": [{"name": "QUIET", "value": ""}],
             "processes": [{"name": "worker", "count": "", "command": "celery -A shop worker"}]}
    values = clean(kind, "main", given).values
    assert values["django_app_processes"] == [{"name": "worker", "command": "celery -A shop worker"}]
    assert values["django_app_environment"] == [{"name": "QUIET", "value": ""}]


def test_a_part_follows_its_parent(shop: Kind) -> None:
    include = shop.includes[0]
    assert include.name("guestbook") == "guestbook-cert"
    assert part_values(shop, include, {"shop_domain": "a.example.org"}) == {
        "cert_domain": "a.example.org", "cert_size": "small", "cert_x": 1}
    assert part_values(shop, include, {}) is None


def test_a_broken_role_is_named_not_offered(tmp_path: Path) -> None:
    (tmp_path / "x" / "meta").mkdir(parents=True)
    (tmp_path / "x" / "meta" / "argument_specs.yml").write_text("argument_specs: {deploy: {}}")
    with pytest.raises(BrokenRole, match="no entry point 'main'"):
        read_kind(tmp_path / "x", tmp_path / "x.yml")


def test_no_role_of_this_repository_is_broken() -> None:
    assert catalog().broken == {}
