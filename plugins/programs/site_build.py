"""Build a release of a static site: code, optional build step, the published directory."""

import os
import shutil
import subprocess

from python_env import Environment, find_requirements
from report import Stop, main
from tree import check_out, inside, publish


def build(wanted):
    release, public = wanted["release"], wanted["public"]
    tree = check_out(wanted["mirror"], wanted["commit"], release)
    place = os.path.join(release, "venv", "bin")
    paths = [place, os.path.join(tree, "node_modules", ".bin"), os.environ["PATH"]]
    requirements = 0
    if wanted.get("command"):
        if wanted.get("requirements") or find_requirements(tree, ""):
            requirements = Environment(release, tree, wanted).make(wanted.get("previous"))
        if os.path.exists(os.path.join(tree, "package.json")):
            install_node_packages(wanted, tree)
        run(wanted["command"], tree, {"PATH": ":".join(paths)})
    source = published(tree, wanted.get("directory") or ".")
    shutil.rmtree(public, ignore_errors=True)
    count = publish(source, public, tree, wanted.get("directory") or ".")
    return {"requirements": requirements, "static": count, "pending": []}


def install_node_packages(wanted, tree):
    npm = shutil.which("npm")
    if not npm:
        raise Stop("This site has a package.json, and there is no npm on this server.",
                   "Add nodejs and npm to 'System packages', then apply.")
    lock = os.path.exists(os.path.join(tree, "package-lock.json"))
    run([npm, "ci" if lock else "install", "--no-audit", "--no-fund"], tree,
        {"npm_config_cache": os.path.join(wanted["cache"], "npm")})


def run(argv, tree, environment):
    """A command of the project, as it was given: no shell reads it."""
    environment = {**os.environ, **environment, "CI": "1"}
    program = shutil.which(argv[0], path=environment["PATH"])
    if program is None and os.path.isfile(os.path.join(tree, argv[0])):
        program = inside(tree, argv[0])
    if program is None:
        raise Stop(f"The build command '{argv[0]}' is not on this server.",
                   "Add its package to 'System packages', or name a program of the repository.")
    print("$ " + " ".join(argv), flush=True)
    try:
        done = subprocess.run([program, *argv[1:]], cwd=tree, env=environment, check=False)
    except OSError as error:
        raise Stop(f"The build command '{argv[0]}' could not be started: {error.strerror}.",
                   "A program of the repository must be executable and begin with #!.") from None
    if done.returncode:
        raise Stop(f"The build command ended with {done.returncode}: {' '.join(argv)}",
                   "Its last lines say why. The site as it was is still served.")


def published(tree, directory):
    source = inside(tree, directory)
    if not os.path.isdir(source):
        raise Stop(f"There is no directory '{directory}' in the repository after the build.",
                   "Correct 'Published directory', or the build command that should make it.")
    if not any(os.scandir(source)):
        raise Stop(f"The directory '{directory}' is empty after the build.", "Look at what the build command does.")
    return source


if __name__ == "__main__":
    main(build)
