"""Deploy keys: made before a resource is applied, kept with its other secrets, shown by their public half alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from sqlalchemy import select
from sqlalchemy.orm import Session

from panel.catalog import Kind, NoSuchKind, Parameter, Problem, Refused, catalog
from panel.catalog.formats import public_half
from panel.runs import parts, resources
from panel.runs.errors import Unknown
from panel.store.models import Resource
from panel.store.seal import SecretContextError

FORMAT = "deploy_key"


class Made(NamedTuple):
    """A new key: `parameter` by full name, `public` the line to add where the repository is."""

    resource: Resource
    parameter: str
    public: str


def make(session: Session, *, name: str, kind: str = "", where: str = "", parameter: str = "",
         given: Mapping[str, Any] | None = None) -> Made:
    """Make a key for a resource, which need not be there yet: it is written down then, with its values so far.

    COMMITS. A key that it had is gone. Refused, RunsError: nothing was stored.
    """
    row = session.scalar(select(Resource).where(Resource.name == name))
    if row is None and not (kind and where):
        raise Unknown(f"There is no resource '{name}' yet. To make its key first, say its kind and where it lives.")
    wish = _kind(kind or (row.kind if row else ""))
    one = _parameter(wish, parameter)
    private = pair()
    row = resources.keep(session, kind=wish.name, name=name, where=where or (row.where if row else ""), given=given,
                         secrets={one.name: private})
    return Made(row, one.name, public_line(private, name))


def pair() -> str:
    """A new private key, from which its public half can be read."""
    key = Ed25519PrivateKey.generate()
    return key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()


def public_line(private: str, name: str) -> str:
    """The public half as it is added where the repository is; empty where this is no key."""
    half = public_half(private)
    return f"{half} webops-{name}" if half else ""


def public(kind: Kind | None, name: str, secrets: Mapping[str, Any]) -> dict[str, str]:
    """The public halves of the keys among these secrets, by full name of their parameter."""
    found = {one.name: public_line(str(secrets.get(one.name) or ""), name) for one in _keys(kind)}
    return {parameter: line for parameter, line in found.items() if line}


def public_of(resource: Resource, kind: Kind | None) -> dict[str, str]:
    """The same of a resource; none where its secrets cannot be opened."""
    try:
        return public(kind, resource.name, parts.secrets_of(resource) if list(_keys(kind)) else {})
    except SecretContextError:
        return {}


def _keys(kind: Kind | None) -> list[Parameter]:
    return [one for one in kind.main.parameters if one.format == FORMAT] if kind else []


def _kind(name: str) -> Kind:
    try:
        return catalog().kind(name)
    except NoSuchKind as wrong:
        raise Unknown(str(wrong)) from wrong


def parameter_of(kind: Kind, name: str = "") -> Parameter | None:
    """The parameter that takes a key: the one of this name, or the only one."""
    return next((one for one in _keys(kind) if name in ("", one.name, one.key)), None)


def _parameter(kind: Kind, name: str) -> Parameter:
    found = parameter_of(kind, name)
    if found is None:
        raise Refused([Problem(name or "parameter", "no_key", f"A {kind.label} has no key of that name that could be "
                               "made.")])
    return found
