"""A server's way: address, host key, first login, ready."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_ssh_private_key,
)
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from panel.catalog import Action, Problem, Refused, catalog, clean, overlay
from panel.catalog.formats import problem
from panel.link import client
from panel.link.ssh import fingerprint as fingerprint_of
from panel.runs import bell
from panel.runs.errors import NameTaken, NoHostKey, NotReady, ServerInUse, WrongFingerprint
from panel.runs.spec import LOGIN
from panel.runs.submit import SERVER_KIND, submit
from panel.store.models import Mode, Observed, Resource, Run, RunServer, Server, State
from panel.store.places import Group, Member, Place
from panel.store.seal import seal

#: What WebOps itself says of a server whenever it makes it ready.
_OWN = "server_public_keys"


@dataclass(frozen=True)
class Login:
    """For the first contact; used by one run and wiped when it ends.

    With neither password nor private key, the user has WebOps' own public key for this server among its
    authorized keys.
    """

    user: str
    password: str = field(default="", repr=False)
    private_key: str = field(default="", repr=False)
    sudo_password: str = field(default="", repr=False)


def add(session: Session, name: str, address: str, port: int, actor: str) -> Server:
    """A server that WebOps knows of, with a key pair of its own and the host key that it offers. COMMITS.

    Refused: values that cannot be used. NameTaken. LinkError: the address does not answer (nothing was stored).
    """
    _check(name=name, address=address, port=port)
    _check_free(session, name)
    session.commit()  # what follows may take seconds
    offered = "\n".join(client.ask("scan", address=address, port=port)["keys"])
    private, public = _key_pair(name)
    server = Server(name=name, address=address, port=port, offered_host_key=offered, public_key=public,
                    private_key=seal(f"server:{name}:private_key", private))
    session.add(server)
    try:
        session.commit()
    except IntegrityError as wrong:
        session.rollback()
        raise _taken(name) from wrong
    bell.look(server.id)
    return server


def look_again(session: Session, server: Server) -> None:
    """Read the host key that the server offers now. COMMITS. LinkError: it does not answer."""
    address, port = server.address, server.port
    session.commit()
    keys = client.ask("scan", address=address, port=port)["keys"]
    known = set(server.host_key.splitlines())
    server.offered_host_key = "" if known and known <= set(keys) else "\n".join(keys)
    session.commit()
    bell.look(server.id)


def accept(session: Session, server: Server, fingerprint: str, actor: str) -> None:
    """From now on the server must show the host key of this fingerprint. COMMITS. Twice changes nothing.

    Of several keys that are offered only that one counts: a server does not prove, when it is asked for its keys, that
    the others are its own, so a person in between could have put one beside the true one.

    WrongFingerprint: what the person compared is not what is offered. NoHostKey: nothing is offered.
    """
    wanted = fingerprint.strip()
    if wanted in _by_fingerprint(server.host_key) and not server.offered_host_key:
        return
    if not server.offered_host_key:
        raise NoHostKey(f"{server.name} has not shown a host key yet. Ask for it again.")
    offered = _by_fingerprint(server.offered_host_key)
    if wanted not in offered:
        raise WrongFingerprint(f"{server.name} shows {' and '.join(offered)}, "
                               f"not {wanted or 'nothing'}. Compare it once more; if it differs, do not accept it.")
    server.host_key, server.offered_host_key = offered[wanted], ""
    # What was seen was said about the old key.
    server.observed, server.observed_text, server.observed_at = Observed.UNKNOWN, "", None
    session.commit()
    bell.look(server.id)


def _by_fingerprint(lines: str) -> dict[str, str]:
    return {fingerprint_of(line): line for line in lines.splitlines() if line.strip()}


def settings() -> Action:
    """What a person may say of a server when it is made ready."""
    action = catalog().kind(SERVER_KIND).main
    return replace(action, parameters=tuple(one for one in action.parameters if one.name != _OWN))


def ready(session: Session, server: Server, login: Login | None, actor: str, door: str, *,
          given: Mapping[str, Any] | None = None, mode: Mode = Mode.APPLY, timeout: int | None = None) -> Run:
    """A run of `server`: it makes the two accounts with WebOps' key, and what every kind needs. COMMITS.

    `login` may be left out for a server that is ready already. What is not among the `given` values stays on the server
    as it is. Refused: a login or a value that cannot be used.
    """
    if login is None and server.ready_at is None:
        raise Refused([Problem("login.user", "required", "A login is needed for the first contact.")])
    if login is not None:
        _check_login(login)
    values = {**overlay(settings(), {}, given or {}), _OWN: [server.public_key]}
    cleaned = clean(catalog().kind(SERVER_KIND), "main", values)
    secrets = {**cleaned.secrets, **({LOGIN: vars(login)} if login else {})}
    return submit(session, kind=SERVER_KIND, action="main", actor=actor, door=door, where=server, mode=mode,
                  values=cleaned.values, secrets=secrets, timeout=timeout)


def remove(session: Session, server: Server, actor: str, door: str, *, mode: Mode = Mode.APPLY,
           timeout: int | None = None) -> Run:
    """A run that takes WebOps off the machine; when it succeeded, the server's row goes too. COMMITS.

    ServerInUse: something is still there or going on. NotReady: WebOps has nothing there; `forget` it.
    """
    _check_unused(session, server)
    if server.ready_at is None:
        raise NotReady(f"{server.name} was never made ready, so there is nothing to take away. Forget it: "
                       f"webops server forget {server.name}")
    return submit(session, kind=SERVER_KIND, action="remove", actor=actor, door=door, where=server, mode=mode,
                  timeout=timeout)


def forget(session: Session, server: Server, actor: str) -> None:
    """WebOps forgets the server; on the machine nothing changes. COMMITS. ServerInUse: something is still there."""
    _check_unused(session, server)
    number = server.id
    session.delete(server)
    session.commit()
    bell.look(number)


def _check_unused(session: Session, server: Server) -> None:
    names = list(session.scalars(select(Resource.name).join(Resource.places).where(Place.server_id == server.id)
                                 .order_by(Resource.name)))
    if names:
        raise ServerInUse(f"{server.name} still has {', '.join(names)}. Remove what is on it first.")
    groups = list(session.scalars(select(Group.name).where(Group.members.any(Member.server_id == server.id))
                                  .order_by(Group.name)))
    if groups:
        raise ServerInUse(f"{server.name} is in {', '.join(groups)}. Take it out of there first: "
                          f"webops group change {groups[0]} --without {server.name}")
    active = session.scalar(select(func.count()).select_from(RunServer).join(Run).where(
        RunServer.server_id == server.id, Run.state.in_([State.QUEUED, State.RUNNING])))
    if active:
        raise ServerInUse(f"A run is still going on {server.name}. Wait for it, or cancel it.")


def _check(**given: object) -> None:
    problems = [Problem(key, found.code, found.message) for key, value in given.items()
                if (found := problem(key, value))]
    if problems:
        raise Refused(problems)


def _check_free(session: Session, name: str) -> None:
    if session.scalar(select(Server.id).where(Server.name == name)):
        raise _taken(name)
    if session.scalar(select(Group.id).where(Group.name == name)):
        raise NameTaken(f"There is a group named '{name}'. A server needs a name of its own.")


def _taken(name: str) -> NameTaken:
    return NameTaken(f"There is a server named '{name}' already. Choose another name.")


def _check_login(login: Login) -> None:
    found = problem("unix_user", login.user)
    problems = [Problem("login.user", found.code, found.message)] if found else []
    if login.private_key and (words := _key_problem(login.private_key)):
        problems.append(Problem("login.private_key", "invalid_key", words))
    if problems:
        raise Refused(problems)


def _key_problem(text: str) -> str | None:
    try:
        load_ssh_private_key(text.strip().encode() + b"\n", password=None)
    except TypeError:
        return "This key has a passphrase. Give one without, or the password of the user."
    except (ValueError, UnsupportedAlgorithm):
        if "PRIVATE KEY-----" in text and "OPENSSH" not in text:
            return None  # the older PEM forms: ssh itself reads them
        return "This is not an OpenSSH private key. It begins with -----BEGIN OPENSSH PRIVATE KEY-----."
    return None


def _key_pair(name: str) -> tuple[str, str]:
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    return private, f"{public} webops:{name}"
