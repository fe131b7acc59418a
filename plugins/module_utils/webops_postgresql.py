"""PostgreSQL of a server: which cluster, how its superuser is spoken to, and how values become SQL."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import pwd
import secrets
import stringprep
import subprocess
import unicodedata

from ansible.module_utils.webops_place import Refused

ITERATIONS = 4096


def literal(value):
    """A value as an SQL literal; ValueError for NUL, which PostgreSQL cannot store."""
    if "\0" in value:
        raise ValueError("PostgreSQL cannot store the character NUL.")
    return "'" + value.replace("'", "''") + "'"


def identifier(value):
    """A name as an SQL identifier."""
    if "\0" in value or not value:
        raise ValueError("A name in PostgreSQL is neither empty nor holds the character NUL.")
    return '"' + value.replace('"', '""') + '"'


class Cluster:
    """The newest cluster of the server that is (or can be) online."""

    def __init__(self, version, name, port):
        self.version, self.name, self.port = version, name, port
        self.unit = f"postgresql@{version}-{name}.service"

    def rows(self, sql, database="postgres"):
        """Run statements; the JSON that they select. Raises Refused with PostgreSQL's own last lines."""
        account = pwd.getpwnam("postgres")
        ended = subprocess.run(
            ["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-p", str(self.port), "-d", database],
            # With this setting a backslash in a literal is just a backslash.
            input="SET standard_conforming_strings = on; SET client_min_messages = warning;\n" + sql,
            capture_output=True, text=True, check=False, cwd="/",
            user=account.pw_uid, group=account.pw_gid, extra_groups=[],
            env={"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin", "PGCLIENTENCODING": "UTF8"},
        )
        if ended.returncode:
            raise Refused("PostgreSQL did not do what was asked.", "Read what it says below, then apply again.",
                          quiet(ended.stderr))
        return [json.loads(line) for line in ended.stdout.splitlines() if line]


def quiet(text):
    """What PostgreSQL said, without the statement that it repeats, which may hold a password's verifier."""
    return [line for line in text.strip().splitlines() if line.startswith(("ERROR", "psql:", "DETAIL", "HINT"))
            and "SCRAM-SHA-256$" not in line][-10:]


def find_cluster():
    """The cluster to use, or None where PostgreSQL is not installed yet. Starts one that is down."""
    try:
        ended = subprocess.run(["pg_lsclusters", "--no-header"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    lines = [line.split() for line in ended.stdout.splitlines()]
    clusters = sorted(lines, key=lambda line: (line[3].startswith("online"), float(line[0])), reverse=True)
    if not clusters:
        return None
    version, name, port, state = clusters[0][:4]
    cluster = Cluster(version, name, int(port))
    if not state.startswith("online"):
        subprocess.run(["systemctl", "start", cluster.unit], capture_output=True, check=False)
    return cluster


def verifier(password, salt=None):
    """What PostgreSQL stores for a password (RFC 5803), so that the password itself never reaches its log."""
    salt = salt or secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", prepared(password).encode(), salt, ITERATIONS)
    client = hmac.digest(salted, b"Client Key", "sha256")
    server = hmac.digest(salted, b"Server Key", "sha256")
    parts = [base64.b64encode(part).decode() for part in (salt, hashlib.sha256(client).digest(), server)]
    return f"SCRAM-SHA-256${ITERATIONS}:{parts[0]}${parts[1]}:{parts[2]}"


def matches(stored, password):
    """Whether a stored verifier is the one of the password."""
    try:
        scheme, head, _keys = (stored or "").split("$")
        iterations, salt = head.split(":")
    except ValueError:
        return False
    if scheme != "SCRAM-SHA-256" or int(iterations) != ITERATIONS:
        return False
    return hmac.compare_digest(stored, verifier(password, base64.b64decode(salt)))


def prepared(password):
    """SASLprep (RFC 4013) as PostgreSQL does it: a password that breaks its rules is taken as it is."""
    mapped = "".join(" " if stringprep.in_table_c12(char) else char
                     for char in password if not stringprep.in_table_b1(char))
    text = unicodedata.normalize("NFKC", mapped)
    forbidden = (stringprep.in_table_c12, stringprep.in_table_c21_c22, stringprep.in_table_c3, stringprep.in_table_c4,
                 stringprep.in_table_c5, stringprep.in_table_c6, stringprep.in_table_c7, stringprep.in_table_c8,
                 stringprep.in_table_c9, stringprep.in_table_a1)
    if password.isascii() or not text or any(check(char) for char in text for check in forbidden):
        return password
    mixed = any(map(stringprep.in_table_d1, text)) and any(map(stringprep.in_table_d2, text))
    return password if mixed else text
