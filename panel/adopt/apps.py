"""The app behind an address of nginx: its service, repository and environment, in the values of a Django app."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Any

from panel.adopt.vhost import Reading
from panel.catalog import formats

Values = dict[str, Any]
#: What systemd or a shell gives every process; it says nothing of the app.
_EVERYWHERE = re.compile(r"PATH|HOME|LANG|LC_.*|LOGNAME|USER|SHELL|PWD|OLDPWD|TERM|_|INVOCATION_ID|JOURNAL_STREAM|"
                         r"SYSTEMD_.*|LISTEN_.*|NOTIFY_SOCKET|MAINPID|MANAGERPID|MEMORY_PRESSURE_.*|WATCHDOG_.*|"
                         r"RUNTIME_DIRECTORY|STATE_DIRECTORY|CACHE_DIRECTORY|LOGS_DIRECTORY|CONFIGURATION_DIRECTORY|"
                         r"CREDENTIALS_DIRECTORY|VIRTUAL_ENV|PYTHONUNBUFFERED|PYTHONDONTWRITEBYTECODE|SERVER_SOFTWARE|"
                         r"DEBUG_INVOCATION|TMPDIR|DJANGO_SETTINGS_MODULE")
_SECRET = re.compile(r"SECRET|PASS|PWD|TOKEN|KEY|SALT|DSN|CREDENTIAL|PIN|AUTH|PRIVATE|SIGN", re.IGNORECASE)
#: Values that give nothing away; all others are kept as secrets.
_PLAIN = re.compile(r"true|false|yes|no|on|off|none|[0-9]{1,6}|[a-z]{2}([_-][A-Za-z]{2})?|UTC|"
                    r"(debug|info|warning|error|production|staging|development)", re.IGNORECASE)
#: What a release has its own place or program for.
_GIVEN = ("STATIC_ROOT", "MEDIA_ROOT", "GUNICORN_CMD_ARGS", "PORT")
#: Known to be no secrets, whatever they hold.
_SHOWN = ("ALLOWED_HOSTS", "CSRF_TRUSTED_ORIGINS", "TZ")
_LINE = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)")
_MOST = 200


def service_of(found: Mapping[str, Any], upstream: str) -> dict[str, Any] | None:
    """The service that listens where requests are passed on to."""
    wanted = upstream.removeprefix("unix:") if upstream.startswith("unix:") else upstream.rpartition(":")[2]
    if wanted.startswith("/var/run/"):
        wanted = wanted.removeprefix("/var")
    return next((one for one in found["services"] if wanted in one["listens"]), None)


def source(found: Mapping[str, Any], directory: str) -> dict[str, str] | None:
    """Address, branch and place within it of the checkout that a directory lies in; None where there is none to use."""
    checkout = found["repositories"].get(directory)
    if not checkout:
        return None
    origin = re.search(r'^\[remote "origin"\]\s*\n(?:(?!\[).*\n)*?\s*url\s*=\s*(\S+)\s*$', checkout["config"] + "\n",
                       re.MULTILINE)
    address = re.sub(r"^(https://)[^/@]*@", r"\1", origin[1]) if origin else ""
    if not address or formats.problem("git_address", address):
        return None
    head = checkout["head"].strip()
    ref = head.removeprefix("ref: refs/heads/")
    within = checkout["within"] if checkout["within"] != "." else ""
    if formats.problem("git_ref", ref) or (within and formats.problem("relative_path", within)):
        return None
    return {"repo": address, "ref": ref, "within": within}


def django(found: Mapping[str, Any], service: Mapping[str, Any], reading: Reading,
           python: str) -> tuple[Values, list[str]] | None:
    """Values by short name, and what they leave out. None: it is no Django app that could be fetched from git.

    `python`: the version of the server's own.
    """
    at = source(found, service["directory"])
    if "manage.py" not in service["files"] or at is None:
        return None
    environment, secrets, left_out = variables(service)
    values: Values = {
        "repo": at["repo"], "ref": at["ref"], "directory": at["within"], "domain": reading.values["domain"],
        "aliases": reading.values.get("aliases", []), "database": False, "environment": environment,
        "secrets": secrets, "upload_size": reading.values.get("max_body_size"),
        "request_timeout": reading.values.get("timeout"), **_command(service["command"]),
        **_settings(service), **_python(service, python)}
    if at["repo"].startswith(("ssh://", "git@")) or "@" in at["repo"]:
        left_out.append("the key that fetches its repository: webops key makes one of WebOps' own, to be added there")
    for one in reading.values.get("static", []):
        if "media" in one["location"]:
            left_out.append(f"uploaded files in {one['directories'][0]}: copy them to the new place before you apply")
    return {key: value for key, value in values.items() if value not in (None, "", [])}, left_out


def variables(service: Mapping[str, Any]) -> tuple[list[Values], list[Values], list[str]]:
    """(shown, secret, left out): what the process has in its environment, and from .env what it has not."""
    given: dict[str, str] = {}
    for line in service["files"].get(".env", "").splitlines():
        _line(line, given)
    for word in _words(service["settings"]):
        _line(word, given, is_quoted=False)
    for line in service["files"].get("EnvironmentFile", "").splitlines():
        _line(line, given)
    for word in service["environment"]:
        name, sign, value = word.partition("=")
        if sign:
            given[name] = value
    shown: list[Values] = []
    secret: list[Values] = []
    left_out: list[str] = []
    for name, value in list(given.items())[:_MOST]:
        if _EVERYWHERE.fullmatch(name):
            continue
        if formats.problem("env_name", name) or "\0" in value:
            left_out.append(f"the variable {name[:60]}, which cannot be set here")
            continue
        if name in _GIVEN:
            left_out.append(f"the variable {name}={value[:100]}, which every release gets from WebOps")
            continue
        plain = name in _SHOWN or (_PLAIN.fullmatch(value) and not _SECRET.search(name))
        (shown if plain else secret).append({"name": name, "value": value})
    return shown, secret, left_out


def _words(text: str) -> list[str]:
    """Environment= as systemctl shows it."""
    try:
        return shlex.split(text)
    except ValueError:
        return []


def _line(text: str, given: dict[str, str], is_quoted: bool = True) -> None:
    if found := _LINE.fullmatch(text.strip()):
        given[found[1]] = _unquoted(found[2]) if is_quoted else found[2]


def _unquoted(text: str) -> str:
    found = re.fullmatch(r"""(["'])(.*)\1\s*(?:\#.*)?""", text)
    return found[2] if found else text.partition(" #")[0].strip()


def _command(words: list[str]) -> Values:
    values: Values = {}
    for place, word in enumerate(words):
        if re.fullmatch(r"[A-Za-z_][\w.]*\.wsgi(:[A-Za-z_]\w*)?", word):
            values["wsgi"] = word if ":" in word else f"{word}:application"
        number = re.fullmatch(r"(?:-w|--workers)(?:=?(\d{1,3}))?", word)
        if number:
            count = number[1] or (words[place + 1] if place + 1 < len(words) else "")
            if re.fullmatch(r"[1-9]\d?", count):
                values["workers"] = int(count)
    return values


def _settings(service: Mapping[str, Any]) -> Values:
    named = dict(word.partition("=")[::2] for word in service["environment"]).get("DJANGO_SETTINGS_MODULE", "")
    return {} if not named or formats.problem("python_module", named) else {"settings": named}


def _python(service: Mapping[str, Any], ours: str) -> Values:
    found = re.search(r"^version(?:_info)?\s*=\s*(\d+\.\d+)", service["files"].get("pyvenv.cfg", ""), re.MULTILINE)
    return {"python": found[1]} if found and found[1] != ".".join(ours.split(".")[:2]) else {}
