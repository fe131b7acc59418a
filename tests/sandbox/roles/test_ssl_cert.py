"""Certificates from a real ACME server, self-signed and brought along, and what happens when they cannot be had."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sandbox.acme import NAME, Acme
from sandbox.suite import Sandbox
from tests.sandbox.roles.conftest import Ready, boot
from tests.sandbox.roles.cycle import cycle

pytestmark = pytest.mark.sandbox
DOMAIN, ALIAS = "shop.example.org", "www.shop.example.org"
HOME = "/etc/webops/certs"


@pytest.fixture(scope="module")
def acme(box: Sandbox) -> Acme:
    return box.acme()


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def ready(request: pytest.FixtureRequest, box: Sandbox, acme: Acme,
          tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ready]:
    """A ready server that trusts the ACME server's own certificate, and finds it by name."""
    one = boot(box, f"cert-{request.param}", request.param, tmp_path_factory.mktemp("play"), trust=[acme.trust])
    box.add_hosts(one.server, {NAME: box.gateway(), DOMAIN: one.server.address, ALIAS: one.server.address})
    for domain in (DOMAIN, ALIAS):
        box.point(domain, one.server)
    yield one
    box.down(one.server)


def wish(acme: Acme, **other: Any) -> dict[str, Any]:
    values = {"domain": DOMAIN, "aliases": [ALIAS], "terms": True, "email": "ops@example.org",
              "acme_directory": acme.directory, "ca_bundle": "/etc/ssl/certs/ca-certificates.crt"}
    return {f"ssl_cert_{key}": value for key, value in (values | other).items()}


def shown(ready: Ready, name: str, *what: str) -> str:
    return ready.run("openssl", "x509", "-in", f"{HOME}/{name}/fullchain.pem", "-noout", *what)


def serve(ready: Ready, name: str) -> None:
    """A vhost with the certificate, on a directory that is always there."""
    served = ready.play("nginx_vhost", "site", {"nginx_vhost_domain": DOMAIN, "nginx_vhost_certificate": name,
                                                "nginx_vhost_roots": ["/usr/share/doc/nginx"]})
    assert served.code == 0, served.words()


def served_serial(ready: Ready) -> str:
    script = ('echo | openssl s_client -connect 127.0.0.1:443 -servername "$1" 2>/dev/null '
              "| openssl x509 -noout -serial")
    return ready.run("sh", "-c", script, "sh", DOMAIN).strip()


@pytest.mark.every_release
def test_life_with_an_authority(ready: Ready, acme: Acme) -> None:
    def works() -> None:
        names = shown(ready, "shop-cert", "-ext", "subjectAltName")
        assert f"DNS:{DOMAIN}" in names and f"DNS:{ALIAS}" in names
        ready.run("tee", "/tmp/root.pem", text=acme.root.read_text())
        chain = f"{HOME}/shop-cert/fullchain.pem"
        ready.run("openssl", "verify", "-CAfile", "/tmp/root.pem", "-untrusted", chain, chain)
        assert ready.run("stat", "-Lc", "%a %U", f"{HOME}/shop-cert/privkey.pem").strip() == "600 root"
        assert ready.run("systemctl", "is-active", "webops-cert-renew.timer").strip() == "active"

    cycle(ready, "ssl_cert", "shop-cert", wish(acme), works=works, by_hand=(
        f"cp --remove-destination /etc/webops/certs/default/fullchain.pem {HOME}/shop-cert/fullchain.pem; "
        f"chmod 644 {HOME}/shop-cert/privkey.pem"))


def test_renewal_reaches_visitors_and_a_broken_nginx_keeps_the_old(ready: Ready, acme: Acme) -> None:
    assert ready.play("ssl_cert", "shop-cert", wish(acme)).code == 0
    serve(ready, "shop-cert")
    first = served_serial(ready)
    assert ready.play("ssl_cert", "shop-cert", {}, action="renew").code == 0
    second = served_serial(ready)
    assert first != second != ""
    issued = ready.run("ls", "/var/lib/webops/certbot/config/archive/shop-cert")
    ready.run("tee", "/etc/nginx/sites-enabled/broken", text="server { nonsense on; }\n")
    failed = ready.play("ssl_cert", "shop-cert", {}, action="renew")
    ready.run("rm", "/etc/nginx/sites-enabled/broken")
    assert "nginx does not accept its configuration, so no certificate was asked for; the old one stays" \
        in failed.words()
    assert "nonsense" in failed.words()
    assert ready.run("ls", "/var/lib/webops/certbot/config/archive/shop-cert") == issued
    ready.run("systemctl", "reload", "nginx")
    assert served_serial(ready) == second
    used = ready.play("ssl_cert", "shop-cert", {}, action="remove")
    assert "is used by the virtual host 'site'" in used.words()
    ready.play("nginx_vhost", "site", {}, action="remove")
    ready.play("ssl_cert", "shop-cert", {}, action="remove")


def test_a_name_that_leads_nowhere_is_named_and_tried_again(ready: Ready, acme: Acme, box: Sandbox) -> None:
    lost = "lost.example.org"
    box.point(lost, None)
    failed = ready.play("ssl_cert", "lost-cert", wish(acme, domain=lost, aliases=[]))
    assert failed.failed == "Ask whether the domains lead here, as the authority will"
    assert f"{lost} has no address in DNS" in failed.words() and ready.server.address in failed.words()
    assert "WebOps self-signed" in shown(ready, "lost-cert", "-issuer")
    # The name now leads to a machine where nothing listens, then to this one: the timer's own service sees it.
    box.add_hosts(ready.server, {lost: box.gateway()})
    nobody = ready.play("ssl_cert", "lost-cert", wish(acme, domain=lost, aliases=[]))
    assert f"{lost} leads to {box.gateway()}" in nobody.words()
    ready.run("sed", "-i", f"/{lost}/d", "/etc/hosts")
    box.add_hosts(ready.server, {lost: ready.server.address})
    refused = ready.play("ssl_cert", "lost-cert", wish(acme, domain=lost, aliases=[]))
    assert refused.failed == "Get the certificate", refused.output
    assert "The certificate authority gave no certificate for lost.example.org" in refused.words()
    assert "tries again every hour" in refused.words()
    box.point(lost, ready.server)
    ready.run("systemctl", "start", "webops-cert-renew.service")
    assert "Pebble" in shown(ready, "lost-cert", "-issuer")
    assert ready.play("ssl_cert", "lost-cert", wish(acme, domain=lost, aliases=[])).changed == []
    ready.play("ssl_cert", "lost-cert", {}, action="remove")


def pair(domain: str, days: int = 90) -> tuple[str, str]:
    """A certificate and its key, PEM; with negative days one that ended."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, domain)])
    now = datetime.now(UTC)
    certificate = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
                   .serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(days=100))
                   .not_valid_after(now + timedelta(days=days))
                   .add_extension(x509.SubjectAlternativeName([x509.DNSName(domain)]), critical=False)
                   .sign(key, hashes.SHA256()))
    secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                               serialization.NoEncryption())
    return certificate.public_bytes(serialization.Encoding.PEM).decode(), secret.decode()


def test_a_certificate_of_ones_own_is_judged_first(ready: Ready) -> None:
    chain, key = pair(DOMAIN)
    _other, wrong_key = pair(DOMAIN)
    foreign, foreign_key = pair("elsewhere.example.org")
    old, old_key = pair(DOMAIN, -1)
    mine = {"ssl_cert_domain": DOMAIN, "ssl_cert_source": "own"}
    good = mine | {"ssl_cert_certificate": chain, "ssl_cert_key": key}
    assert ready.play("ssl_cert", "own-cert", good).code == 0
    fingerprint = shown(ready, "own-cert", "-fingerprint")
    assert ready.play("ssl_cert", "own-cert", good).changed == []
    for bad_chain, bad_key, words in ((chain, wrong_key, "The key does not belong to the certificate"),
                                      (foreign, foreign_key, f"does not cover {DOMAIN}"),
                                      (old, old_key, "The certificate expired on")):
        refused = ready.play("ssl_cert", "own-cert",
                             mine | {"ssl_cert_certificate": bad_chain, "ssl_cert_key": bad_key})
        assert refused.failed and words in refused.words(), refused.output
        assert bad_key.splitlines()[1] not in refused.output
        assert shown(ready, "own-cert", "-fingerprint") == fingerprint
    ready.play("ssl_cert", "own-cert", {}, action="remove")


def test_refused_in_words(ready: Ready, acme: Acme) -> None:
    for other, words in (({"terms": False}, "The terms of the certificate authority are not accepted"),
                         ({"domain": "{{ lookup('pipe','touch /tmp/CANARY') }}"}, "Write one full domain"),
                         ({"aliases": ["a.com; } server {"]}, "Write one full domain"),
                         ({"email": "-x@example.org"}, "Write an e-mail address"),
                         ({"ca_bundle": "../../etc/passwd"}, "Write a full path"),
                         ({"acme_directory": "file:///etc/passwd"}, "Write a full https:// address")):
        refused = ready.play("ssl_cert", "bad-cert", wish(acme, **other))
        assert refused.failed and words in refused.words(), refused.output
