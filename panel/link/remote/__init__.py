"""What runs on a server while the link is connected, and only then: sent on stdin, kept nowhere.

Standard library only, Python 3.9 and newer, never root. `bundle()` packs the modules of this package;
`BOOT` is the one line of Python that unpacks them on the other side.
"""

from __future__ import annotations

BOOT = """
import json, sys, types
bundle = json.loads(sys.stdin.buffer.readline())
for name, source in bundle["modules"]:
    module = sys.modules[name] = types.ModuleType(name)
    module.__path__ = []
    exec(compile(source, name, "exec"), module.__dict__)
    parent, _, leaf = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], leaf, module)
sys.modules[bundle["run"]].main(**bundle["arguments"])
"""

#: In the order in which they need each other.
_MODULES = ("figures", "records", "names", "mask", "probes", "sources", "streams", "terminal", "releases", "clients",
            "desks", "serve")


def bundle(records: str) -> bytes:
    """The first line for `BOOT`: all modules, and where the records of resources lie on the server."""
    import json
    from pathlib import Path

    here = Path(__file__).parent
    packages = [[name, ""] for name in ("panel", "panel.link", "panel.link.remote")]
    modules = [[f"{__name__}.{name}", (here / f"{name}.py").read_text()] for name in _MODULES]
    message = {"modules": packages + modules, "run": f"{__name__}.serve", "arguments": {
        "directory": records, "keeper": (here / "keeper.py").read_text(),
        "measure": (here / "measure.py").read_text()}}
    return json.dumps(message).encode() + b"\n"
