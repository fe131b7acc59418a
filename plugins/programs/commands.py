"""Commands of the project in its build, as they were given, with the project's own programs in front."""

import os
import shutil
import subprocess

from report import Stop
from tree import inside

# What the server trusts; a node that is not Debian's brings a list of its own.
TRUSTED = "/etc/ssl/certs/ca-certificates.crt"


def surroundings(release, tree):
    """The programs of the release's Python and of its node packages come before those of the server."""
    places = [os.path.join(release, "venv", "bin"), os.path.join(tree, "node_modules", ".bin"), os.environ["PATH"]]
    return {"NODE_EXTRA_CA_CERTS": TRUSTED, **os.environ, "PATH": ":".join(places),
            "VIRTUAL_ENV": os.path.join(release, "venv"), "CI": "1"}


def run(argv, cwd, environment, tree):
    """One command to its end; raises Stop in words."""
    words = argv[2] if argv[:2] == ["/bin/sh", "-c"] and len(argv) == 3 else " ".join(argv)
    program = shutil.which(argv[0], path=environment["PATH"])
    if program is None and os.path.isfile(os.path.join(cwd, argv[0])):
        program = inside(tree, os.path.join(cwd, argv[0]), argv[0])
    if program is None:
        raise Stop(f"The build command '{argv[0]}' is not on this server.", then_for(argv[0]))
    print("$ " + words, flush=True)
    try:
        done = subprocess.run([program, *argv[1:]], cwd=cwd, env=environment, check=False)
    except OSError as error:
        raise Stop(f"The build command '{argv[0]}' could not be started: {error.strerror}.",
                   "A program of the repository must be executable and begin with #!.") from None
    if done.returncode == 127:
        raise Stop(f"A program of the build command '{words}' is not on this server.", then_for(words.split()[0]))
    if done.returncode:
        raise Stop(f"The build command ended with {done.returncode}: {words}",
                   "Its last lines say why. What served before is still served.")


def then_for(program):
    node = program in ("npm", "npx", "node", "yarn", "pnpm", "corepack")
    package = "nodejs and npm" if node else "its package"
    return f"Add {package} to 'System packages' (or to packages: in webops.yml), then apply."
