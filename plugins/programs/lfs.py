"""Large files that a repository keeps beside itself (Git LFS): brought into the mirror, or told to be missing."""

import os
import shutil

from report import Stop

POINTER = r"^version https://git-lfs\.github\.com/spec/v1$"


def bring(repository, commit, label=""):
    """Fetch what the commit keeps in Git LFS; gives the number of files. Stop: it cannot be had."""
    count = kept(repository, commit)
    if not count:
        return 0
    files = "1 file is" if count == 1 else f"{count} files are"
    where = f" of {label}" if label else ""
    if not shutil.which("git-lfs"):
        raise Stop(f"{files} kept in Git LFS{where}, and git-lfs is not installed on this server.",
                   "Add git-lfs to the system packages, and apply.")
    fetched = repository.git("-c", f"remote.origin.url={repository.address}", "-c", "lfs.fetchrecentrefsdays=0",
                             "lfs", "fetch", "origin", commit)
    if fetched.returncode:
        said = [line for line in (fetched.stdout + fetched.stderr).splitlines() if line.strip()]
        why = said[-1][:300] if said else "git-lfs gave no reason"
        raise Stop(f"{files} kept in Git LFS{where}, and could not be fetched: {why}",
                   "Look whether Git LFS of the repository can be read with the same login.")
    forget_old(repository, commit)
    return count


def forget_old(repository, commit, most=1 << 30):
    """Contents of earlier commits are worth keeping for the next deploy, up to so many bytes."""
    objects = os.path.join(repository.mirror, "lfs", "objects")
    found = [os.path.join(top, name) for top, _names, files in os.walk(objects) for name in files]
    if sum(os.path.getsize(path) for path in found) <= most:
        return
    listed = repository.git("lfs", "ls-files", "--long", commit)
    needed = {line.split(" ", 1)[0] for line in listed.stdout.splitlines()}
    for path in found:
        if listed.returncode == 0 and os.path.basename(path) not in needed:
            os.unlink(path)


def kept(repository, commit):
    """How many files of a commit are only pointers to their contents."""
    marked = repository.git("grep", "-l", "-F", "filter=lfs", commit, "--", ".gitattributes", "*/.gitattributes")
    if not marked.stdout:
        return 0
    return len(repository.git("grep", "-l", "-E", "-e", POINTER, commit).stdout.splitlines())
