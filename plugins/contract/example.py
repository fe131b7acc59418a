"""Read .env.example: which variables an app wants, and what can be done about each.

way: `given` WebOps gives it itself · `generate` made at random, it is the app's own · `ask` nobody but a person knows
it · `default` the example's value is offered.
"""

from __future__ import annotations

import re
import secrets
from base64 import urlsafe_b64encode
from dataclasses import asdict, dataclass
from typing import Any

from .check import Problem, formats
from .document import LIMIT

NAMES = (".env.example", ".env.sample", ".env.dist")
MOST = 200
LINE = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)")
#: What the role gives under its usual names.
GIVEN = {"DATABASE_URL", "SECRET_KEY", "ALLOWED_HOSTS", "CSRF_TRUSTED_ORIGINS", "STATIC_ROOT", "MEDIA_ROOT"}
SECRET = re.compile(r"(?:^|_)(?:SECRET|PASSWORD|PASSWD|PASS|PWD|TOKEN|KEY|SALT|DSN|CREDENTIALS?)(?:_|$)")
#: Secrets that an app makes up for itself; nobody outside has to know them.
OWN = re.compile(
    r"(?:^|_)(?:SECRET_KEY|SALT|SIGNING_KEY|SESSION_SECRET|COOKIE_SECRET|COOKIE_PASSWORD|JWT_SECRET|HMAC_KEY|"
    r"ENCRYPTION_KEY|FERNET_KEY|(?:ADMIN|SUPERUSER|APP)_PASSWORD|(?:INTERNAL|HEALTH|METRICS|CRON)_TOKEN)$|"
    r"^(?:JWT|SESSION|COOKIE|APP|DJANGO)?_?SECRET$|^APP_KEY$"
)
FERNET = re.compile(r"FERNET|FIELD_ENCRYPTION|(?:^|_)ENCRYPTION_KEY")
#: Words for somebody else's service: a credential of it is known there alone.
OUTSIDE = re.compile(
    r"(?:^|_)(?:AWS|S3|GCP|GOOGLE|AZURE|STRIPE|PAYPAL|BRAINTREE|SENTRY|MAILGUN|SENDGRID|POSTMARK|MAILJET|SES|"
    r"SMTP|EMAIL|MAIL|TWILIO|SLACK|DISCORD|TELEGRAM|GITHUB|GITLAB|BITBUCKET|FACEBOOK|TWITTER|LINKEDIN|APPLE|"
    r"OAUTH|OIDC|SAML|LDAP|AUTH0|OKTA|OPENAI|ANTHROPIC|ALGOLIA|CLOUDINARY|CLOUDFLARE|RECAPTCHA|HCAPTCHA|"
    r"TURNSTILE|MAPBOX|NEWRELIC|NEW_RELIC|DATADOG|ROLLBAR|BUGSNAG|CLIENT|API|WEBHOOK|ACCESS|CONSUMER|"
    r"DB|DATABASE|POSTGRES|PG|MYSQL|MONGO|REDIS|RABBITMQ|BROKER|ELASTIC|ELASTICSEARCH)(?:_|$)"
)
PLACEHOLDER = re.compile(
    r"(?i)^(?:x{3,}|\*{3,}|\.{3,}|<.*>|\{.*\}|\[.*\]|your[ _-].*|.*change[ _-]?(?:me|this|it).*|todo|"
    r"replace[ _-].*|insert[ _-].*|put[ _-].*|example|placeholder|secret|password|none|null)$"
)
#: Addresses as they are in a container network or on a developer's machine.
NEAR = re.compile(
    r"(?i)^[a-z][a-z0-9+.-]*://(?:[^/@]*@)?(?:localhost|127\.0\.0\.1|0\.0\.0\.0|[a-z][a-z0-9_-]*)(?::\d+)?(?:/|$)"
)


@dataclass(frozen=True)
class Variable:
    """A variable that the example names, and what is offered for it. `type`: text, number, boolean, url."""

    name: str
    way: str
    why: str
    type: str = "text"
    secret: bool = False
    value: str = ""
    help: str = ""
    line: int = 0

    def data(self) -> dict[str, Any]:
        return asdict(self)


def read(file: str, text: str) -> tuple[list[Variable], list[Problem]]:
    """The variables, in their order; a line that cannot be read is passed over and told."""
    if len(text) > LIMIT:
        return [], [Problem("", f"The file is larger than {LIMIT // 1024} KB and is not read.", file)]
    found: dict[str, Variable] = {}
    problems: list[Problem] = []
    remarks: list[str] = []
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
        bare = line.strip()
        match = LINE.fullmatch(bare)
        if match and not formats.env_name(match[1]) and len(found) < MOST:
            value, remark = _value(match[2])
            found.setdefault(match[1], _sort(match[1], value, _help([*remarks, remark]), number))
        elif bare and not bare.startswith("#") and not match:
            problems.append(Problem("", "This line is no NAME=value and is passed over.", file, number))
        remarks = (
            [*remarks[-3:], bare.lstrip("# ").strip()]
            if bare.startswith("#") and not LINE.fullmatch(bare.lstrip("# "))
            else []
        )
    return list(found.values()), problems


def _value(text: str) -> tuple[str, str]:
    """The value without its quotes, and the remark behind it."""
    for quote in ('"', "'"):
        match = re.fullmatch(rf"{quote}((?:\\.|[^{quote}\\])*){quote}\s*(?:#\s*(.*))?", text)
        if match:
            return match[1].replace("\\" + quote, quote).replace("\\n", "\n" if quote == '"' else "\\n"), match[2] or ""
    value, _sign, remark = text.partition(" #") if not text.startswith("#") else ("", "", text[1:])
    return value.strip(), remark.strip()


def _help(lines: list[str]) -> str:
    return " ".join(line for line in lines if line and re.search(r"\w", line))[:200]


def _sort(name: str, value: str, remark: str, line: int) -> Variable:
    upper = name.upper()
    secret = bool(SECRET.search(upper)) and not re.search(r"PUBLIC|PUBLISHABLE|_ID$", upper)
    way, why, kept = _way(upper, value, secret)
    return Variable(name, way, why, _type(upper, kept or value), secret, kept, remark, line)


def _way(name: str, value: str, secret: bool) -> tuple[str, str, str]:
    if name in GIVEN:
        return "given", "WebOps gives it.", ""
    if OWN.search(name) and not OUTSIDE.search(name):
        return "generate", "A secret of the app's own; a random one is made.", ""
    if secret:
        return "ask", "A credential that only its service knows.", ""
    if name in ("DEBUG", "DJANGO_DEBUG", "FLASK_DEBUG") and value.lower() in ("1", "true", "yes", "on"):
        return "default", "The example switches it on for a developer's own machine; off is offered.", _off(value)
    if NEAR.match(value):
        return "ask", f"The example's address ({_cut(value)}) is one of a developer's own machine.", ""
    if not value or PLACEHOLDER.match(value):
        return "ask", "The example has no value for it.", ""
    return "default", "As in the example.", value


def _off(value: str) -> str:
    return {"1": "0", "true": "false", "True": "False", "TRUE": "FALSE", "yes": "no", "on": "off"}.get(value, "False")


def _cut(value: str) -> str:
    """Without a password, and short."""
    return re.sub(r"(?<=//)[^/@]*@", "", value)[:60]


def _type(name: str, value: str) -> str:
    if value.lower() in ("true", "false", "yes", "no", "on", "off"):
        return "boolean"
    if re.fullmatch(r"-?[0-9]+(?:\.[0-9]+)?", value):
        return "number"
    if re.match(r"[a-z][a-z0-9+.-]*://", value) or name.endswith("_URL"):
        return "url"
    return "text"


def make(name: str) -> str:
    """A random value for a variable whose way is `generate`, in the form that its name promises."""
    if FERNET.search(name.upper()):
        return urlsafe_b64encode(secrets.token_bytes(32)).decode()
    return secrets.token_urlsafe(48)
