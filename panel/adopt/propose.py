"""What a site that was found could become: kinds with the values that let it be served as it is."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from panel.adopt import apps, sites, vhost
from panel.catalog import formats

Values = dict[str, Any]
_CERTIFICATE = "-cert"


@dataclass
class Wish:
    """A resource that would be written down; `given` by short name, secrets among them.

    `suffix`: what its name has behind the one that is chosen.
    """

    kind: str
    given: Values
    suffix: str = ""


@dataclass
class Proposal:
    """One kind that a site could become, with the resources that come of it, in the order to apply them."""

    kind: str
    #: Offered; "" where none comes of the domain.
    name: str
    why: str
    wishes: list[Wish]
    #: What the person's own files say and these values do not.
    left_out: list[str] = field(default_factory=list)


@dataclass
class Found:
    """A site, what it could become, or why it cannot."""

    site: sites.Site
    serves: str
    certificate: str
    proposals: list[Proposal]
    refused: list[str]

    def proposal(self, kind: str) -> Proposal | None:
        """The one of this kind; without a kind the first, which is served just as it is."""
        return next((one for one in self.proposals if kind in ("", one.kind)), None)


def read(found: Mapping[str, Any], python: str = "") -> list[Found]:
    """All sites of a survey. `python`: version of the server's own. Unreadable: nginx would not print this."""
    return [_found(found, site, python) for site in sites.read(found["nginx"])]


def name_for(domain: str) -> str:
    """A name for a resource of this domain; "" where none comes of it."""
    labels = [label for label in domain.split(".") if label != "www"]
    name = re.sub(r"-+", "-", re.sub(r"[^a-z0-9-]", "-", labels[0] if labels else ""))[:20].strip("-")
    return "" if formats.problem("name", name) else name


def named(proposal: Proposal, name: str) -> list[tuple[str, str, Values]]:
    """(kind, name, values) of its resources under this name."""
    own = {"certificate": f"{name}{_CERTIFICATE}"} if len(proposal.wishes) > 1 else {}
    return [(one.kind, name + one.suffix, one.given if one.suffix else {**one.given, **own})
            for one in proposal.wishes]


def _found(found: Mapping[str, Any], site: sites.Site, python: str) -> Found:
    reading = vhost.read(site)
    pair, said = _pair(found, reading)
    if reading.certificate and pair is None:
        reading.refused.append(said)
    upstream = reading.values.get("upstream", "")
    service = apps.service_of(found, upstream) if upstream else None
    serves = f"{upstream} ({service['unit']})" if service else upstream or ", ".join(reading.values.get("roots", []))
    proposals = [] if reading.refused else list(_proposals(found, site, reading, pair, service, python))
    return Found(site, serves, said if pair else "", proposals, reading.refused)


def _proposals(found: Mapping[str, Any], site: sites.Site, reading: vhost.Reading, pair: tuple[str, str] | None,
               service: Mapping[str, Any] | None, python: str) -> Iterator[Proposal]:
    name, values = name_for(site.domain), reading.values
    certificate = [Wish("ssl_cert", {"domain": site.domain, "aliases": values.get("aliases", []), "source": "own",
                                     "certificate": pair[0], "key": pair[1]}, _CERTIFICATE)] if pair else []
    what = f"the files of {values['roots'][0]}" if "roots" in values else f"what answers at {values['upstream']}"
    yield Proposal("nginx_vhost", name, f"Serves {what}; only nginx's file becomes WebOps'.",
                   [*certificate, Wish("nginx_vhost", values)], reading.left_out)
    own = {"replaces": site.files, **_certificate_values(pair)}
    app = apps.django(found, service, reading, python) if service else None
    if app and service:
        given, left_out = app
        why = (f"{service['unit']} runs manage.py of {given['repo']}: built and started anew beside it, then the "
               "domain changes over. Its database stays where it is.")
        wish = Wish("django_app", {**given, **own})
        yield Proposal("django_app", name, why, [wish], [*left_out, *_beyond(reading, pair, ("/static/", "/media/"))])
    root = values.get("roots", [""])[0]
    at = apps.source(found, root) if root else None
    if at:
        given = {"repo": at["repo"], "ref": at["ref"], "directory": at["within"], "domain": site.domain,
                 "aliases": values.get("aliases", []), "single_page": values.get("single_page", False), **own}
        yield Proposal("static_site", name, f"{root} is a checkout of {at['repo']}: deployed from there from now on.",
                       [Wish("static_site", given)], _beyond(reading, pair, ()))


def _certificate_values(pair: tuple[str, str] | None) -> Values:
    if pair is None:
        return {"certificate": "self_signed"}
    return {"certificate": "own", "certificate_chain": pair[0], "certificate_key": pair[1]}


def _beyond(reading: vhost.Reading, pair: tuple[str, str] | None, own_paths: tuple[str, ...]) -> list[str]:
    """What a virtual host could say, and one that comes with an app or a site does not."""
    values = reading.values
    lost = [] if pair else ["plain HTTP: it becomes HTTPS with a certificate made on the server. For one that browsers "
                            "trust choose acme and accept the authority's terms"]
    if values.get("redirect_http") is False:
        lost.append("plain HTTP beside HTTPS: visitors are sent on to HTTPS")
    if values.get("redirect_aliases") is False:
        lost.append(f"{', '.join(values['aliases'])}: visitors are sent on to {values['domain']}")
    lost += [f"the header {one['name']}: {one['value']}" for one in values.get("headers", [])]
    lost += [f"{one['location']} from {one['directories'][0]}" for one in values.get("static", [])
             if one["location"] not in own_paths]
    return [*lost, *reading.left_out]


def _pair(found: Mapping[str, Any], reading: vhost.Reading) -> tuple[tuple[str, str] | None, str]:
    """Certificate and key as PEM, and what is to be known of them; or None and why not."""
    if reading.certificate is None:
        return None, ""
    path, key_path = reading.certificate
    chain, key = (found["files"].get(one, "") for one in reading.certificate)
    if formats.problem("pem", chain) or formats.problem("pem", key) or "PRIVATE KEY" not in key:
        return None, f"Its certificate cannot be used: {path} and {key_path} are not both there as plain PEM files."
    try:
        until = x509.load_pem_x509_certificate(chain.encode()).not_valid_after_utc
    except (ValueError, UnsupportedAlgorithm):
        return None, f"Its certificate cannot be used: {path} holds none that can be read."
    if until < datetime.now(UTC):
        return None, f"Its certificate in {path} ran out on {until:%Y-%m-%d}. Renew it there first."
    words = f"{path}, until {until:%Y-%m-%d}"
    if path.startswith("/etc/letsencrypt/"):
        words += "; taken along as it is, so change its source to acme before that day"
    return (chain, key), words
