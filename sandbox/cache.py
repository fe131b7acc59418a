"""What the cache holds that nobody needs any more: halves of builds, old images and layers."""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from sandbox import image, layer, server
from sandbox.place import Place, locked

GONE = ".gone"


def unneeded(place: Place) -> list[Path]:
    """Directories in the cache that no new server will boot over and that no living or stopped one stands on."""
    images = {found.root.parent for release in image.RELEASES if (found := image.find(place, release))}
    needed = images | {root.parent for kept in layer.layers(place) for root in kept.roots} | stood_on(place)
    used = mounted()
    old = [path for parent in (place.images(), *place.layers().glob("*")) if parent.is_dir()
           for path in parent.iterdir() if path.is_dir() and not path.is_symlink() and path not in needed]
    return sorted(path for path in old if str(path / "root") not in used and not path.name.endswith((".half", GONE)))


def stood_on(place: Place) -> set[Path]:
    """The images and layers of all servers of all sandboxes of this machine, also of stopped ones."""
    states = [Path(record.read_text()) for record in (place.cache / "states").glob("*")]
    return {root.parent for state in states
            for one in server.servers(replace(place, state=state)) for root in one.layers}


def mounted() -> str:
    """Every mount of every process, as one text: servers mount their layers where only they see it."""
    texts = set()
    for path in Path("/proc").glob("[0-9]*/mountinfo"):
        # A process may end while we look.
        with suppress(OSError):
            texts.add(path.read_text())
    return "\n".join(texts)


def clear(place: Place) -> list[Path]:
    """Delete what is not needed; returns what was deleted."""
    with locked(place.cache / "locks" / "machine"):
        # Renamed at once and deleted without the lock: nobody waits for it, and nobody boots over half of it.
        paths = [path.rename(path.with_name(f"{path.name}{GONE}")) for path in unneeded(place)]
        cut_short = [*place.images().glob(f"*{GONE}"), *place.layers().glob(f"*/*{GONE}")]
    for path in {*paths, *cut_short}:
        shutil.rmtree(path, ignore_errors=True)
    return [path.with_name(path.name.removesuffix(GONE)) for path in paths]
