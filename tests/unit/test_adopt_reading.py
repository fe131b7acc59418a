"""What is read of servers that people set up by hand: what it becomes, what is said to be lost, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import crossplane
import pytest

from panel.adopt import apps, nginx, propose
from panel.catalog import catalog, clean
from tests.surveyed import PROXIED, SECRETS, SHOP, STATIC, dump, survey

FILES = {"main": "a b \"c d;\" 'e{f' g\\;h ${x}y $a; # not b;\nhttp { server { } }",
         "regex": r'location ~ "^/[a-z]{2}/(.*)\.php$" { rewrite ^/(.*)$ /$1?a=b last; }',
         "quotes": 'log_format x \'$a "$b" {\' "q\\"r"; map $h $u { default ""; "~*x" \'y z\'; }',
         "if": 'server { if ($host = a.org) { return 301 https://$host$request_uri; } # c\n listen 80; }'}


def found(text: str, **more: Any) -> propose.Found:
    """The one site of a server that serves this."""
    sites = propose.read(survey(dump(site=text), **more), "3.11.2")
    assert len(sites) == 1
    return sites[0]


def values(one: propose.Found, kind: str = "nginx_vhost") -> dict[str, Any]:
    """What the proposal of this kind writes down, as the catalog takes it, without empty values."""
    proposal = one.proposal(kind)
    assert proposal, one.refused
    for its_kind, _name, given in propose.named(proposal, "it"):
        cleaned = clean(catalog().kind(its_kind), "main", given)
        result = {name.removeprefix(f"{its_kind}_"): value
                  for name, value in {**cleaned.values, **cleaned.secrets}.items()}
    return result


@pytest.mark.parametrize("text", FILES.values(), ids=FILES)
def test_nginx_is_read_as_its_own_makers_read_it(text: str, tmp_path: Path) -> None:
    (tmp_path / "nginx.conf").write_text(text)
    theirs = crossplane.parse(str(tmp_path / "nginx.conf"), single=True, check_ctx=False, check_args=False)
    assert theirs["status"] == "ok"

    def ours(directives: list[nginx.Directive]) -> list[Any]:
        return [[one.name, [arg for arg in one.args if one.name != "if"], ours(one.block or [])] for one in directives]

    def of(parsed: list[dict[str, Any]]) -> list[Any]:
        return [[one["directive"], [arg for arg in one["args"] if one["directive"] != "if"], of(one.get("block", []))]
                for one in parsed]

    assert ours(nginx.parse(text, "f")) == of(theirs["config"][0]["parsed"])


@pytest.mark.parametrize("text", ['a "b', "a {", "}", "a b", "{" * 99, "a; }", "server { listen 80 }"])
def test_half_a_configuration_is_told_and_not_guessed(text: str) -> None:
    with pytest.raises(nginx.Unreadable, match="/etc/nginx/sites-enabled/site"):
        propose.read(survey(dump(site=text)))


def test_a_static_site_becomes_a_virtual_host_that_serves_the_same() -> None:
    one = found(STATIC)
    assert (one.site.domain, one.serves, one.certificate) == ("docs.example.org", "/var/www/docs", "")
    assert [proposal.kind for proposal in one.proposals] == ["nginx_vhost"] and one.proposals[0].left_out == []
    assert values(one) == {
        "domain": "docs.example.org", "aliases": ["www.docs.example.org"], "redirect_aliases": False,
        "roots": ["/var/www/docs"], "max_body_size": "8M", "security_headers": False,
        "static": [{"location": "/assets/", "directories": ["/var/www/docs/assets"], "cache": 2592000}],
        "replaces": ["/etc/nginx/sites-enabled/site"]}


def test_an_app_behind_a_socket_keeps_its_certificate_its_files_and_its_limits() -> None:
    one = found(PROXIED)
    assert one.serves == "unix:/run/shop/gunicorn.sock (shop.service)"
    assert "/etc/letsencrypt/live/shop.example.org/fullchain.pem, until 2" in one.certificate
    assert "acme" in one.certificate
    assert one.proposals[0].left_out == []
    got = values(one)
    assert got == {
        "domain": "shop.example.org", "aliases": ["www.shop.example.org"], "redirect_aliases": True,
        "certificate": "it-cert", "redirect_http": True, "upstream": "unix:/run/shop/gunicorn.sock", "timeout": 120,
        "max_body_size": "50M", "security_headers": False,
        "headers": [{"name": "X-Robots-Tag", "value": "noindex; nofollow"}],
        "static": [{"location": "/static/", "directories": ["/srv/shop/static"], "cache": 31536000},
                   {"location": "/media/", "directories": ["/srv/shop/media"], "cache": 0}],
        "replaces": ["/etc/nginx/sites-enabled/site"]}
    kinds = [kind for kind, _name, _given in propose.named(one.proposals[0], "it")]
    assert kinds == ["ssl_cert", "nginx_vhost"]  # nginx cannot start with a certificate that is still to come


def test_a_django_app_is_proposed_from_its_process_and_its_checkout() -> None:
    got = values(found(PROXIED), "django_app")
    secrets = {one["name"]: one["value"] for one in got.pop("secrets")}
    assert secrets == {**SECRETS, "EMAIL_URL": "smtp://u:p@mail", "GREETING": "dear reader", "QUEUE": "redis://:pw@h"}
    shown = {one["name"]: one["value"] for one in got.pop("environment")}
    assert shown == {"DEBUG": "false", "LEVEL": "4", "PATH_INFO_MODE": "on"}  # the process itself has the last word
    assert got.pop("certificate_chain").startswith("-----BEGIN") and "PRIVATE KEY" in got.pop("certificate_key")
    assert got == {
        "repo": "https://git.example.org/ada/shop.git", "ref": "main", "domain": "shop.example.org",
        "aliases": ["www.shop.example.org"], "database": False, "wsgi": "shop.wsgi:application", "workers": 3,
        "settings": "shop.settings", "python": "3.12", "upload_size": "50M", "request_timeout": 120,
        "certificate": "own", "replaces": ["/etc/nginx/sites-enabled/site"]}
    left_out = found(PROXIED).proposal("django_app").left_out  # type: ignore[union-attr]
    assert any("uploaded files in /srv/shop/media" in one for one in left_out)
    assert any("STATIC_ROOT=/srv/shop/static" in one for one in left_out)
    assert "the header X-Robots-Tag: noindex; nofollow" in left_out  # a virtual host alone can say it, an app's cannot


def test_a_token_in_an_origin_is_not_taken_along() -> None:
    assert "ghp_token" not in str(values(found(PROXIED), "django_app"))


def test_a_directory_that_is_a_checkout_can_be_deployed_from_there() -> None:
    checkout = {"/var/www/docs": {"place": "/var/www/docs", "within": ".", "head": "ref: refs/heads/v2\n",
                                  "config": '[remote "origin"]\n\turl = git@git.example.org:ada/docs.git\n'}}
    got = values(found(STATIC, repositories=checkout), "static_site")
    assert (got["repo"], got["ref"], got["replaces"]) == (
        "git@git.example.org:ada/docs.git", "v2", ["/etc/nginx/sites-enabled/site"])
    left_out = found(STATIC, repositories=checkout).proposal("static_site").left_out  # type: ignore[union-attr]
    assert [one.split()[0] for one in left_out] == ["plain", "www.docs.example.org:", "/assets/"]


@pytest.mark.parametrize(("inside", "words"), [
    ("auth_basic 'staff'; root /srv/x;", "keeps somebody out"),
    ("root /srv/x; location /admin { allow 192.0.2.1; deny all; }", "keeps somebody out"),
    (r"root /srv/x; location ~ /\.ht { deny all; }", "keeps somebody out"),
    ("location / { fastcgi_pass unix:/run/php.sock; }", "another protocol"),
    ("location / { proxy_pass http://127.0.0.1:8000/app/; }", "as they are"),
    ("location / { proxy_pass https://127.0.0.1:8000; }", "as they are"),
    ("location / { proxy_pass http://$backend; }", "as they are"),
    ("location / { proxy_pass http://many; }", "among 2 servers"),
    ("root '/srv/x; } server { listen 81; }';", "no directory that can be named"),
    ("listen 8080; root /srv/x;", "ports 80 and 443"),
    ("server_name *.example.org; root /srv/x;", "whole domains only"),
    ("server_name '~^(.+)$'; root /srv/x;", "whole domains only"),
    ("listen 443 ssl; ssl_certificate /gone.pem; ssl_certificate_key /gone.key; root /srv/x;", "cannot be used"),
    ("return 301 https://elsewhere.example.org;", "send visitors on"),
])
def test_what_cannot_be_said_in_values_is_refused_in_words(inside: str, words: str) -> None:
    one = found("upstream many { server a:1; server b:1; } server { server_name a.example.org; " + inside + " }")
    assert one.proposals == [] and words in " ".join(one.refused)


@pytest.mark.parametrize(("inside", "lost"), [
    ("root /srv/x; autoindex on;", "autoindex on"),
    ("root /srv/x; rewrite ^/old$ /new permanent;", "rewrite ^/old$ /new permanent"),
    (r"root /srv/x; location ~* \.(css|js)$ { expires 7d; }", r"location ~* \.(css|js)$: expires 7d"),
    ("root /srv/x; location /api/ { proxy_pass http://127.0.0.1:9000; }", "location /api/: proxy_pass"),
    ("location / { proxy_pass http://127.0.0.1:8000; proxy_buffering off; }", "proxy_buffering off"),
    ("location / { proxy_pass http://127.0.0.1:8000; proxy_set_header X-User $u; }", "would not get this header"),
    ("location / { proxy_pass http://127.0.0.1:8000; location /x { limit_req zone=a; } }", "location /x"),
    ("root /srv/x; location / { try_files $uri @app; } location @app { proxy_pass http://127.0.0.1:8000; }",
     "Files beside the application"),
    ('root /srv/x; add_header Set-Cookie "a=$cookie_a";', "add_header Set-Cookie"),
])
def test_what_would_no_longer_hold_is_named(inside: str, lost: str) -> None:
    one = found("server { server_name a.example.org; " + inside + " }")
    assert len(one.proposals) == 1 and lost in " ".join(one.proposals[0].left_out), one


def test_a_file_of_several_sites_is_not_replaced_and_ours_are_not_found() -> None:
    both = "server { server_name a.example.org; root /a; } server { server_name b.example.org; root /b; }"
    sites = propose.read(survey(dump(site=both, wo_shop_conf=f"# webops: shop\n{STATIC}")))
    assert [one.site.domain for one in sites] == ["a.example.org", "b.example.org"]
    assert all("file of its own" in " ".join(one.refused) and not one.proposals for one in sites)
    inside = "# configuration file /etc/nginx/nginx.conf:\nhttp { " + STATIC + " }"
    inline = propose.read({**survey(""), "nginx": inside})
    assert "only files of /etc/nginx/conf.d" in " ".join(inline[0].refused)
    assert propose.read({**survey(""), "nginx": ""}) == []


def test_hostile_names_and_values_stay_text_or_are_refused() -> None:
    service = {**SHOP, "environment": ["A=1\nB=2", "LD_PRELOAD=/tmp/x.so", "BAD-NAME=1", "SECRET_KEY={{ 1 + 1 }}",
                                       "NO SIGN"], "command": ["--config=evil", "; rm -rf / .wsgi", "-w", "999"],
               "files": {"manage.py": "x", "pyvenv.cfg": "version = $(id)"}}
    checkout = {"/srv/shop/app": {"place": "/srv/shop/app", "within": "../..",
                                  "head": "ref: refs/heads/--upload-pack=x",
                                  "config": '[remote "origin"]\n\turl = ext::sh -c id\n'}}
    assert found(PROXIED, services=[service], repositories=checkout).proposal("django_app") is None
    got = values(found(PROXIED, services=[service]), "django_app")
    assert {one["name"]: one["value"] for one in got["secrets"]} == {
        "A": "1\nB=2", "SECRET_KEY": "{{ 1 + 1 }}", "GREETING": "dear reader"}
    assert not {"wsgi", "workers", "python"} & set(got)
    for origin in ("--upload-pack=touch /tmp/x", "file:///etc", "ssh://-oProxyCommand=x/y", "/srv/shop/bare.git"):
        assert apps.source({"repositories": {"/d": {**checkout["/srv/shop/app"], "within": ".", "head": "main\n",
                                                    "config": f'[remote "origin"]\n\turl = {origin}\n'}}}, "/d") is None
