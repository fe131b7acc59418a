"""The login of a private repository, given to git for the repository's own host and for no other.

It comes in one variable of this process alone. The token reaches git through a credential helper that reads such a
variable; the key lies in memory that only processes of this user can open. Neither is ever an argument or a file.
"""

import json
import os
import re
from urllib.parse import urlsplit

VARIABLE = "WEBOPS_LOGIN"
# Called by git with the word `get`; the shell that runs it has the variables, and its command line only their names.
HELPER = '!f() { test "$1" = get && printf "username=%s\\npassword=%s\\n" "$WEBOPS_GIT_USER" "$WEBOPS_GIT_TOKEN"; }; f'
SCP = re.compile(r"(?:[^@/:]+@)?(?P<host>[^:/@]+):(?!//)")
PORTS = {"https": 443, "ssh": 22}


class Login:
    """What opens `address`, where anything does: a token for https, a key for ssh."""

    def __init__(self, address):
        self.place = place_of(address)
        given = json.loads(os.environ.pop(VARIABLE, None) or "{}")
        self.user, self.token, self.key = (given.get(name) or "" for name in ("user", "token", "key"))
        self._handle = None

    def opens(self, address):
        """Whether it is for the host of this address."""
        return bool(self.token or self.key) and self.place is not None and place_of(address) == self.place

    def environment(self, address, known_hosts):
        """Variables for a git that speaks to this address."""
        ssh = ["ssh -o BatchMode=yes -o StrictHostKeyChecking=accept-new -o ConnectTimeout=20",
               f"-o UserKnownHostsFile={known_hosts}"]
        found = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "credential.helper", "GIT_CONFIG_VALUE_0": ""}
        if self.opens(address) and self.key:
            ssh.append(f"-o IdentitiesOnly=yes -o IdentityAgent=none -i {self._key_file()}")
        if self.opens(address) and self.token and address.startswith("https://"):
            found.update(GIT_CONFIG_COUNT="2", GIT_CONFIG_VALUE_1=HELPER, WEBOPS_GIT_USER=self.user,
                         GIT_CONFIG_KEY_1=f"credential.https://{urlsplit(address).netloc}.helper",
                         WEBOPS_GIT_TOKEN=self.token)
        return {**found, "GIT_SSH_COMMAND": " ".join(ssh)}

    def _key_file(self):
        if self._handle is None:
            self._handle = os.memfd_create("key")
            os.fchmod(self._handle, 0o600)
            os.write(self._handle, (self.key.strip() + "\n").encode())
        return f"/proc/{os.getpid()}/fd/{self._handle}"


def place_of(address):
    """(host, port) where the port is an unusual one; None for what has no host."""
    scp = SCP.match(address) if "://" not in address else None
    if scp:
        return scp["host"].lower(), None
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        return None
    usual = port in (None, PORTS.get(parts.scheme))
    return (parts.hostname, None if usual else port) if parts.hostname else None
