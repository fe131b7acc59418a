"""Repositories that the servers fetch from, with the sample apps of the product in them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from sandbox import guest
from tests.sandbox.roles.conftest import Ready
from tests.sandbox.roles.play import ROOT


class Repository:
    """A copy of examples/<sample> (or of `source`) under git, served over https to one server that trusts it."""

    def __init__(self, ready: Ready, sample: str, place: Path, source: Path | None = None) -> None:
        self.path = place / sample
        ignored = shutil.ignore_patterns(*([] if source else ["__pycache__", "public"]))
        shutil.copytree(source or ROOT / "examples" / sample, self.path, ignore=ignored)
        self.git("init", "-q", "-b", "main")
        self.commit("The first version", {})
        self.address = ready.box.publish(self.path, f"{sample}-{ready.server.name}")
        guest.trust(ready.box.place, ready.server.name, ready.box.root_certificate())

    def git(self, *arguments: str) -> str:
        identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
        return subprocess.run(["git", "-C", str(self.path), *identity, *arguments], check=True, capture_output=True,
                              text=True).stdout.strip()

    def commit(self, subject: str, files: dict[str, str]) -> str:
        """Write files (None of the others change) and commit them; the commit's number."""
        for name, text in files.items():
            path = self.path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.git("add", "-A", "--force")
        self.git("commit", "-q", "--allow-empty", "-m", subject)
        return self.git("rev-parse", "HEAD")

    def edit(self, subject: str, name: str, old: str, new: str) -> str:
        """Replace text in a file and commit."""
        text = (self.path / name).read_text()
        assert old in text
        return self.commit(subject, {name: text.replace(old, new)})

    def undo(self) -> None:
        """Take the last commit back, by a commit."""
        self.git("revert", "--no-edit", "HEAD")
