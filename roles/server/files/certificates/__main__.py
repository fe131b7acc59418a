#!/usr/bin/python3
# webops: certificates of this server. Asked by Ansible (JSON on stdin) and, to renew, by webops-cert-renew.timer.
"""Make, obtain, renew and remove the certificates below /etc/webops/certs."""

import json
import re
import shutil
import sys

import authority
from keys import check_own, self_signed
from machine import Refused, write
from pair import CERTIFICATES, Certificate, ask_nginx, essence, users_of

DOMAIN = re.compile(r"(?=.{1,253}\Z)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


def main():
    if sys.argv[1:] == ["renew"]:
        sys.exit(renew_all())
    wish = json.load(sys.stdin)
    try:
        certificate = Certificate(wish["name"])
        answer = STEPS[wish["step"]](certificate, wish)
    except Refused as refused:
        answer = {"failed": True, "msg": str(refused), "next": refused.next, "journal": refused.journal}
    json.dump(answer, sys.stdout)


def renew_all():
    """Whatever is due, or was asked for and not obtained yet. 1 where one could not be had."""
    failed = 0
    for path in sorted(CERTIFICATES.glob("*/settings.json")):
        certificate = Certificate(path.parent.name)
        try:
            if certificate.wanting() and certificate.settings()["source"] != "own":
                preflight(certificate, {"check": False})
                obtain(certificate, {"check": False})
                print(f"{certificate.name}: renewed, {certificate.in_words()}")
        except Refused as refused:
            print(f"{certificate.name}: {refused} {refused.next}", *refused.journal, sep="\n  ")
            failed = 1
    return failed


def deposit(certificate, wish):
    """Keep a person's own pair for `obtain`, which judges it. Apart, so that its judgement may be logged."""
    pair = {part: text.strip() + "\n" for part, text in wish["own"].items()}
    changed = pair != certificate.own()
    if changed and not wish["check"]:
        (certificate.home / "own").mkdir(mode=0o700, parents=True, exist_ok=True)
        for part, text in pair.items():
            write(certificate.home / "own" / f"{part}.pem", text, 0o600)
    return {"changed": changed}


def placeholder(certificate, wish):
    """Note what is wanted, with a certificate to begin with where there is none."""
    settings = checked(wish["settings"])
    changed = settings != certificate.settings() or not certificate.exists()
    if changed and not wish["check"]:
        certificate.home.mkdir(mode=0o755, parents=True, exist_ok=True)
        write(certificate.home / "settings.json", json.dumps(settings, indent=1, sort_keys=True) + "\n", 0o600)
        if not certificate.exists():
            certificate.install(*self_signed(settings["domains"]), issued={"source": "placeholder"})
    return {"changed": changed}


def checked(settings):
    bad = [domain for domain in settings["domains"] if not DOMAIN.fullmatch(domain)]
    if bad or not settings["domains"]:
        raise Refused(f"{(bad or [''])[0]!r} is no domain.", "Write full domains, such as shop.example.org.")
    if settings["source"] == "acme" and not settings.get("terms"):
        raise Refused("The terms of the certificate authority are not accepted.",
                      "Read them at the authority, set 'terms' to true (for Let's Encrypt: "
                      "https://letsencrypt.org/repository/), then apply again; or ask for a self-signed certificate.")
    return settings


def preflight(certificate, wish):
    """Ask in words what the authority will ask, where it will be asked."""
    settings = wish.get("settings") or certificate.settings()
    asked = settings.get("source") == "acme" and settings.get("preflight", True)
    if not asked or wish["check"] or not (certificate.wanting(settings) or wish.get("force")):
        return {"changed": False}
    names = settings["domains"]
    authority.ask_names(names)
    return {"changed": False, "summary": ", ".join(names) + (" leads here" if len(names) == 1 else " lead here")}


def obtain(certificate, wish):
    """Get the wanted certificate, if it is not there yet; `force` gets a new one in any case."""
    settings = wish.get("settings") or certificate.settings()
    if not certificate.wanting(settings) and not wish.get("force"):
        return {"changed": False, "summary": certificate.in_words()}
    if wish["check"]:
        return {"changed": True}
    if not settings:
        raise Refused(f"There is no certificate '{certificate.name}' on this server.", "Apply it first.")
    certificate.install(*make(certificate, settings), issued=essence(settings))
    return {"changed": True, "summary": certificate.in_words()}


def make(certificate, settings):
    if settings["source"] == "acme":
        # An authority counts what it issues (Let's Encrypt: 5 a week for the same names); one that nginx could not
        # take up would be asked for again every hour.
        if users_of(certificate.name):
            ask_nginx("nginx does not accept its configuration, so no certificate was asked for; the old one stays.",
                      f"Correct what it says below, then apply again. {authority.LATER}")
        return authority.issue(certificate.name, settings)
    if settings["source"] == "own":
        own = certificate.own()
        check_own(own, settings["domains"])
        return own["certificate"], own["key"]
    return self_signed(settings["domains"])


def remove(certificate, wish):
    """Take the certificate away, and certbot's own files with the last one from an authority."""
    used = users_of(certificate.name)
    # In a rehearsal the virtual host of the same parent is still there; `force` says that it goes first.
    if used and not (wish["check"] and wish["force"]):
        raise Refused(f"The certificate '{certificate.name}' is used by {used[0]}.",
                      "Remove that virtual host first, then the certificate.")
    changed = certificate.home.exists()
    if changed and not wish["check"]:
        authority.forget(certificate.name)
        shutil.rmtree(certificate.home)
    return {"changed": changed}


STEPS = {"deposit": deposit, "placeholder": placeholder, "preflight": preflight, "obtain": obtain, "remove": remove}

if __name__ == "__main__":
    main()
