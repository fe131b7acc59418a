"""A release's own Python environment, made by uv (or venv and pip where uv is missing)."""

import glob
import hashlib
import os
import re
import shutil
import subprocess
import sys

import caches
import locked
from report import Stop
from tree import inside, link_copy

SERVER_PYTHON = "/usr/bin/python3"
INPUTS = ("requirements*.txt", "requirements/*.txt", "constraints*.txt", "pyproject.toml", "uv.lock", "poetry.lock",
          "Pipfile", "Pipfile.lock")
# uv and pip, of a project or of one of its requirements.
OTHER_PYTHON = re.compile(r"(?i)incompatible with the project's Python requirement|does not satisfy Python|"
                          r"requires a different Python|requires-python")
WITHOUT_UV = "Apply the server itself: it installs uv."
# A requirement by path, or by a moving address, is not fixed by the text of the requirements.
MOVING = re.compile(r"^\s*(?:-e\b|--editable\b|\.{1,2}/|file:|git\+|\.\s*$)|@\s*(?:git\+|file:)", re.MULTILINE)
# The same in the tables of Poetry and Pipenv.
NEAR = re.compile(r"""\bpath\s*=\s*["']|\bgit\s*=\s*["']|"(?:path|git)":\s*\"""")
PATH = "/usr/local/bin:/opt/webops/uv/bin:/usr/bin:/bin"


class Environment:
    """The environment at <release>/venv, for the requirements of a project.

    Where they are is decided before, by plugins/contract: `requirements` is {how, file}, how one of uv, poetry, pipenv,
    pip, project, none.
    """

    def __init__(self, release, tree, wanted):
        self.directory = os.path.join(release, "venv")
        self.python = os.path.join(self.directory, "bin", "python")
        self.release = release
        self.tree = tree
        self.cache = wanted["cache"]
        self.version = wanted.get("python") or ""
        asked = wanted.get("requirements") or {}
        self.how = asked.get("how") or "none"
        self.source = find_requirements(tree, asked.get("file") or "")
        self.extra = list(wanted.get("extra") or [])
        self.extras = list(wanted.get("extras") or [])
        self.uv = shutil.which("uv", path=PATH)

    def make(self, previous):
        """Install; an environment for the very same requirements is copied from the previous build."""
        key = self.key()
        named = os.path.relpath(self.source, self.tree) if self.source else "none named in the project"
        print(f"Requirements: {named}")
        if previous and key and _read(os.path.join(previous, "requirements.key")) == key:
            self.copy(os.path.join(previous, "venv"))
            print("They did not change: the environment of the release before is taken over.")
        else:
            caches.bound(self.cache, "uv", "pip")
            self.create()
            self.install()
        with open(os.path.join(self.release, "requirements.key"), "w") as file:
            file.write(key)
        return self.count()

    def key(self):
        """Equal for equal requirements; empty where their text does not fix them."""
        digest = hashlib.sha256(repr((sys.version, self.version, self.extra, self.extras, self.how, self.source and
                                      os.path.relpath(self.source, self.tree))).encode())
        directories = {self.tree, os.path.dirname(self.source or self.tree + "/x")}
        forms = [os.path.join(glob.escape(directory), form) for directory in sorted(directories) for form in INPUTS]
        paths = {path for form in forms for path in glob.glob(form)} | ({self.source} if self.source else set())
        for path in sorted(paths):
            text = _read(path)
            if MOVING.search(text) or NEAR.search(text):
                return ""
            digest.update(f"{os.path.relpath(path, self.tree)}\0{text}\0".encode())
        return digest.hexdigest()

    def copy(self, before):
        """Hard links, then the few files that name the old place are written anew."""
        link_copy(before, self.directory)
        for name in [*glob.glob(os.path.join(glob.escape(self.directory), "bin", "*")),
                     os.path.join(self.directory, "pyvenv.cfg")]:
            if os.path.islink(name) or not os.path.isfile(name):
                continue
            with open(name, "rb") as file:
                content = file.read()
            if before.encode() in content:
                mode = os.stat(name).st_mode
                os.unlink(name)
                with open(name, "wb") as file:
                    file.write(content.replace(before.encode(), self.directory.encode()))
                os.chmod(name, mode)

    def interpreter(self):
        """The wanted Python: the server's own, another one that is installed, or (with uv) one that it fetches."""
        if not self.version:
            return SERVER_PYTHON
        found = shutil.which("python" + self.version, path=PATH)
        if found:
            return found
        if not self.uv:
            raise Stop(f"Python {self.version} is not on this server.",
                       "Leave the version empty, install that Python, or apply the server so that uv can fetch it.")
        return self.version

    def create(self):
        python = self.interpreter()
        if self.uv:
            self.call([self.uv, "venv", "--quiet", "--no-project", "--python", python, self.directory],
                      f"Python {self.version or '3'} could not be set up")
        else:
            self.call([python, "-m", "venv", self.directory], "A Python environment could not be made")

    def install(self):
        if self.extras and self.how not in ("uv", "project", "poetry"):
            raise Stop(f"Extras are named ({', '.join(self.extras)}), and the requirements are not those of a "
                       "pyproject.toml.", "Leave 'Extras' empty, or name pyproject.toml as 'Requirements file'.")
        if self.how == "uv":
            self.sync()
        named = self.named()
        if not named and not self.extra:
            return
        if self.uv:
            argv = [self.uv, "pip", "install", "--python", self.python, *named, *self.extra]
        elif self.how == "project":
            raise Stop("uv is needed for a project that names its requirements in pyproject.toml.", WITHOUT_UV)
        else:
            argv = [self.python, "-m", "pip", "install", "--disable-pip-version-check", *named, *self.extra]
        cwd = os.path.dirname(self.source) if self.source else self.tree
        self.call(argv, "The requirements could not be installed", cwd=cwd)

    def sync(self):
        if not self.uv:
            raise Stop("uv is needed for a project with a uv.lock.", WITHOUT_UV)
        # Named, the Python of the environment wins over a .python-version; the groups are for developers.
        self.call([self.uv, "sync", "--frozen", "--no-default-groups", "--no-install-project", "--active",
                   "--python", self.python, *self.chosen()],
                  "The requirements could not be installed", cwd=os.path.dirname(self.source))

    def named(self):
        """Arguments that name the requirements; those of Poetry and Pipenv are said in the words of pip."""
        if self.how in ("pip", "project"):
            return ["-r", self.source, *self.chosen()]
        if self.how not in ("poetry", "pipenv"):
            return []
        directory = os.path.dirname(self.source)
        asked = locked.poetry(directory, self.extras) if self.how == "poetry" else locked.pipenv(directory)
        return ["-r", self.note("asked.txt", asked.text()),
                *(["-c", self.note("locked.txt", "\n".join(asked.constraints) + "\n")] if asked.constraints else [])]

    def note(self, name, text):
        path = os.path.join(self.release, name)
        with open(path, "w") as file:
            file.write(text)
        return path

    def chosen(self):
        return [word for extra in self.extras for word in ("--extra", extra)]

    def call(self, argv, sentence, cwd=None):
        environment = {
            **os.environ,
            "VIRTUAL_ENV": self.directory,
            "UV_CACHE_DIR": os.path.join(self.cache, "uv"),
            "UV_LINK_MODE": "hardlink",
            "UV_PYTHON_INSTALL_DIR": os.path.join(self.cache, "python"),
            "UV_PYTHON_DOWNLOADS": "automatic" if self.version else "never",
            "UV_NO_PROGRESS": "1",
            # What the server trusts holds here too: an index may be one of the company's own.
            "UV_SYSTEM_CERTS": "1",
            "PIP_CACHE_DIR": os.path.join(self.cache, "pip"),
            "NO_COLOR": "1",
        }
        done = subprocess.run(argv, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, errors="replace", check=False)
        print(done.stdout, end="", flush=True)
        if done.returncode:
            raise Stop(f"{sentence}: {reason(done.stdout)}", then(done.stdout))

    def count(self):
        form = os.path.join("lib", "python3*", "site-packages", "*.dist-info")
        return len(glob.glob(os.path.join(glob.escape(self.directory), form)))


def find_requirements(tree, named):
    """The path of the file that was named, in the project and nowhere else."""
    path = inside(tree, named) if named else ""
    if path and not os.path.isfile(path):
        raise Stop(f"There is no file '{named}' in the repository.",
                   "Correct 'Requirements file', or leave it empty to have it found.")
    return path


def reason(output):
    """The line of uv or pip that names the cause."""
    lines = [line.strip(" ×╰─▶│├·") for line in output.splitlines() if line.strip()]
    for line in lines:
        if line.lower().startswith(("error:", "no solution found", "because ", "failed to")):
            follow = lines[lines.index(line) + 1] if "no solution" in line.lower() and line != lines[-1] else line
            return follow[:300]
    return (lines or ["no reason given"])[-1][:300]


def then(output):
    if OTHER_PYTHON.search(output):
        return ("They want another Python than this server's: give one that they take as 'Python version', or use a "
                "server with a newer Debian.")
    return "Correct the requirements in the repository, then deploy again."


def _read(path):
    try:
        with open(path, errors="replace") as file:
            return file.read()
    except OSError:
        return ""
