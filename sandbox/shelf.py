"""Files that were fetched once, kept on disk beside their headers; several sandboxes share one shelf."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path

UNUSED_DAYS = 60


class Shelf:
    """A directory of files by address. A file is put there whole or not at all, by any number of processes."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)

    def place(self, key: str) -> Path:
        return self.directory / hashlib.sha256(key.encode()).hexdigest()

    def find(self, key: str, max_age: float | None = None) -> Path | None:
        path = self.place(key)
        try:
            if max_age is not None and time.time() - path.stat().st_mtime > max_age:
                return None
            os.utime(path, (time.time(), path.stat().st_mtime))
            return path
        except FileNotFoundError:
            return None

    def headers(self, path: Path) -> dict[str, str]:
        return dict(json.loads(path.with_suffix(".json").read_text()))

    def keep(self, key: str, half: Path, headers: dict[str, str]) -> Path:
        """Put a complete file on the shelf; whoever is reading an older one goes on reading that."""
        path = self.place(key)
        record = half.with_name(half.name + ".record")
        record.write_text(json.dumps(headers))
        record.rename(path.with_suffix(".json"))
        half.rename(path)
        return path

    def clear_unused(self) -> None:
        for path in self.directory.iterdir():
            if time.time() - path.stat().st_atime > UNUSED_DAYS * 86400 and path.suffix != ".json":
                path.unlink(missing_ok=True)
                path.with_suffix(".json").unlink(missing_ok=True)
