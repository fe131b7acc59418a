# webops
"""The certificate authority: what it will ask is asked here first, in words; then certbot answers it."""

import http.client
import os
import re
import secrets
import shutil
import socket
from pathlib import Path

from machine import Refused, lock, run, telling, write

WEBROOT = Path("/var/lib/webops/acme")
CERTBOT = Path("/var/lib/webops/certbot")
LATER = "Until then the site is served with the certificate it has, and this server tries again every hour."


def ask_names(domains):
    """Does every name lead here, and does port 80 answer? Raises Refused, naming the one that does not."""
    token = "webops-" + secrets.token_hex(16)
    path = WEBROOT / ".well-known/acme-challenge" / token
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, token, 0o644)
    try:
        for domain in domains:
            for address in addresses(domain):
                visit(domain, address, token)
    finally:
        path.unlink()


def addresses(domain):
    try:
        found = socket.getaddrinfo(domain, 80, type=socket.SOCK_STREAM)
    except socket.gaierror:
        raise Refused(f"{domain} has no address in DNS.",
                      f"Let {domain} point to this server ({' or '.join(own_addresses())}) where your domain is "
                      f"managed, wait until it is known, then apply again. {LATER}") from None
    return sorted({entry[4][0] for entry in found})


def visit(domain, address, token):
    point_here = f"Let {domain} point to this server ({' or '.join(own_addresses())}), then apply again. {LATER}"
    connection = http.client.HTTPConnection(address, 80, timeout=8)
    try:
        connection.request("GET", f"/.well-known/acme-challenge/{token}", headers={"Host": domain})
        answer = connection.getresponse().read(len(token) + 1)
    except (OSError, http.client.HTTPException) as error:
        raise Refused(f"{domain} leads to {address}, where nothing answers on port 80 ({error}).",
                      f"Open port 80 of this server in its firewall, or: {point_here}") from None
    finally:
        connection.close()
    if answer != token.encode():
        raise Refused(f"{domain} leads to {address}, and another server answers there.",
                      f"{point_here} Where this server cannot see itself from outside, switch the preflight off.")


def own_addresses():
    ended = run(["ip", "-o", "addr", "show", "scope", "global"])
    return re.findall(r"\binet6? ([0-9a-f.:]+)/", ended.stdout) or ["its address"]


def issue(name, settings):
    """Let certbot answer the challenge from the webroot that every vhost of ours serves."""
    argv = ["certbot", "certonly", "--non-interactive", "--agree-tos", "--webroot", f"--webroot-path={WEBROOT}",
            f"--server={settings['directory']}", f"--cert-name={name}", "--force-renewal",
            "--renew-with-new-domains", "--no-directory-hooks", "--key-type=ecdsa", "--max-log-backups=3",
            *(f"--{kind}-dir={CERTBOT / kind}" for kind in ("config", "work", "logs")),
            *(f"--domain={domain}" for domain in settings["domains"])]
    argv += [f"--email={settings['email']}"] if settings.get("email") else ["--register-unsafely-without-email"]
    extra = {"REQUESTS_CA_BUNDLE": settings["ca_bundle"]} if settings.get("ca_bundle") else {}
    CERTBOT.mkdir(mode=0o700, parents=True, exist_ok=True)
    with lock("certbot"):
        ended = run(argv, env={**os.environ, **extra})
    if ended.returncode:
        raise Refused(f"The certificate authority gave no certificate for {', '.join(settings['domains'])}.",
                      f"Correct what it says below, then apply again. {LATER}", telling(ended))
    live = CERTBOT / "config/live" / name
    return (live / "fullchain.pem").read_text(), (live / "privkey.pem").read_text()


def forget(name):
    config = CERTBOT / "config"
    (config / "renewal" / f"{name}.conf").unlink(missing_ok=True)
    for folder in ("live", "archive"):
        shutil.rmtree(config / folder / name, ignore_errors=True)
    if not list(config.glob("renewal/*.conf")):
        shutil.rmtree(CERTBOT, ignore_errors=True)
