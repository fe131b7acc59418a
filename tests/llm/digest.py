"""Whether the tests with a real vLLM have passed for what lies here: they take minutes, so they run where that changed.

    python -m tests.llm.digest            says so; exit status 1: something changed since they passed
    python -m tests.llm.digest --write    they have passed just now: keep the digest in tests/llm/passed
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PASSED = Path(__file__).with_name("passed")
#: What decides how a model is served: the role and what it uses, its pins, its tests.
SOURCES = (
    "roles/vllm_model", "roles/django_app/files/launch", "roles/nginx_vhost", "playbooks/vllm_model.yml",
    "plugins/model", "plugins/packages.py", "plugins/*/*model*.py", "plugins/*/webops_engine*.py",
    "plugins/*/webops_serve.py", "plugins/modules/webops_remove.py", "plugins/module_utils/webops_room.py",
    "plugins/module_utils/webops_slot.py", "plugins/module_utils/webops_release.py",
    "plugins/module_utils/webops_unit.py", "tests/llm",
)


def digest(root: Path = ROOT) -> str:
    found = hashlib.sha256()
    for path in sorted({path for source in SOURCES for path in files(root, source)}):
        found.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes() + b"\0")
    return found.hexdigest()


def files(root: Path, source: str) -> list[Path]:
    tops = list(root.glob(source))
    every = [path for top in tops for path in ([top] if top.is_file() else top.rglob("*"))]
    return [path for path in every if path.is_file() and path.suffix != ".pyc" and path.name != PASSED.name]


def main() -> int:
    now = digest()
    if "--write" in sys.argv:
        PASSED.write_text(f"{now}\n")
        print("Kept in tests/llm/passed: commit it.")
        return 0
    if PASSED.exists() and PASSED.read_text().strip() == now:
        print("Nothing that serves a model has changed since the tests with a real vLLM passed: they do not run again.")
        return 0
    print("What serves a model has changed since the tests with a real vLLM passed: they are run now.")
    return 1


if __name__ == "__main__":
    sys.exit(main())
