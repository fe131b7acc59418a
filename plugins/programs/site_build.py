"""Build a release of a static site: code, optional build step, the published directory."""

import os
import shutil

import caches
import commands
from python_env import Environment
from report import Stop, main
from tree import check_out, inside, publish


def build(wanted):
    release, public = wanted["release"], wanted["public"]
    tree = check_out(wanted["mirror"], wanted["commit"], release)
    environment = commands.surroundings(release, tree)
    requirements = 0
    if wanted.get("build"):
        environment.update(caches.npm(wanted["cache"]))
        if (wanted.get("requirements") or {}).get("file") or wanted.get("extra"):
            requirements = Environment(release, tree, wanted).make(wanted.get("previous"))
        if os.path.exists(os.path.join(tree, "package.json")) and not installs_packages(wanted["build"]):
            install_node_packages(tree, environment)
    for argv in wanted.get("build") or []:
        commands.run(argv, tree, environment, tree)
    source = published(tree, wanted.get("directory") or ".")
    shutil.rmtree(public, ignore_errors=True)
    count = publish(source, public, tree, wanted.get("directory") or ".")
    return {"requirements": requirements, "static": count, "pending": []}


def installs_packages(build):
    """Whether the project's own commands say how its node packages come."""
    return any(word in " ".join(argv) for argv in build
               for word in ("npm ci", "npm install", "npm i ", "yarn install", "pnpm install", "pnpm i "))


def install_node_packages(tree, environment):
    npm = shutil.which("npm")
    if not npm:
        raise Stop("This site has a package.json, and there is no npm on this server.",
                   "Add nodejs and npm to 'System packages', then apply.")
    lock = os.path.exists(os.path.join(tree, "package-lock.json"))
    commands.run([npm, "ci" if lock else "install", "--no-audit", "--no-fund"], tree, environment, tree)


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
