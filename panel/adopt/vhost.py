"""A site of nginx in the values of a virtual host, with all that they cannot say."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, field
from typing import Any

from panel.adopt.nginx import Directive
from panel.adopt.sites import Server, Site, is_challenge, port
from panel.catalog import formats

#: What keeps somebody out: a site that has it is not taken over, because everybody would come in.
_GUARDS = ("auth_basic", "auth_basic_user_file", "allow", "deny", "auth_request", "auth_jwt", "satisfy", "internal",
           "ssl_client_certificate", "ssl_verify_client", "secure_link", "limit_except", "valid_referers")
#: What a virtual host says itself, or what no visitor notices.
_OWN = ("listen", "server_name", "access_log", "error_log", "log_not_found", "charset", "server_tokens", "sendfile",
        "tcp_nopush", "tcp_nodelay", "keepalive_timeout", "default_type", "etag", "http2", "types_hash_max_size",
        "proxy_http_version", "proxy_redirect", "proxy_connect_timeout", "proxy_send_timeout", "if_modified_since")
_OWN_FAMILIES = ("ssl_", "gzip", "http2_", "http3", "open_file_cache")
#: Headers for the application that a virtual host sends too, and the values that mean what it sends.
_SENT = {"host": ("$host", "$http_host", "$server_name"), "x-real-ip": ("$remote_addr",),
         "x-forwarded-for": ("$proxy_add_x_forwarded_for", "$remote_addr"), "x-forwarded-proto": ("$scheme", "https"),
         "x-forwarded-host": ("$host", "$http_host", "$server_name"), "x-forwarded-protocol": ("$scheme",),
         "upgrade": ("$http_upgrade",), "connection": ("upgrade", "Upgrade", "$connection_upgrade", "")}
_OTHER_PASSES = ("fastcgi_pass", "uwsgi_pass", "scgi_pass", "grpc_pass", "memcached_pass")
_UNITS = {"s": 1, "": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800, "M": 2592000, "y": 31536000}
_MOST = 100


@dataclass
class Reading:
    """What a site comes to; `values` by short name. `left_out`: what would no longer hold."""

    values: dict[str, Any] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    #: Paths of the certificate and its key as nginx names them.
    certificate: tuple[str, str] | None = None


def read(site: Site) -> Reading:
    """The values with which a virtual host serves what the site serves."""
    found = Reading(refused=list(site.refused))
    serving = [one for one in site.servers if one.redirects_to is None]
    if found.refused or not serving:
        return found
    main = next((one for one in serving if one.is_secure), serving[0])
    for server in site.servers:
        _check_door(server, found)
    _names(site, main, serving, found)
    _certificate(main, found)
    _contents(main, found)
    for other in serving:
        if other is not main and _said(other) != _said(main):
            found.left_out.append(f"what {other.block.file} says for {', '.join(other.names)} on port "
                                  f"{port(other.listens[0][0])}, which differs from the rest")
    found.values |= {"security_headers": False, "replaces": site.files}
    found.left_out = list(dict.fromkeys(found.left_out))[:_MOST]
    found.refused = list(dict.fromkeys(found.refused))
    return found


def _said(server: Server) -> list[str]:
    return sorted(one.words() for one in server.block.inside() if not _is_own(one))


def _check_door(server: Server, found: Reading) -> None:
    for listen in server.listens:
        if port(listen[0]) not in ("80", "443"):
            found.refused.append(f"It listens on {listen[0]}, and a virtual host listens on ports 80 and 443.")
        elif re.match(r"(?!\*|\[::\]|0\.0\.0\.0)[^:]+.*:\d+$", listen[0]):
            found.left_out.append(f"listen {listen[0]}: it would answer on every address of the server")
    for one in server.block.inside():
        if one.name in _GUARDS and one.args != ["off"]:
            found.refused.append(f"'{one.words()}' keeps somebody out, and a virtual host cannot say that.")


def _names(site: Site, main: Server, serving: list[Server], found: Reading) -> None:
    served = {name for one in serving for name in one.names}
    aliases = [name for name in site.names if name != site.domain]
    found.values["domain"] = site.domain
    if not aliases:
        return
    found.values["aliases"] = aliases
    redirected = [name for name in aliases if name not in served]
    found.values["redirect_aliases"] = len(redirected) == len(aliases)
    if redirected and len(redirected) < len(aliases):
        found.left_out.append(f"that {', '.join(redirected)} sends visitors on: all further domains would be served")


def _certificate(main: Server, found: Reading) -> None:
    if not main.is_secure:
        return
    paths = main.inherited("ssl_certificate"), main.inherited("ssl_certificate_key")
    if not (paths[0] and paths[1]):
        found.refused.append("It listens for HTTPS and names no certificate.")
        return
    if len(main.block.all("ssl_certificate")) > 1:
        found.left_out.append("its further certificates: one would be used")
    found.certificate = paths[0][0], paths[1][0]
    found.values["redirect_http"] = not any(port(one[0]) == "80" for one in main.listens)


def _contents(main: Server, found: Reading) -> None:
    block = main.block
    root = (main.inherited("root") or [""])[0]
    body = (main.inherited("client_max_body_size") or ["1m"])[0]
    _size(body, found)
    front = next((one for one in block.all("location") if one.args == ["/"]), None)
    behind = _behind(block, front)
    for one in block.block or ():
        if one.name == "location" and one is not front and one is not behind:
            _location(one, root, found)
        elif one.name != "location":
            _directive(one, found)
    places = [place for place in (front, behind, block) if place is not None]
    passes = [one for place in places for one in place.all("proxy_pass") if one.args]
    for place in places[:-1]:
        for one in place.block or ():
            _directive(one, found)
    if any(one.name in _OTHER_PASSES for place in places for one in place.block or ()):
        found.refused.append("It passes requests on by another protocol than HTTP (such as PHP's or uWSGI's).")
    elif passes:
        _upstream(passes[0].args[0], main, found)
        _beside(places, root, found)
    else:
        _directory(places, root, found)


def _behind(block: Directive, front: Directive | None) -> Directive | None:
    """The location @name to which try_files leads in the end."""
    ends = {one.args[-1] for place in (front, block) if place for one in place.all("try_files") if one.args}
    return next((one for one in block.all("location") if len(one.args) == 1 and one.args[0].startswith("@")
                 and one.args[0] in ends), None)


def _size(given: str, found: Reading) -> None:
    # 0 is "no limit", which nothing says but a very large one.
    size = "1T" if given == "0" else given.upper()
    if formats.problem("size", size):
        found.left_out.append(f"client_max_body_size {given}")
    else:
        found.values["max_body_size"] = size


def _upstream(target: str, main: Server, found: Reading) -> None:
    scheme, _, rest = target.partition("://")
    address, _, path = rest.partition("/") if not rest.startswith("unix:") else _socket(rest)
    if scheme != "http" or "$" in target or path:
        found.refused.append(f"It passes requests on to {target[:100]}; a virtual host passes them on by http, as they "
                             "are.")
        return
    group = next((one for one in main.http.all("upstream") if one.args == [address]), None)
    if group is not None:
        members = [one.args[0] for one in group.all("server") if one.args]
        if len(members) != 1:
            found.refused.append(f"It shares requests among {len(members)} servers ({address}).")
            return
        address = members[0]
    value = address if address.startswith("unix:") else f"http://{address}"
    if formats.problem("upstream", value):
        found.refused.append(f"It passes requests on to {value[:100]}, which is no address that a virtual host takes.")
    else:
        found.values["upstream"] = value


def _socket(rest: str) -> tuple[str, str, str]:
    """unix:/path:/uri in its parts."""
    path, _, uri = rest.removeprefix("unix:").partition(":")
    return f"unix:{path}", "", uri.removeprefix("/")


def _beside(places: list[Directive], root: str, found: Reading) -> None:
    for place in places:
        for one in place.all("try_files"):
            if one.args[:1] in (["$uri"], ["$uri/"], ["$uri/index.html"]):
                found.left_out.append(f"files of {root or 'its directory'} beside the application ({one.words()}): "
                                      "name their paths under 'Files beside the application'")


def _directory(places: list[Directive], root: str, found: Reading) -> None:
    roots = [one.args[0] for place in places for one in place.all("root") if one.args]
    if any(place.all("alias") for place in places[:-1]):
        roots = [one.args[0] for place in places[:-1] for one in place.all("alias") if one.args]
    chosen = (roots[0] if roots else root).rstrip("/")
    if not chosen or formats.problem("absolute_path", chosen):
        found.refused.append(f"It serves no directory that can be named here ({chosen[:100] or 'none'}).")
        return
    found.values["roots"] = [chosen]
    tries = [one.args for place in places for one in place.all("try_files")]
    last = tries[0][-1] if tries and tries[0] else "=404"
    if last == "/index.html":
        found.values["single_page"] = True
    elif last not in ("=404", "$uri/", "/404.html"):
        found.left_out.append(f"try_files {' '.join(tries[0])}")
    for place in places:
        for one in place.all("index"):
            if "index.html" not in one.args:
                found.left_out.append(one.words())


def _location(one: Directive, root: str, found: Reading) -> None:
    if is_challenge(one) or _says_nothing(one):
        return
    words = " ".join(one.args)
    plain = [arg for arg in one.args if arg != "^~"]
    if len(plain) == 1 and plain[0].startswith("/") and not formats.problem("url_path", plain[0]):
        directory = _static_directory(one, plain[0], root)
        if directory:
            found.values.setdefault("static", []).append(
                {"location": plain[0], "directories": [directory], "cache": _cache(one)})
            for inner in one.block or ():
                if inner.name not in ("alias", "root", "expires", "try_files") and not _is_own(inner):
                    found.left_out.append(f"{inner.words()} (of location {words})")
            return
    found.left_out.append(f"location {words}: " + "; ".join(inner.words() for inner in (one.block or [])[:3]))


def _says_nothing(one: Directive) -> bool:
    """Such as = /favicon.ico that is only kept out of the log."""
    return one.args[0] == "=" and all(_is_own(inner) for inner in one.block or ())


def _static_directory(one: Directive, path: str, root: str) -> str | None:
    alias, own = one.all("alias"), one.all("root")
    if any(inner.name.endswith("_pass") or inner.name == "return" for inner in one.inside()):
        return None
    if alias and alias[0].args:
        directory = alias[0].args[0]
    else:
        base = own[0].args[0] if own and own[0].args else root
        directory = posixpath.join(base, path.lstrip("/")) if base else ""
    directory = directory.rstrip("/")
    return None if not directory or formats.problem("absolute_path", directory) else directory


def _cache(one: Directive) -> int:
    for inner in one.all("expires"):
        if inner.args == ["max"]:
            return _UNITS["y"]
        if inner.args and (found := re.fullmatch(r"(\d{1,6})([smhdwMy]?)", inner.args[-1])):
            return int(found[1]) * _UNITS[found[2]]
    return 0


def _is_own(one: Directive) -> bool:
    return one.name in _OWN or one.name.startswith(_OWN_FAMILIES)


def _directive(one: Directive, found: Reading) -> None:
    """One that is not a location: into a value, or among what is left out."""
    if _is_own(one) or one.name in _GUARDS or one.name in ("root", "alias", "index", "try_files", "proxy_pass",
                                                           "client_max_body_size", *_OTHER_PASSES):
        return
    if one.name == "add_header" and len(one.args) >= 2:
        _header(one, found)
    elif one.name == "proxy_set_header" and len(one.args) == 2:
        if one.args[1] not in _SENT.get(one.args[0].lower(), ()):
            found.left_out.append(f"{one.words()}: the application would not get this header")
    elif one.name == "proxy_read_timeout" and one.args and (time := re.fullmatch(r"(\d{1,5})([smh]?)", one.args[0])):
        found.values["timeout"] = int(time[1]) * _UNITS[time[2]]
    elif one.name == "error_page" and one.args[-1:] in (["/404.html"], ["/50x.html"], ["/500.html"]):
        return
    else:
        found.left_out.append(one.words())


def _header(one: Directive, found: Reading) -> None:
    name, value = one.args[:2]
    if "$" in value or formats.problem("header_name", name) or formats.problem("header_value", value):
        found.left_out.append(one.words())
        return
    listed = found.values.setdefault("headers", [])
    if {"name": name, "value": value} not in listed:
        listed.append({"name": name, "value": value})
