"""The package plugins/contract, loaded by its path as Ansible and the panel do."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

HOME = Path(__file__).resolve().parents[1] / "plugins" / "contract"


def load() -> ModuleType:
    name = "webops_contract"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            name, HOME / "__init__.py", submodule_search_locations=[str(HOME)]
        )
        assert spec and spec.loader
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


contract = load()
MANAGE = 'import django\nos.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")\n'
WSGI = (
    "import os\nfrom django.core.wsgi import get_wsgi_application\n"
    'os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")\napplication = get_wsgi_application()\n'
)
PROJECT = {"manage.py": MANAGE, "config/wsgi.py": WSGI, "config/settings.py": "", "requirements.txt": "django\n"}


def read(files: dict[str, str], *names: str, **more: Any) -> Any:
    """What is read from a repository of these files (and of further ones, by name)."""
    return contract.read(files, [*files, *names], **more)


def said(text: str, file: str = "webops.yml", **more: Any) -> Any:
    """What is read from a Django project with this contract."""
    return read({**PROJECT, file: text}, **more)


def reasons(found: Any) -> list[str]:
    return [str(problem) for problem in found.problems]
