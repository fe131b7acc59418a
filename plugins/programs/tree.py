"""The files of a release: checked out of the mirror, copied by hard links, never out of the project."""

import os
import shutil
import subprocess

from report import Stop


def check_out(mirror, commit, release):
    """Write the commit's files to <release>/app; what an interrupted build left there goes first."""
    shutil.rmtree(release, ignore_errors=True)
    tree = os.path.join(release, "app")
    os.makedirs(tree)
    write(mirror, commit, tree, os.path.join(release, ".index"))
    return tree


def write(mirror, commit, tree, index):
    """Write a commit's files, and those of its submodules, all of which the mirror has."""
    done = git(mirror, tree, "read-tree", "-m", "-u", "--end-of-options", commit, index=index)
    if done.returncode:
        raise Stop("The code could not be written: " + (done.stderr.strip().splitlines() or ["no reason given"])[-1],
                   "Look at the free space of the server, then run this again.")
    os.unlink(index)
    listed = git(mirror, tree, "ls-tree", "-r", "-z", "--full-tree", commit).stdout
    for facts, _tab, path in (line.partition("\t") for line in listed.split("\0") if line.startswith("160000")):
        write(mirror, facts.split()[2], os.path.join(tree, path), index)


def git(mirror, tree, *arguments, index=""):
    environment = {**os.environ, "GIT_INDEX_FILE": index, "GIT_CONFIG_GLOBAL": os.devnull, "LC_ALL": "C"}
    return subprocess.run(
        ["git", "-c", "core.hooksPath=/dev/null", *large(mirror), f"--git-dir={mirror}", f"--work-tree={tree}",
         *arguments],
        cwd=tree, env=environment, capture_output=True, text=True, errors="replace", check=False,
    )


def large(mirror):
    """How contents in Git LFS take the place of their pointers; all of them were fetched into the mirror."""
    if not os.path.isdir(os.path.join(mirror, "lfs")):
        return []
    return ["-c", "filter.lfs.process=git-lfs filter-process", "-c", "filter.lfs.smudge=git-lfs smudge -- %f",
            "-c", "filter.lfs.required=true", "-c", "remote.origin.url=https://nowhere.invalid/"]


def inside(tree, path, label=None):
    """The real path of `path` below `tree`; raises Stop where it (or a link on its way) leads outside."""
    real = os.path.realpath(os.path.join(tree, path))
    top = os.path.realpath(tree)
    if real != top and not real.startswith(top + os.sep):
        raise Stop(f"'{label or path}' in the repository points outside the project.",
                   "Choose a directory of the project, or make the link point into it.")
    return real


def link_copy(source, target):
    """A copy of a directory that shares its files' contents: quick, and nearly free on the disk."""
    for directory, names, files in os.walk(source):
        below = os.path.normpath(os.path.join(target, os.path.relpath(directory, source)))
        os.makedirs(below, exist_ok=True)
        for name in [name for name in names if os.path.islink(os.path.join(directory, name))]:
            names.remove(name)
            files.append(name)
        for name in files:
            os.link(os.path.join(directory, name), os.path.join(below, name), follow_symlinks=False)


def publish(source, target, top, label):
    """Copy what visitors may see; a link out of the project is refused, a link inside is followed."""
    count = 0
    for directory, names, files in os.walk(source):
        below = os.path.normpath(os.path.join(target, os.path.relpath(directory, source)))
        os.makedirs(below, exist_ok=True)
        for name in [name for name in names if name == ".git"]:
            names.remove(name)
        for name in files + [name for name in names if os.path.islink(os.path.join(directory, name))]:
            path = os.path.join(directory, name)
            shown = os.path.join(label, os.path.relpath(path, source))
            real = inside(top, path, shown) if os.path.islink(path) else path
            if os.path.isfile(real):
                os.link(real, os.path.join(below, name), follow_symlinks=False)
                os.chmod(real, 0o644)
                count += 1
            elif os.path.isdir(real):
                raise Stop(f"'{shown}' is a link to a directory, which is not published.", "Copy the files instead.")
    return count
