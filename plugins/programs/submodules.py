"""Submodules: where they are, and their pinned commits, brought into the mirror of the repository that names them."""

import posixpath
import re
from urllib.parse import urlsplit, urlunsplit

from report import Stop

MOST = 50
DEEPEST = 5
LINK = "160000"
KEY = re.compile(r"submodule\.(?P<name>.+)\.(?P<key>path|url)", re.DOTALL)
SCP = re.compile(r"(?P<head>(?:[A-Za-z0-9._-]+@)?[A-Za-z0-9][A-Za-z0-9.-]*):(?!//)(?P<path>/?[^-].*)")
HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?")


class Unusable(ValueError):
    """An address that nothing is fetched from; the message is for people."""


def bring(repository, commit):
    """Fetch the submodules that a commit pins, and theirs. Gives (repository, commit, path) of each.

    Stop: some cannot be had; it names them all.
    """
    found, missing = [], []
    _bring(repository, commit, "", found, missing)
    if missing:
        things = "One submodule is" if len(missing) == 1 else f"{len(missing)} submodules are"
        raise Stop(f"{things} missing: " + "; ".join(f"{path}: {why}" for path, why, _ in missing) + ".", missing[0][2])
    return found


def _bring(repository, commit, above, found, missing):
    links = pinned(repository, commit)
    addresses = written(repository, commit) if links else {}
    for path, wanted in links.items():
        label = posixpath.join(above, path)
        if len(found) + len(missing) >= MOST or _depth(found, above) >= DEEPEST:
            raise Stop(f"This repository has too many submodules: more than {MOST}, or {DEEPEST} within each other.",
                       "Take some out of .gitmodules.")
        if path not in addresses:
            missing.append((label, "the repository names no address for it in .gitmodules",
                            "Write its address into .gitmodules, or take it out of the repository."))
            continue
        try:
            one = repository.beside(usable(resolve(repository.address, addresses[path]), repository.protocols))
            one.have(wanted)
        except Unusable as wrong:
            missing.append((label, str(wrong),
                            "Write its address in .gitmodules as https://host/path or git@host:path."))
        except Stop as stop:
            missing.append((label, str(stop).rstrip("."), stop.next))
        else:
            found.append((one, wanted, label))
            _bring(one, wanted, label, found, missing)


def _depth(found, above):
    return sum(above == label or above.startswith(label + "/") for _one, _commit, label in found)


def pinned(repository, commit):
    """{path: commit} of a commit's submodules."""
    text = repository.git("ls-tree", "-r", "-z", "--full-tree", commit).stdout
    rows = (line.partition("\t") for line in text.split("\0") if line.startswith(LINK))
    return {path: facts.split()[2] for facts, _tab, path in rows}


def written(repository, commit):
    """{path: address} as .gitmodules of a commit has them."""
    listed = repository.git("config", "--blob", f"{commit}:.gitmodules", "-z", "--list").stdout
    names = {}
    for entry in listed.split("\0"):
        key, _newline, value = entry.partition("\n")
        match = KEY.fullmatch(key)
        if match:
            names.setdefault(match["name"], {})[match["key"]] = value
    return {one["path"]: one["url"] for one in names.values() if "path" in one and "url" in one}


def resolve(base, address):
    """An address as it stands, or one that begins with ./ or ../ seen from the repository that names it."""
    if not re.match(r"\.\.?(?:/|\Z)", address):
        return address
    head, sign, path = _split(base.rstrip("/"))
    parts = path.split("/")
    for step in address.rstrip("/").split("/"):
        if step == ".." and not parts:
            raise Unusable(f"its address {address} leads out of {head or base}")
        if step == "..":
            parts.pop()
        elif step not in (".", ""):
            parts.append(step)
    return f"{head}{sign}{'/'.join(parts)}"


def _split(base):
    """What of an address stays whatever the path is, the sign behind it, and the path."""
    if "://" in base:
        parts = urlsplit(base)
        return f"{parts.scheme}://{parts.netloc}", "/", parts.path.lstrip("/")
    scp = SCP.fullmatch(base)
    if scp:
        absolute = scp["path"].startswith("/")
        return scp["head"], ":/" if absolute else ":", scp["path"].lstrip("/")
    return "", "/", base.lstrip("/")


def usable(address, protocols):
    """The address, without a user's name where that is not needed. Unusable: git is not let near it."""
    if protocols == "file":
        return address
    if not address.isascii() or not address.isprintable() or " " in address or len(address) > 500:
        raise Unusable("its address has signs that no address has")
    if "://" not in address and SCP.fullmatch(address) and "::" not in address:
        return address
    try:
        parts = urlsplit(address)
        fits = parts.scheme in ("https", "ssh") and HOST.fullmatch(parts.hostname or "") and parts.port != 0
    except ValueError:
        fits = False
    if not fits or "::" in address:
        raise Unusable("only https:// and ssh addresses are allowed")
    if parts.password is not None:
        raise Unusable("there is a password in its address")
    if parts.scheme == "ssh":
        return address
    # With a name in it, git would ask for that user's password.
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
