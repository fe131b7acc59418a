"""Which sites a server serves that WebOps did not make: nginx's servers, put together by the names that they share."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from panel.adopt.nginx import Directive, files, tree
from panel.catalog import formats

FOLDERS = ("/etc/nginx/conf.d", "/etc/nginx/sites-enabled")
_REDIRECTS = ("301", "302", "303", "307", "308")


@dataclass
class Server:
    """One server { } of nginx, with what of http { } applies to it."""

    block: Directive
    http: Directive

    @property
    def names(self) -> list[str]:
        return [name for one in self.block.all("server_name") for name in one.args if name]

    @property
    def listens(self) -> list[list[str]]:
        return [one.args for one in self.block.all("listen") if one.args] or [["80"]]

    @property
    def is_secure(self) -> bool:
        return any("ssl" in one or port(one[0]) == "443" for one in self.listens)

    @property
    def redirects_to(self) -> str | None:
        """Where it sends everybody, None where it serves something itself."""
        places = [self.block, *(one for one in self.block.all("location") if one.args == ["/"])]
        inner = [one for place in places for part in place.all("if") for one in part.all("return")]
        outer = [one for place in places for one in place.all("return")]
        targets = [one.args[1] for one in [*inner, *outer] if len(one.args) == 2 and one.args[0] in _REDIRECTS]
        # certbot writes an if per name, and "return 404" for the rest.
        targets += [one.args[1] for one in self.block.all("rewrite")
                    if len(one.args) == 3 and one.args[2] in ("permanent", "redirect")
                    and one.args[0] in ("^", "^/(.*)$", "^(.*)$", "^(.*)", "^/(.*)")]
        serves = any(one.name in ("root", "alias", "proxy_pass", "fastcgi_pass", "uwsgi_pass")
                     for place in places for one in place.inside() if not _is_challenge(place, one))
        return targets[0] if targets and not serves else None

    @property
    def sends_to(self) -> str:
        """The host that it sends everybody to, where it names one."""
        found = re.match(r"https?://([a-z0-9.-]+)", self.redirects_to or "")
        return found[1] if found else ""

    def inherited(self, name: str) -> list[str] | None:
        """The arguments of a directive of the server, or else of http { }."""
        found = self.block.all(name) or self.http.all(name)
        return found[-1].args if found else None


@dataclass
class Site:
    """What visitors know as one site."""

    domain: str
    names: list[str]
    files: list[str]
    servers: list[Server]
    #: Why it cannot be taken over at all, in words.
    refused: list[str] = field(default_factory=list)


def port(listen: str) -> str:
    """80 of "80", "[::]:80" or "192.0.2.1:80"; the whole of what is no port, such as a socket."""
    last = listen.rpartition(":")[2] if not listen.startswith("unix:") else listen
    return last if last.isdigit() or listen.startswith("unix:") else "80"


def is_challenge(location: Directive) -> bool:
    """Whether it is for the questions of a certificate's authority, which WebOps answers itself."""
    return location.name == "location" and bool(location.args) and location.args[-1].startswith("/.well-known/acme-")


def _is_challenge(place: Directive, one: Directive) -> bool:
    return any(is_challenge(location) and one in list(location.inside()) for location in place.all("location"))


def read(dump: str) -> list[Site]:
    """The sites by their domains. Unreadable: it is not what nginx prints."""
    ours = {path for path, text in files(dump).items() if text.startswith("# webops")}
    servers = [one for one in _servers(tree(dump)) if one.block.file not in ours]
    known = [one for one in servers if one.names and one.names != ["_"]]
    sites = [_site(group) for group in _groups(known)]
    for site in sites:
        _check_files(site, servers)
    return sorted(sites, key=lambda one: one.domain)


def _servers(root: Directive) -> Iterator[Server]:
    for http in root.all("http"):
        for block in http.all("server"):
            if block.block is not None:
                yield Server(block, http)


def _groups(servers: list[Server]) -> list[list[Server]]:
    """Together is what shares a name, and what does nothing but send visitors to it."""
    groups: list[list[Server]] = []
    for server in servers:
        mine = {*server.names, server.sends_to} - {""}
        together = [group for group in groups if any(mine & {*one.names, one.sends_to} for one in group)]
        groups = [group for group in groups if group not in together]
        groups.append([*(one for group in together for one in group), server])
    return groups


def _site(servers: list[Server]) -> Site:
    serving = [one for one in servers if one.redirects_to is None]
    names = list(dict.fromkeys(name for one in [*serving, *servers] for name in one.names))
    domains = [name for name in names if formats.problem("domain", name) is None]
    site = Site((domains or names)[0], names, list(dict.fromkeys(one.block.file for one in servers)), servers)
    for name in names:
        if name not in domains:
            site.refused.append(f"It answers to '{name}', and a virtual host answers to whole domains only.")
    if not serving:
        site.refused.append("It does nothing but send visitors on.")
    for one in servers:
        if one.sends_to and one.sends_to not in names:
            site.refused.append(f"It sends visitors of {', '.join(one.names)} to {one.sends_to}.")
    return site


def _check_files(site: Site, servers: list[Server]) -> None:
    for path in site.files:
        if posixpath.dirname(path) not in FOLDERS:
            site.refused.append(f"It stands in {path}, and only files of {' and '.join(FOLDERS)} can be replaced.")
        elif formats.problem("absolute_path", path):
            site.refused.append(f"The name of the file {path!r} has signs that a path may not have here. Rename it.")
        others = sorted({name for one in servers if one.block.file == path for name in one.names or ["no name"]}
                        - set(site.names))
        if others:
            site.refused.append(f"{path} serves {', '.join(others[:5])} as well. Move that into a file of its own.")
