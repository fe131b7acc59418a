"""Bring the wanted commit into the bare mirror of a repository, and say which one it is."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import tempfile

import lfs
import listing
import migrations
import submodules
from login import Login
from report import Stop, main

COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
PART_OF_COMMIT = re.compile(r"[0-9a-f]{7,64}")
# As Django does it: what begins with _ or ~ is no migration.
MIGRATION = re.compile(r"(?:^|/)migrations/[^/_~][^/]*\.py$")
REF = "refs/webops/wanted"
SHOWN_BRANCHES = 12
SHOWN_COMMITS = 50
#: Between what git says of a commit; no commit's text holds it.
MARK = "%x1f"
REASONS = (
    ("Could not resolve host", "its host name is not known on this server", "Check the address for a typing error."),
    ("could not read Username", "it asks for a login",
     "Give a token (Repository token), or use its ssh address with a deploy key."),
    ("Authentication failed", "it refuses the token",
     "Give another one (Repository token): this one is wrong, has expired, or may not read it."),
    ("error: 403", "the token may not read it", "Give one that may (Repository token)."),
    ("Permission denied (publickey", "it accepts no key of this server",
     "Make a deploy key and add its public half there, or use its https:// address."),
    ("Host key verification failed", "its host key is not the one that it had before",
     "Ask who runs it. If the new one is right, take the old one out of shared/known_hosts of this resource."),
    ("not found", "there is no such repository", "Check the address for a typing error."),
    ("could not be found", "there is no such repository", "Check the address for a typing error."),
    ("does not appear to be a git", "there is no such repository", "Check the address for a typing error."),
    ("certificate", "its certificate is not trusted by this server", "Install its authority on the server."),
    ("not allowed", "only https:// and ssh addresses are allowed", "Write the address as https://host/path."),
)
# The same signs mean something else where a login was given.
MAY_NOT = ("there is no such repository, or the login may not read it",
           "Check the address, and whether the token or the deploy key may read it.")
WITH_LOGIN = (
    ("Permission denied (publickey", "it does not accept the deploy key",
     "Add the key's public half there (the resource's page shows it), or make another one."),
    ("not found", *MAY_NOT), ("could not be found", *MAY_NOT), ("does not appear to be a git", *MAY_NOT),
)


class Repository:
    """A remote repository and our bare mirror of it."""

    def __init__(self, wanted, mirror, login=None, address=None):
        self.wanted = wanted
        self.address = address or wanted["repo"]
        self.mirror = mirror
        self.protocols = wanted.get("protocols", "https:ssh")
        self.login = login or Login(self.address)
        self.environment = {
            **os.environ,
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_ALLOW_PROTOCOL": self.protocols,
            **self.login.environment(self.address, os.path.join(wanted.get("known") or os.path.dirname(mirror),
                                                                "known_hosts")),
            "LC_ALL": "C",
        }

    def git(self, *arguments):
        # What a fetch brings stays one pack: as single files a commit takes several times the room.
        return subprocess.run(
            ["git", "-c", "gc.auto=0", "-c", "fetch.unpackLimit=1", "-c", "http.lowSpeedLimit=1000",
             "-c", "http.lowSpeedTime=60", "-c", "core.hooksPath=/dev/null", f"--git-dir={self.mirror}", *arguments],
            env=self.environment, capture_output=True, text=True, errors="replace", check=False,
            stdin=subprocess.DEVNULL,
        )

    def beside(self, address):
        """Another repository, whose commits are brought into the same mirror."""
        return Repository(self.wanted, self.mirror, self.login, address)

    def prepare(self):
        if not os.path.exists(os.path.join(self.mirror, "HEAD")):
            made = self.git("init", "--quiet", "--bare")
            if made.returncode:
                raise Stop("The mirror of the repository could not be made: " + made.stderr.strip())

    def commit_of(self, name):
        asked = self.git("rev-parse", "--verify", "--quiet", "--end-of-options", name + "^{commit}")
        return asked.stdout.strip() if asked.returncode == 0 else None

    def fetch(self, ref, *options):
        """The commit that a branch, a tag or a commit means there; raises Stop in words."""
        if COMMIT.fullmatch(ref) and self.commit_of(ref):
            return ref
        fetched = self.git("fetch", "--quiet", "--no-tags", "--force", *options, "--", self.address, f"+{ref}:{REF}")
        if fetched.returncode == 0:
            return self.commit_of(REF)
        found = self._search(ref) if PART_OF_COMMIT.fullmatch(ref) else None
        return found or self._explain(ref, fetched.stderr)

    def have(self, commit):
        """Bring exactly this commit, to stay; raises Stop in words."""
        kept = f"refs/webops/modules/{commit}"
        if self.commit_of(commit):
            return
        fetched = self.git("fetch", "--quiet", "--no-tags", "--force", "--", self.address, f"+{commit}:{kept}")
        if fetched.returncode and not self._search(commit, f"refs/webops/of/{commit}/*"):
            listed = self.git("ls-remote", "--heads", "--", self.address)
            if listed.returncode:
                raise Stop(*self._reason(listed.stderr))
            raise Stop(f"{self.address} has no commit {commit[:7]}.", "Push it there, or pin another one.")
        self.git("update-ref", kept, commit)

    def _search(self, ref, into="refs/heads/*"):
        """Not every host gives out a commit by its number, and none by a part of it."""
        self.git("fetch", "--quiet", "--no-tags", "--force", "--", self.address, f"+refs/heads/*:{into}")
        return self.commit_of(ref)

    def _explain(self, ref, words):
        listed = self.git("ls-remote", "--heads", "--", self.address)
        if listed.returncode:
            raise Stop(*self._reason(listed.stderr or words))
        names = [line.split("refs/heads/", 1)[1] for line in listed.stdout.splitlines() if "refs/heads/" in line]
        if ref in names:
            raise Stop(f"Branch '{ref}' of {self.address} could not be fetched: " + _last_line(words),
                       "Run this again; if it stays so, look at the repository.")
        shown = ", ".join(names[:SHOWN_BRANCHES]) + (" …" if len(names) > SHOWN_BRANCHES else "")
        raise Stop(f"Branch '{ref}' does not exist in {self.address}. Branches: {shown or 'none yet'}.",
                   "Choose one of them, a tag, or a commit.")

    def _reason(self, words):
        for sign, reason, then in (*(WITH_LOGIN if self.login.opens(self.address) else ()), *REASONS):
            if sign.lower() in words.lower():
                return f"{self.address} could not be read: {reason}.", then
        return f"{self.address} could not be read: {_last_line(words)}", "Check that this server reaches the address."

    def borrow(self, mirror):
        """Read what another mirror has as our own, so that only what is new is asked for."""
        with open(os.path.join(self.mirror, "objects", "info", "alternates"), "w", encoding="utf-8") as file:
            file.write(os.path.join(mirror, "objects") + "\n")

    def resolve(self, ref):
        """The commit that a name stands for, without fetching anything; None where only a fetch can tell."""
        if COMMIT.fullmatch(ref):
            return ref
        listed = self.git("ls-remote", "--", self.address, ref, f"refs/heads/{ref}", f"refs/tags/{ref}",
                          f"refs/tags/{ref}^{{}}")
        if listed.returncode:
            raise Stop(*self._reason(listed.stderr))
        found = dict(reversed(line.split("\t", 1)) for line in listed.stdout.splitlines() if "\t" in line)
        names = (f"refs/tags/{ref}^{{}}", f"refs/tags/{ref}", f"refs/heads/{ref}", ref)
        return next((found[name] for name in names if name in found), None)

    def describe(self, commit, wanted, missing=False):
        """A commit; with `since`, the commits between the two as well, newest first. `missing`: it has no contents."""
        since, (files, left_out) = wanted.get("since"), listing.rows(self, commit)
        told = {"migrations": sorted(row[2] for row in files if MIGRATION.search(row[2]))[:2000]}
        if wanted.get("told"):
            told.update(listing.describe(self, files, wanted["told"], missing))
        it = next(self._log("-1", commit, "--"))
        told.update(commit=commit, subject=it["subject"], author=it["author"], committed=it["at"], left_out=left_out)
        if since and since != commit and COMMIT.fullmatch(since) and self.commit_of(since):
            told["takes_away"] = self.takes_away(files, since, missing)
            between = list(self._log(f"-{SHOWN_COMMITS}", f"{since}..{commit}", "--"))
            counted = self.git("rev-list", "--count", f"{since}..{commit}", "--").stdout.strip()
            more = int(counted) - len(between) if counted.isdecimal() else 0
            told.update(commits=between, commits_more=more)
        return told

    def takes_away(self, files, since, missing):
        """What the migrations that are new since that commit take away, by path, in words."""
        before = {path for _mode, _id, path in listing.rows(self, since)[0]}
        new = [row for row in files if MIGRATION.search(row[2]) and row[2] not in before][:listing.MOST_TEXTS]
        if missing and new:
            listing.bring(self, sorted({row[1] for row in new}))
        said = {path: migrations.written(text) for path, text in listing.contents(self, new).items()}
        return {path: words for path, words in said.items() if words}

    def _log(self, *arguments):
        form = MARK.join(("%H", "%an", "%cI", "%s"))
        for line in self.git("log", f"--format={form}", *arguments).stdout.splitlines():
            identity, author, at, subject = line.split("\x1f", 3)
            yield {"id": identity, "short": identity[:7], "author": author[:100], "subject": subject[:200], "at": at}


def _last_line(words):
    lines = [line for line in words.strip().splitlines() if line.strip()]
    return lines[-1][:300] if lines else "git gave no reason."


def tell(wanted):
    """What a commit holds that was fetched before."""
    repository = Repository(wanted, wanted["mirror"])
    found = listing.describe(repository, listing.rows(repository, wanted["commit"])[0], wanted["told"])
    return {"commit": wanted["commit"], **found}


def look(wanted):
    """What a fetch would find, without touching the mirror: a passing copy, of the first time without contents."""
    passing = tempfile.mkdtemp(prefix="webops-look-")
    try:
        known = os.path.join(os.path.dirname(wanted.get("mirror") or passing), "known_hosts")
        if wanted.get("mirror") and os.access(known, os.R_OK):
            shutil.copyfile(known, os.path.join(passing, "known_hosts"))
        repository = Repository({**wanted, "known": passing}, passing)
        repository.prepare()
        if wanted["look"] == "resolve":
            return {"commit": repository.resolve(wanted["ref"])}
        mirror, since = wanted.get("mirror", ""), wanted.get("since")
        if since and os.path.isdir(os.path.join(mirror, "objects")):
            repository.borrow(mirror)
            repository.git("update-ref", "refs/webops/since", since)
            return repository.describe(repository.fetch(wanted["ref"]), wanted)
        commit = repository.fetch(wanted["ref"], "--depth=1", "--filter=blob:none")
        return repository.describe(commit, {**wanted, "since": None}, missing=True)
    finally:
        shutil.rmtree(passing, ignore_errors=True)


def fetch(wanted):
    if wanted.get("look") == "told":
        return tell(wanted)
    if wanted.get("look"):
        return look(wanted)
    repository = Repository(wanted, wanted["mirror"])
    repository.prepare()
    commit = repository.fetch(wanted["ref"])
    more = with_what_belongs_to_it(repository, commit)
    return {**set_aside(repository.describe(commit, wanted), wanted.get("aside")), **more}


def with_what_belongs_to_it(repository, commit):
    """Submodules and large files; Stop says in words which are missing."""
    found = submodules.bring(repository, commit)
    large = lfs.bring(repository, commit) + sum(lfs.bring(*one) for one in found)
    return {"submodules": len(found), "large": large}


def set_aside(found, path):
    """Names and texts of a repository are too much for a journal: they go into a file beside the mirror."""
    if path:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        with open(path, "x", encoding="utf-8") as file:
            json.dump({"commit": found["commit"], "listing": found.pop("listing"), "files": found.pop("files")}, file)
    return found


if __name__ == "__main__":
    main(fetch)
