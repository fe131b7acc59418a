"""What a valid domain, port, git address, … is: the one home, for roles and for the panel.

Ansible loads this file as Jinja tests (`that: django_app_domain is domain`), the action plugin
`webops_values` and the panel's catalog load it for the words of a refusal. Standard library only.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
import unicodedata
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import urlsplit

DOCUMENTATION = """
name: formats
short_description: Formats of values that WebOps accepts
description: One test per format, named as in meta/kind.yml of the roles.
"""


class Problem(NamedTuple):
    """Why a value is refused: a stable `code` for programs, a `message` that says what is allowed."""

    code: str
    message: str


_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST = re.compile(rf"(?=.{{1,253}}\Z)(?:{_LABEL}\.)*{_LABEL}")
_DOMAIN = re.compile(rf"(?=.{{4,253}}\Z)(?:{_LABEL}\.)+[a-z](?:[a-z0-9-]{{0,61}}[a-z0-9])")
_REF = re.compile(r"(?!.*(?:\.\.|//|@\{|\.lock(?:/|\Z)))[A-Za-z0-9][A-Za-z0-9._/+-]{0,199}(?<![/.])")
_SCP = re.compile(r"(?P<user>[A-Za-z0-9._-]+)@(?P<host>[^:/@]+):(?P<path>[^:].*)")
_GIT_SCHEMES = "Only https:// and ssh addresses are allowed."
_RESERVED_NAMES = {"root", "www-data", "postgres", "nginx", "systemd", "webops", "sshd", "daemon", "nobody"}
_RESERVED_DATABASES = {"postgres", "template0", "template1"}
# Options of `vllm serve` that a parameter sets, or that would open another door or run other code.
_VLLM_TAKEN = ("allowed-origins", "allowed-headers", "allowed-methods", "allow-credentials", "api-key", "config",
               "download-dir", "dtype", "enforce-eager", "gpu-memory-utilization", "headless", "host", "hf-token",
               "kv-cache-memory-bytes", "max-model-len", "max-num-seqs", "middleware", "model", "port", "quantization",
               "revision", "root-path", "served-model-name", "ssl-ca-certs", "ssl-certfile", "ssl-keyfile",
               "tensor-parallel-size", "trust-remote-code", "uds")
# As SQLAlchemy takes a URL apart.
_DATABASE_URL = re.compile(r"postgresql(?:\+psycopg2)?://(?:[^:/@]*(?::[^@]*)?@)?(?:\[[0-9A-Fa-f:.]+\]|[^/:?@\[\]]*)"
                           r"(?::(?P<port>[^/?@]*))?/[^/?@]+(?:\?.*)?")
_BLOCKED_ENV = {"LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT", "BASH_ENV", "ENV", "PYTHONPATH", "PYTHONHOME",
                "PYTHONSTARTUP", "GIT_SSH_COMMAND", "GIT_SSH", "GIT_EXEC_PATH", "PATH", "HOME", "IFS"}


def control_character(value: str) -> Problem | None:
    """Refuse what cannot be seen: control characters, bidirectional overrides, zero-width signs."""
    for char in value:
        if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp"):
            return Problem("control_character", "Remove the invisible character "
                           f"U+{ord(char):04X}; it cannot be part of this value.")
    return None


def name(value: str) -> Problem | None:
    if not re.fullmatch(r"(?=.{2,29}\Z)[a-z](?:-?[a-z0-9])+", value):
        return Problem("invalid_name", "Use 2-29 characters: a-z, 0-9 and single hyphens, beginning with a letter.")
    if value in _RESERVED_NAMES:
        return Problem("reserved_name", f"'{value}' is reserved on servers. Choose another name.")
    return None


def domain(value: str) -> Problem | None:
    if value.startswith("*."):
        return Problem("wildcard_needs_dns", "A wildcard certificate needs a DNS challenge, which is not offered. "
                       "Name each domain.")
    if not value.isascii():
        try:
            ascii_form = value.encode("idna").decode("ascii")
        except UnicodeError:
            ascii_form = ""
        hint = f" If you mean it, write it as '{ascii_form}'." if ascii_form else ""
        return Problem("mixed_script", f"Only a-z, 0-9, '-' and '.' are possible in a domain.{hint}")
    if not _DOMAIN.fullmatch(value):
        return Problem("invalid_domain", "Write one full domain in lower case, such as shop.example.org.")
    return None


def address(value: str) -> Problem | None:
    """An IP address or a host name: where a server is reached."""
    try:
        ipaddress.ip_address(value)
        return None
    except ValueError:
        pass
    # A last label of digits (or hex) is read as an IPv4 address in another notation by some programs.
    if not _HOST.fullmatch(value) or re.fullmatch(r"(?:.*\.)?(?:\d+|0x[0-9a-f]*)", value):
        return Problem("invalid_host", "Write an IP address or a host name, such as 192.0.2.10 or web1.example.org.")
    return None


def port(value: int | str) -> Problem | None:
    if isinstance(value, bool) or not re.fullmatch(r"[0-9]{1,5}", str(value)) or not 1 <= int(value) <= 65535:
        return Problem("invalid_port", "Use a whole number, 1-65535.")
    return None


def email(value: str) -> Problem | None:
    local, _, host = value.rpartition("@")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._%+-]{0,63}", local) or domain(host.lower()):
        return Problem("invalid_email", "Write an e-mail address, such as ops@example.org.")
    return None


def unix_user(value: str) -> Problem | None:
    if not re.fullmatch(r"[a-z_][a-z0-9_-]{0,31}", value):
        return Problem("invalid_user", "Use a Unix user name: a-z, 0-9, '_' and '-', beginning with a letter.")
    return None


def git_host(value: str) -> str | None:
    """The host in a git address, or None where there is none to find."""
    scp = _SCP.fullmatch(value)
    if scp and "://" not in value:
        return scp["host"]
    try:
        return urlsplit(value).hostname
    except ValueError:
        return None


def git_address(value: str) -> Problem | None:
    """https://host/path, ssh://user@host/path or user@host:path; nothing that git could read as more."""
    found = _git_form(value)
    if found:
        return found
    host = git_host(value)
    if not host or address(host.strip("[]").lower()):
        return Problem("git_host", "The host in this address is not a host name. "
                       "Write https://host/path or git@host:path.")
    return None


def _git_form(value: str) -> Problem | None:
    if value.startswith("-"):
        return Problem("git_url_option", "An address may not begin with '-'.")
    if re.match(r"[A-Za-z0-9+.-]+::", value):
        return Problem("git_scheme", _GIT_SCHEMES)
    if control_character(value) or re.search(r"\s", value) or not value.isascii():
        return Problem("control_character", "Remove spaces, line breaks and signs outside ASCII from the address.")
    if _SCP.fullmatch(value) and "://" not in value:
        return None
    parts = urlsplit(value) if re.match(r"(https|ssh)://[^\[\]]+\Z", value) else None
    if parts is None or len(value) > 500:
        return Problem("git_scheme", _GIT_SCHEMES)
    if parts.scheme == "https" and parts.username is not None:
        return Problem("credentials_in_url", "Put the token in 'Repository token', not in the address.")
    if parts.password is not None:
        return Problem("credentials_in_url", "A password does not belong into an address. Use a key.")
    if not re.fullmatch(r"/[A-Za-z0-9._~/+-]+", parts.path) or "/../" in f"{parts.path}/":
        return Problem("git_path", "The path of this address may hold letters, digits and . _ ~ / + - only.")
    return None


def git_ref(value: str) -> Problem | None:
    if value.startswith("-"):
        return Problem("branch_option", "A branch, tag or commit may not begin with '-'.")
    if value == "HEAD" or not _REF.fullmatch(value):
        return Problem("branch_invalid", "Write the name of a branch or a tag, or a commit, such as main or v1.2.")
    return None


def release(value: str) -> Problem | None:
    """The id of a release, 20261122-153000-4f1c9aa, its commit, or the run that let it go live, run-12."""
    if not re.fullmatch(r"\d{8}-\d{6}-[0-9a-f]{7}|[0-9a-f]{7,64}|run-[1-9]\d{0,9}", value, re.ASCII):
        return Problem("release_invalid", "Write the id of a release, such as 20261122-153000-4f1c9aa, its commit, or "
                                          "the run that let it go live, such as run-12.")
    return None


def migration(value: str) -> Problem | None:
    """shop.0007_note, or * for all."""
    if not re.fullmatch(r"\*|[A-Za-z_][A-Za-z0-9_]{0,99}\.[A-Za-z0-9_]{1,150}", value):
        return Problem("migration_invalid", "Write a migration as app.name, such as shop.0007_note, or * for all.")
    return None


def env_name(value: str) -> Problem | None:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,127}", value):
        return Problem("invalid_env_name", "Use letters, digits and '_', not beginning with a digit.")
    if value in _BLOCKED_ENV:
        return Problem("env_name_blocked", f"'{value}' changes how programs are started and cannot be set here.")
    return None


def database(value: str) -> Problem | None:
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,62}", value) or value in _RESERVED_DATABASES:
        return Problem("invalid_db_name", "Use up to 63 characters: a-z, 0-9 and '_', beginning with a letter; "
                       "postgres and template names are taken.")
    return None


def relative_path(value: str) -> Problem | None:
    """A path inside a checkout: never out of it, never into .git."""
    parts = value.split("/")
    if (value.startswith(("/", "~", "-")) or "\\" in value or ":" in value or ".." in parts or ".git" in parts
            or control_character(value) or not re.fullmatch(r"[^/]+(?:/[^/]+)*/?|\.", value) or len(value) > 400):
        return Problem("path_outside", "Write a path inside the project, such as web/static, without '..' and "
                       "without a leading '/'.")
    return None


def absolute_path(value: str) -> Problem | None:
    if not re.fullmatch(r"(?:/[A-Za-z0-9._@+-]+)+/?", value) or ".." in value.split("/") or len(value) > 400:
        return Problem("invalid_path", "Write a full path, such as /srv/models/tiny, "
                       "of letters, digits and . _ @ + - only.")
    return None


def url_path(value: str) -> Problem | None:
    path = r"/(?:[A-Za-z0-9._~-]+(?:/[A-Za-z0-9._~-]+)*/?)?"
    if not re.fullmatch(rf"{path}(?:\?[A-Za-z0-9._~=&-]*)?", value) or ".." in value:
        return Problem("invalid_url_path", "Write a path as in a URL, beginning with '/', such as /healthz.")
    return None


def https_url(value: str) -> Problem | None:
    plain = re.fullmatch(r"https://[A-Za-z0-9.:-]+(?:/[A-Za-z0-9._~/-]*)?", value)
    parts = urlsplit(value) if plain else None
    if parts is None or address((parts.hostname or "").lower()):
        return Problem("invalid_url", "Write a full https:// address without a query.")
    return None


def python_module(value: str) -> Problem | None:
    if not re.fullmatch(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*", value, re.ASCII):
        return Problem("invalid_module", "Write a Python module, such as config.settings.")
    return None


def wsgi_module(value: str) -> Problem | None:
    if not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", value, re.ASCII):
        return Problem("invalid_wsgi", "Write module:object, such as config.wsgi:application.")
    return None


def python_version(value: str) -> Problem | None:
    if not re.fullmatch(r"3\.[0-9]{1,2}(?:\.[0-9]{1,2})?", value):
        return Problem("invalid_python", "Write a version, such as 3.12.")
    return None


def size(value: str) -> Problem | None:
    if not re.fullmatch(r"[1-9][0-9]{0,11}[KMGT]?", value):
        return Problem("invalid_size", "Write a size in bytes or with K, M, G or T, such as 512M.")
    return None


def debian_package(value: str) -> Problem | None:
    if not re.fullmatch(r"[a-z0-9][a-z0-9+.-]{1,99}", value):
        return Problem("invalid_package", "Write the name of a Debian package, such as libpq-dev.")
    return None


def python_package(value: str) -> Problem | None:
    """A requirement by name, as on a line of requirements.txt; never an address, a path or an option."""
    name = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9])?"
    extras = rf"(?:\[{name}(?:, ?{name})*\])?"
    version = r"(?:==|>=|<=|~=|!=|<|>) ?[0-9][A-Za-z0-9.*+!]{0,40}"
    if not re.fullmatch(rf"{name}{extras}(?: ?{version}(?:, ?{version})*)?", value):
        return Problem("invalid_requirement", "Write the name of a Python package, such as psycopg[binary] or "
                       "celery==5.4.0.")
    return None


def extra(value: str) -> Problem | None:
    if not re.fullmatch(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9])?", value):
        return Problem("invalid_extra", "Write the name of an extra, such as postgres.")
    return None


def identifier(value: str) -> Problem | None:
    """A short technical name: an extension, a locale, a served name."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_.-]{0,99}", value):
        return Problem("invalid_identifier", "Use letters, digits and . _ -, beginning with a letter.")
    return None


def part_name(value: str) -> Problem | None:
    """A name within a resource, such as that of a cron job; it becomes part of a unit's name."""
    if not re.fullmatch(r"(?=.{1,30}\Z)[a-z](?:-?[a-z0-9])*", value):
        return Problem("invalid_name", "Use up to 30 characters: a-z, 0-9 and single hyphens, beginning with a letter.")
    return None


def process_name(value: str) -> Problem | None:
    if value == "web":
        return Problem("reserved_name", "WebOps starts the web process itself, in two slots. Take 'web' out.")
    if value in ("task", "cron", "socket") or value.startswith("cron-"):
        return Problem("reserved_name", f"'{value}' is taken by WebOps. Choose another name.")
    return part_name(value)


_DAY = r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]{0,6}"
_WHEN = re.compile(
    rf"(?=.)(?:{_DAY}(?:(?:\.\.|,){_DAY})*(?: (?=.)|\Z))?"
    r"(?:[0-9*/.,]{1,20}(?:-[0-9*/.,~]{1,20}){1,2}(?: (?=.)|\Z))?"
    r"(?:[0-9*/.,]{1,20}(?::[0-9*/.,]{1,20}){1,2}(?: (?=.)|\Z))?(?:UTC|[A-Z][A-Za-z_]+(?:/[A-Za-z_+-]+)*)?")
_WHEN_WORDS = {"minutely", "hourly", "daily", "weekly", "monthly", "quarterly", "semiannually", "yearly", "annually"}


def schedule(value: str) -> Problem | None:
    """A time that comes again, in systemd's calendar form."""
    if value in _WHEN_WORDS:
        return None
    if re.fullmatch(r"[0-9*/,-]+(?: [0-9*/,A-Za-z-]+){4}", value) or value.startswith("@"):
        return Problem("cron_form", "This is cron's form. Write systemd's: hourly, Mon..Fri 08:30, *-*-01 04:00, or "
                       "*:0/5 for every five minutes.")
    if len(value) > 100 or not _WHEN.fullmatch(value):
        return Problem("invalid_schedule", "Write when it runs: hourly, daily, Mon..Fri 08:30, *-*-* 03:15, or *:0/5 "
                       "for every five minutes.")
    return None


def header_name(value: str) -> Problem | None:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9-]{0,99}", value):
        return Problem("invalid_header", "Write the name of an HTTP header, such as X-Robots-Tag.")
    return None


def positive(value: int | str) -> Problem | None:
    if isinstance(value, bool) or not re.fullmatch(r"[1-9][0-9]{0,6}", str(value)):
        return Problem("invalid_number", "Use a whole number, 1 or more.")
    return None


def not_negative(value: int | str) -> Problem | None:
    if isinstance(value, bool) or not re.fullmatch(r"[0-9]{1,7}", str(value)):
        return Problem("invalid_number", "Use a whole number, 0 or more.")
    return None


def share(value: float | str) -> Problem | None:
    if isinstance(value, bool) or not re.fullmatch(r"0?\.[0-9]{1,4}|1(?:\.0{1,4})?", str(value)) or not float(value):
        return Problem("invalid_share", "Use a number above 0 and up to 1, such as 0.9.")
    return None


def model(value: str) -> Problem | None:
    """A model's id on a hub, or the path of its directory."""
    if value.startswith("/"):
        return absolute_path(value)
    part = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9])?"
    if not re.fullmatch(rf"{part}/{part}", value) or ".." in value or "--" in value:
        return Problem("invalid_model", "Write a model's id on the hub, such as Qwen/Qwen2.5-7B-Instruct, or the full "
                       "path of its directory on the server, such as /srv/models/tiny.")
    return None


def served_name(value: str) -> Problem | None:
    # A client may read it as the address of a file, as it does with a model's own name.
    if not re.fullmatch(r"(?!.*//)[A-Za-z0-9](?:[A-Za-z0-9._/:-]{0,98}[A-Za-z0-9])?", value) or ".." in value:
        return Problem("invalid_served_name", "Use letters, digits and . _ / : -, such as qwen-7b.")
    return None


def vllm_version(value: str) -> Problem | None:
    if not re.fullmatch(r"[0-9]{1,3}(?:\.[0-9]{1,4}){1,3}(?:(?:rc|\.?post)[0-9]{1,3})?", value):
        return Problem("invalid_version", "Write a version of vLLM, such as 0.33.0.")
    return None


def vllm_option(value: str) -> Problem | None:
    """An option of `vllm serve` that has no parameter of its own. A beginning means the whole to vLLM, so it counts."""
    if not re.fullmatch(r"[a-z0-9]+(?:-[a-z0-9]+)*", value) or len(value) > 60:
        return Problem("invalid_option", "Write an option of `vllm serve` without the hyphens in front, such as "
                       "enable-auto-tool-choice.")
    taken = next((one for one in _VLLM_TAKEN if one.startswith(value)), None)
    if taken:
        return Problem("option_taken", f"'{taken}' is decided by WebOps. Use the parameter for it where there is one.")
    return None


def origin(value: str) -> Problem | None:
    """Where a web page comes from, as a browser says it."""
    found = re.fullmatch(r"https?://(?P<host>[a-z0-9.-]+)(?::(?P<port>[0-9]+))?", value)
    if value != "*" and (not found or address(found["host"]) or (found["port"] and port(found["port"]))):
        return Problem("invalid_origin", "Write an origin, such as https://chat.example.org, or * for all pages.")
    return None


def header_value(value: str) -> Problem | None:
    if not re.fullmatch(r"[\x20-\x7e]{0,2000}", value):
        return Problem("invalid_header", "The value of a header is one line of ASCII text.")
    return None


def upstream(value: str) -> Problem | None:
    """Where a request is passed on to: a socket of this server, or an HTTP address."""
    if value.startswith("unix:"):
        return absolute_path(value.removeprefix("unix:"))
    found = re.fullmatch(r"http://(?P<host>[a-z0-9.-]+)(?::(?P<port>[0-9]+))?", value)
    if not found or address(found["host"]) or (found["port"] and port(found["port"])):
        return Problem("invalid_upstream", "Write unix:/path/of/a/socket or http://127.0.0.1:8000.")
    return None


def ssh_public_key(value: str) -> Problem | None:
    kinds = r"ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(?:256|384|521)|sk-(?:ssh-ed25519|ecdsa-sha2-nistp256)@openssh\.com"
    if not re.fullmatch(rf"(?:{kinds}) [A-Za-z0-9+/]{{40,12000}}={{0,2}}(?: [^\x00-\x1f\x7f]{{0,200}})?", value):
        return Problem("invalid_public_key", "Write one line of a .pub file, such as ssh-ed25519 AAAA… name.")
    return None


_KEY_BLOCK = re.compile(
    r"\s*-----BEGIN OPENSSH PRIVATE KEY-----\r?\n([A-Za-z0-9+/=\r\n]+)-----END OPENSSH PRIVATE KEY-----\s*")
_KEY_MAGIC = b"openssh-key-v1\0"


def _key_parts(value: str) -> tuple[bytes, bytes] | None:
    """The cipher of an OpenSSH private key and its public half, which is never encrypted. None: it is no such key."""
    block = _KEY_BLOCK.fullmatch(value) if len(value) < 30_000 else None
    try:
        raw = base64.b64decode("".join(block[1].split()), validate=True) if block else b""
    except binascii.Error:
        return None
    if not raw.startswith(_KEY_MAGIC):
        return None
    fields, place = [], len(_KEY_MAGIC)
    for _ in range(4):  # cipher, derivation, its options, then (behind the number of keys) the public half
        place += 4 if len(fields) == 3 else 0
        size = int.from_bytes(raw[place:place + 4], "big")
        fields.append(raw[place + 4:place + 4 + size])
        place += 4 + size
    return (fields[0], fields[3]) if fields[3] and place <= len(raw) else None


def public_half(private: str) -> str | None:
    """The public line of an OpenSSH private key, without a comment; None where it is no such key."""
    parts = _key_parts(private)
    size = int.from_bytes(parts[1][:4], "big") if parts else 0
    kind = parts[1][4:4 + size].decode("ascii", "replace") if parts else ""
    return f"{kind} {base64.b64encode(parts[1]).decode()}" if parts and re.fullmatch(r"[a-z0-9@.-]+", kind) else None


def deploy_key(value: str) -> Problem | None:
    """A private key that opens a repository without anybody's help."""
    parts = _key_parts(value)
    if not parts or not public_half(value):
        return Problem("invalid_deploy_key", "Paste an OpenSSH private key, from -----BEGIN OPENSSH PRIVATE KEY----- "
                       "to -----END …-----. `ssh-keygen -p -f FILE` turns an older form into it.")
    if parts[0] != b"none":
        return Problem("key_has_passphrase", "This key has a passphrase, which nobody could type in. Give one without.")
    return None


def token(value: str) -> Problem | None:
    if not re.fullmatch(r"[\x21-\x7e]{8,4000}", value):
        return Problem("invalid_token", "Paste the token alone: 8 or more letters, digits and signs, without spaces.")
    return None


def login_name(value: str) -> Problem | None:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,99}", value):
        return Problem("invalid_login", "Use letters, digits and . _ @ + -, beginning with a letter or a digit.")
    return None


def pem(value: str) -> Problem | None:
    """One or more PEM blocks and nothing else."""
    block = r"-----BEGIN [A-Z ]+-----\r?\n[A-Za-z0-9+/=\r\n]+-----END [A-Z ]+-----\s*"
    if len(value) > 100_000 or not re.fullmatch(rf"(?:{block})+", value.strip()):
        return Problem("invalid_pem", "Paste PEM text: -----BEGIN …----- to -----END …-----, without anything else.")
    return None


def line(value: str) -> Problem | None:
    """Any text on one line."""
    return control_character(value)


def network(value: str) -> Problem | None:
    try:
        ipaddress.ip_network(value)
        return None
    except ValueError:
        return Problem("invalid_network",
                       "Write an IP address, or a network with no address of a host in it: 10.1.0.0/16.")


def _setting(value: str) -> Problem | None:
    """What the panel's settings file cannot hold, which systemd and a shell read. It may hold a password: unquoted."""
    if not re.fullmatch(r"[\x21-\x7e]*", value) or re.search(r"['\"\\]", value):
        return Problem("invalid_setting", "No spaces, quotes, backslashes and signs outside ASCII are possible here. "
                       "In a URL, write such a sign of a password as %20, %27 or %5C.")
    return None


def database_url(value: str) -> Problem | None:
    found = _DATABASE_URL.fullmatch(value)
    if not found or (found["port"] and port(found["port"])):
        return _setting(value) or Problem("invalid_database_url", "Write the address of a PostgreSQL database, such as "
                                          "postgresql://webops:PASSWORD@db.example.org/webops.")
    return _setting(value)


def redis_url(value: str) -> Problem | None:
    try:
        parts = urlsplit(value)
        fits = parts.path if parts.scheme == "unix" else parts.scheme in ("redis", "rediss") and parts.hostname
        wrong = parts.port == 0 or parts.fragment or not fits
    except ValueError:
        wrong = True
    return _setting(value) or (Problem(
        "invalid_redis_url", "Write the address of a Redis server, such as redis://:PASSWORD@redis.example.org:6379/0 "
        "or unix:///run/redis/redis.sock.") if wrong else None)


_NUMBERS = {"port", "positive", "not_negative", "share"}
FORMATS: dict[str, Callable[[Any], Problem | None]] = {
    check.__name__: check
    for check in (name, domain, address, port, email, unix_user, git_address, git_ref, release, migration, env_name,
                  database, relative_path, absolute_path, url_path, https_url, python_module, wsgi_module,
                  python_version, size, debian_package, python_package, extra, identifier, part_name, process_name,
                  schedule, header_name, header_value, upstream, ssh_public_key, deploy_key, token, login_name, pem,
                  positive, not_negative, share, model, served_name, vllm_version, vllm_option, origin, line, network,
                  database_url, redis_url)
}


def problem(format_name: str, value: Any) -> Problem | None:
    """Why `value` breaks the format, or None. Lists are checked item by item. KeyError: no such format."""
    check = FORMATS[format_name]
    if isinstance(value, list):
        return next((found for item in value if (found := problem(format_name, item))), None)
    if format_name in _NUMBERS:
        return check(value)
    if not isinstance(value, str):
        return Problem("not_text", "Write text here.")
    return check(value)


class TestModule:
    """What Ansible asks a test plugin for."""

    def tests(self) -> dict[str, Callable[[Any], bool]]:
        return {key: (lambda value, key=key: problem(key, value) is None) for key in FORMATS}
