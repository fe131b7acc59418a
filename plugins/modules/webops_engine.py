#!/usr/bin/python
"""vLLM, in a virtual environment per version that all models of a server share."""

from __future__ import annotations

DOCUMENTATION = r"""
module: webops_engine
short_description: Install a version of vLLM, or remove those that no model uses
description:
  - Runs as root. An engine lies in C(/opt/webops/engines/<engine>-<version>-<Python>-<form>), made by uv from wheels
    alone, so that nothing of a package runs while root installs it. Several models share one.
  - What a version is known to get wrong on servers without a GPU is looked for afterwards, as C(nobody), and put right
    only where it is found.
  - With C(state=unused) the engines that no model of this server names are removed, C(keep) left out.
options:
  engine: {description: What it runs on., type: str, choices: [cpu, gpu]}
  version: {description: Version of vLLM., type: str}
  package: {description: Its name on the package index., type: str}
  space: {description: Gigabytes of disk that it needs while it is installed., type: int, default: 0}
  without: {description: Packages that it names and never uses., type: list, elements: str, default: []}
  state: {description: What shall be., type: str, choices: [present, unused], default: present}
  name: {description: "With C(unused): the resource whose record is not asked.", type: str, default: ""}
  keep: {description: "With C(unused): the engine that it uses now.", type: str, default: ""}
  timeout: {description: "Seconds to wait for another installation, or for an engine's end.", type: int, default: 3600}
author: WebOps
"""
RETURN = r"""
directory:
  description: Where the engine lies.
  type: str
  returned: with C(state=present)
mended:
  description: What was put right after the installation.
  type: list
  returned: when it was installed
removed:
  description: Engines that were (or in check mode would be) removed.
  type: list
  returned: with C(state=unused)
"""

import glob
import json
import os
import re
import shutil
import subprocess
import time

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.webops_engines import HOME, PYTHON, directory, unused
from ansible.module_utils.webops_lock import Locked, held
from ansible.module_utils.webops_unit import Refused

# Written last.
MARK = "engine.json"
# PyTorch's builds for processors lie on an index of their own; a server may be configured for one that has them.
ATTEMPTS = {"cpu": [[], ["--torch-backend", "cpu"]], "gpu": [[]]}
# Run by the engine's Python as nobody. Builds of these for CUDA break the first import of transformers.
PROBE = """
import importlib, importlib.metadata, json
found = {"broken": [], "nameless": False, "amx": False}
for name in ("torchvision", "torchaudio", "torchcodec"):
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        continue
    try:
        importlib.import_module(name)
    except Exception:
        found["broken"].append(name)
try:
    importlib.metadata.version("vllm")
except importlib.metadata.PackageNotFoundError:
    found["nameless"] = True
import torch
found["amx"] = hasattr(torch.cpu, "_init_amx") and torch.cpu._is_amx_tile_supported()
print("webops " + json.dumps(found))
"""
# vLLM calls its plugins in each of its processes.
AMX = '''"""Part of WebOps. Asks the kernel for AMX tiles: vLLM's kernels for them take it that somebody did."""


def ask():
    import torch

    torch.cpu._init_amx()
'''


def main():
    module = AnsibleModule(
        argument_spec={
            "engine": {"type": "str", "choices": ["cpu", "gpu"]},
            "version": {"type": "str"},
            "package": {"type": "str"},
            "space": {"type": "int", "default": 0},
            "without": {"type": "list", "elements": "str", "default": []},
            "state": {"type": "str", "choices": ["present", "unused"], "default": "present"},
            "name": {"type": "str", "default": ""},
            "keep": {"type": "str", "default": ""},
            "timeout": {"type": "int", "default": 3600},
        },
        supports_check_mode=True,
    )
    act = present if module.params["state"] == "present" else unused
    try:
        module.exit_json(**act(module.params, module.check_mode))
    except (Refused, Locked) as refused:
        module.fail_json(msg=str(refused), next=getattr(refused, "next", "Wait for that run, then apply again."),
                         journal=getattr(refused, "journal", []))


def present(params, check):
    one = Engine(params)
    if one.is_there():
        return {"changed": False, "directory": one.directory}
    if check:
        return {"changed": True, "directory": one.directory, "webops_summary": f"to install: {one.requirement}"}
    with held("engines", params["timeout"]):
        if one.is_there():
            return {"changed": True, "directory": one.directory, "mended": [],
                    "webops_summary": "another run brought it"}
        began = time.monotonic()
        mended = one.install()
    words = [f"{one.requirement} in {time.monotonic() - began:.0f} s", *mended]
    return {"changed": True, "directory": one.directory, "mended": mended, "webops_summary": " · ".join(words)}


class Engine:
    """One version of vLLM on this server."""

    def __init__(self, params):
        self.engine = params["engine"]
        self.version = params["version"]
        self.requirement = f"{params['package']}=={params['version']}"
        self.space = params["space"]
        self.without = params["without"]
        self.directory = directory(self.engine, self.version)
        self.python = os.path.join(self.directory, "bin", "python")
        self.cache = os.path.join(HOME, ".cache")
        self.uv = shutil.which("uv", path="/usr/local/lib/webops:/usr/local/bin:/usr/bin")

    def is_there(self):
        return os.path.exists(os.path.join(self.directory, MARK))

    def install(self):
        if not self.uv:
            raise Refused("uv, which installs vLLM, is not on this server.", "Apply the server itself: it installs uv.")
        os.makedirs(HOME, mode=0o755, exist_ok=True)
        self.refuse_full_disk()
        try:
            self.fetch()
            self.compile()
            mended = self.mend()
        except BaseException:
            shutil.rmtree(self.directory, ignore_errors=True)
            raise
        finally:
            shutil.rmtree(self.cache, ignore_errors=True)
        with open(os.path.join(self.directory, MARK), "w", encoding="utf-8") as file:
            json.dump({"requirement": self.requirement, "without": self.without}, file)
        return mended

    def refuse_full_disk(self):
        free = shutil.disk_usage(HOME).free
        if free < self.space * 10**9:
            raise Refused(f"vLLM needs {self.space} GB of disk below {HOME}, and {free / 10**9:.1f} GB are free.",
                          "Make room on the server, then apply again. Nothing was changed.")

    def fetch(self):
        """From the index that the server is configured for; where it lacks PyTorch for processors, from PyTorch's."""
        attempts = ATTEMPTS[self.engine]
        for more in attempts:
            # uv asks the Python that it installs for what it is: nothing of a package may be there then.
            shutil.rmtree(self.directory, ignore_errors=True)
            self.call([self.uv, "venv", "--quiet", "--no-project", "--python", PYTHON, self.directory])
            overrides = os.path.join(self.directory, "without.txt")
            with open(overrides, "w", encoding="utf-8") as file:
                file.writelines(f"{name} ; sys_platform == 'never'\n" for name in self.without)
            lines = self.call([self.uv, "pip", "install", "--python", self.python, "--only-binary", ":all:",
                               "--no-compile-bytecode", "--overrides", overrides, *more, self.requirement],
                              may_fail=lambda text, last=more is attempts[-1]: not last and "torch" in text)
            if lines is not None:
                return

    def compile(self):
        """Its user may not write beside the code. The server's Python reads it; the engine's own, which uv would start,
        runs lines of packages (.pth) as it begins. Templates among the files are no Python: that fails, and is well.
        """
        subprocess.run(["nice", PYTHON, "-I", "-S", "-m", "compileall", "-qq", "-j", "0", self.packages()], cwd="/",
                       stdin=subprocess.DEVNULL, capture_output=True, check=False)

    def packages(self):
        return glob.glob(os.path.join(glob.escape(self.directory), "lib", "python3*", "site-packages"))[0]

    def mend(self):
        """What the probe found wrong is put right; words for each."""
        found, done = self.probe(), []
        if found["broken"]:
            self.call([self.uv, "pip", "uninstall", "--python", PYTHON, "--target", self.packages(), *found["broken"]])
            done.append(f"without {', '.join(found['broken'])}, whose builds are for another PyTorch")
        if found["nameless"]:
            # By this addition to its version it knows that it was built for processors.
            self.name("vllm", f"{self.version}+cpu" if self.engine == "cpu" else self.version)
            done.append("under the name vllm, which its program asks for")
        if found["amx"] and self.engine == "cpu":
            self.name("webops-amx", "1", "[vllm.general_plugins]\nwebops_amx = webops_amx:ask\n")
            self.write("webops_amx.py", AMX)
            done.append("with AMX asked for")
        return done

    def probe(self):
        """What the packages say of themselves. They run as nobody, never as root."""
        ended = subprocess.run([self.python, "-c", PROBE], user="nobody", group="nogroup", extra_groups=[], cwd="/",
                               env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "LANG": "C.UTF-8"},
                               stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600, check=False)
        told = next((line for line in ended.stdout.splitlines() if line.startswith("webops ")), None)
        if told is None:
            raise Refused(f"{self.requirement} was installed, and its PyTorch cannot be used on this server.",
                          "The lines below say why. Another version may fit: give it as 'Version of vLLM'.",
                          ended.stderr.strip().splitlines()[-20:])
        return json.loads(told.removeprefix("webops "))

    def name(self, name, version, points=""):
        """Metadata alone: what asks for a distribution of this name finds it."""
        folder = f"{name.replace('-', '_')}-{version}.dist-info"
        self.write(f"{folder}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        self.write(f"{folder}/INSTALLER", "webops\n")
        if points:
            self.write(f"{folder}/entry_points.txt", points)

    def write(self, name, text):
        path = os.path.join(self.packages(), name)
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)

    def call(self, argv, may_fail=lambda _text: False):
        """The lines of uv; None where it failed in a way that was thought of."""
        environment = {**os.environ, "UV_CACHE_DIR": self.cache, "UV_LINK_MODE": "hardlink", "UV_NO_PROGRESS": "1",
                       "UV_PYTHON_DOWNLOADS": "never", "UV_HTTP_TIMEOUT": "120", "NO_COLOR": "1",
                       # What the server trusts holds here too: an index may be one of the company's own.
                       "UV_SYSTEM_CERTS": "1"}
        environment.pop("UV_COMPILE_BYTECODE", None)
        ended = subprocess.run(["nice", *argv], env=environment, cwd="/", stdin=subprocess.DEVNULL, text=True,
                               errors="replace", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        if not ended.returncode:
            return ended.stdout.splitlines()
        if may_fail(ended.stdout):
            return None
        raise Refused(f"{self.requirement} could not be installed: {reason(ended.stdout)}",
                      "Look whether the server reaches its package index (/etc/uv/uv.toml), and whether it has this "
                      "version for its Python.", ended.stdout.strip().splitlines()[-20:])


def reason(output):
    """The line of uv that names the cause."""
    lines = [line.strip(" ×╰─▶│├·") for line in output.splitlines() if line.strip()]
    told = [line for line in lines if re.match(r"(?i)error:|because |failed to|caused by", line)]
    return (told or lines or ["no reason given"])[-1][:300]


if __name__ == "__main__":
    main()
