"""What a certificate says, read here and not on the server: its Python has no parser for one."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from cryptography import x509
from cryptography.x509.oid import NameOID

from panel.link.plain import plain


@dataclass(frozen=True)
class Certificate:
    until: datetime
    lifetime: timedelta
    #: Who signed it, "self-signed" where nobody did.
    issuer: str
    names: tuple[str, ...]

    def shown(self) -> dict[str, Any]:
        return {"until": self.until.isoformat(), "issuer": self.issuer, "names": list(self.names)}


@lru_cache(maxsize=1000)
def read(der: str) -> Certificate | None:
    """The certificate in a base64 DER text; None: it is none."""
    try:
        found = x509.load_der_x509_certificate(base64.b64decode(der, validate=True))
        return Certificate(found.not_valid_after_utc, found.not_valid_after_utc - found.not_valid_before_utc,
                           _issuer(found), _names(found))
    except (ValueError, binascii.Error, x509.InvalidVersion):
        return None


def _issuer(found: x509.Certificate) -> str:
    if found.issuer == found.subject:
        return "self-signed"
    for oid in (NameOID.ORGANIZATION_NAME, NameOID.COMMON_NAME):
        parts = found.issuer.get_attributes_for_oid(oid)
        if parts:
            return plain(parts[0].value, 100)
    return "unnamed issuer"


def _names(found: x509.Certificate) -> tuple[str, ...]:
    try:
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return ()
    return tuple(plain(one, 253) for one in names.get_values_for_type(x509.DNSName)[:100])
