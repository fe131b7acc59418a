# webops
"""One certificate: a directory with what is wanted, what the current one was made from, and the pair.

`current` is a link to a version. The pair changes by renaming that one link, so a key is never seen beside the
certificate of another.
"""

import hashlib
import json
import re
import secrets
import shutil
import stat
import time
from pathlib import Path

from authority import LATER
from keys import dates
from machine import Refused, lock, run, symlink, telling, write

CERTIFICATES = Path("/etc/webops/certs")
NAME = re.compile(r"[a-z](?:-?[a-z0-9])+")


class Certificate:
    def __init__(self, name):
        if not NAME.fullmatch(name):
            raise Refused(f"{name!r} is no name of a certificate.")
        self.name = name
        self.home = CERTIFICATES / name
        self.chain, self.key = self.home / "fullchain.pem", self.home / "privkey.pem"

    def read(self, file):
        try:
            return json.loads((self.home / file).read_text())
        except (OSError, ValueError):
            return None

    def settings(self):
        return self.read("settings.json") or {}

    def exists(self):
        return self.chain.exists() and self.key.exists()

    def own(self):
        """The pair that a person gave, or empty texts."""
        parts = {part: self.home / "own" / f"{part}.pem" for part in ("certificate", "key")}
        return {part: path.read_text() if path.exists() else "" for part, path in parts.items()}

    def wanting(self, settings=None):
        """Whether what is wanted and what is there differ, or the last third of its life has begun."""
        settings = settings or self.settings()
        if not self.exists() or self.read("issued.json") != {**essence(settings), "pair": self.fingerprint()}:
            return True
        if settings["source"] == "own":
            own = self.own()
            return (self.chain.read_text(), self.key.read_text()) != (own["certificate"], own["key"])
        return self.due()

    def fingerprint(self):
        """Another one when either file was replaced by hand; none for a key that others can read, and may have."""
        if stat.S_IMODE(self.key.stat().st_mode) & 0o077:
            return ""
        return hashlib.sha256(self.chain.read_bytes() + self.key.read_bytes()).hexdigest()

    def due(self):
        start, end = dates(self.chain)
        return end - time.time() < (end - start) / 3

    def in_words(self):
        return f"valid until {time.strftime('%Y-%m-%d', time.gmtime(dates(self.chain)[1]))}"

    def install(self, chain, key, issued):
        """Put the pair in place of the old one; nginx takes it up, or everything stays as it was."""
        version = self.home / "versions" / (time.strftime("%Y%m%dT%H%M%S-") + secrets.token_hex(2))
        version.mkdir(parents=True, mode=0o755)
        write(version / "privkey.pem", key, 0o600)
        write(version / "fullchain.pem", chain, 0o644)
        with lock("nginx"):
            before = current.readlink() if (current := self.home / "current").is_symlink() else None
            self.point_to(f"versions/{version.name}")
            try:
                take_up(self.name)
            except Refused:
                self.go_back(before, version)
                raise
        issued = {**issued, "pair": self.fingerprint()}
        write(self.home / "issued.json", json.dumps(issued, indent=1, sort_keys=True) + "\n", 0o644)
        for old in (self.home / "versions").iterdir():
            if old != version:
                shutil.rmtree(old)

    def point_to(self, target):
        symlink(target, self.home / "current")
        for path in (self.chain, self.key):
            if not path.is_symlink() or path.readlink() != Path("current") / path.name:
                symlink(f"current/{path.name}", path)

    def go_back(self, before, version):
        if before:
            symlink(before, self.home / "current")
        shutil.rmtree(version)


def essence(settings):
    """What a certificate is made from; the rest of the settings says how to ask for it."""
    return {key: settings.get(key) for key in ("source", "domains", "directory")}


def take_up(name):
    """Let nginx read the new pair, if it uses it."""
    if users_of(name):
        ask_nginx("nginx does not accept the new certificate; the old one stays.", LATER)
        run(["systemctl", "reload", "nginx.service"])


def ask_nginx(refusal, then):
    """Raises Refused with these words where nginx would not start with its configuration."""
    ended = run(["nginx", "-q", "-t"])
    if ended.returncode:
        raise Refused(refusal, then, telling(ended))


def users_of(name):
    files = (path for path in Path("/etc/nginx/sites-enabled").glob("*") if path.is_file())
    return sorted(re.sub(r"^wo-(.+)\.conf$", r"the virtual host '\1'", path.name) for path in files
                  if f"{CERTIFICATES}/{name}/" in path.read_text(errors="replace"))
