"""Projects that others published: archives of the package index, made into repositories that a server fetches from."""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import yaml

from sandbox import packages
from sandbox.suite import Sandbox
from tests.sandbox.roles.play import ROOT

GUIDE = ROOT / "docs" / "public-projects.md"


def worked_examples() -> dict[str, dict[str, Any]]:
    """The values of each project in the guide, by its name and version."""
    blocks = re.findall(r"^```yaml\n# ([^,:\n]+)(.*?)^```", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    return {name: yaml.safe_load(text.partition("\n")[2]) for name, text in blocks}


@dataclass(frozen=True)
class Archive:
    """A release of a project. `built`: what its archive holds, and its own repository does not."""

    name: str
    version: str
    sha256: str
    built: str = ""

    @property
    def folder(self) -> str:
        return f"{self.name.replace('-', '_')}-{self.version}"

    def unpack(self, box: Sandbox, place: Path) -> Path:
        """Its files, from the index that this machine uses, through the package cache of the sandbox."""
        index = f"http://{box.gateway()}:{packages.PORT}/simple/{self.name}/"
        page = read(index).decode()
        link = re.search(rf'href="([^"#]*/{re.escape(self.folder)}\.tar\.gz)[#"]', page)
        assert link, f"The index has no {self.folder}.tar.gz."
        content = read(urljoin(index, link[1]))
        assert hashlib.sha256(content).hexdigest() == self.sha256, f"{self.folder}.tar.gz is not the known one."
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            tar.extractall(place, filter="data")
        return place / self.folder


def read(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=120) as answer:
        found: bytes = answer.read()
    return found
