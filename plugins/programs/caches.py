"""What builds keep to be quicker the next time has a bound: beyond it, it goes, and is fetched again when needed."""

import os
import shutil

MOST = 1 << 30


def bound(cache, *names, most=MOST):
    """Empty each of the named caches that takes more than `most` bytes beside what releases share by hard links."""
    for name in names:
        directory = os.path.join(cache, name)
        taken = own(directory)
        if taken > most:
            print(f"The cache of {name} had grown to {taken >> 20} MB and is emptied.", flush=True)
            shutil.rmtree(directory, ignore_errors=True)


def npm(cache):
    """The variables with which npm keeps what it fetched, within the bound."""
    bound(cache, "npm")
    return {"npm_config_cache": os.path.join(cache, "npm")}


def own(directory):
    """Bytes on the disk that nothing else uses."""
    total = 0
    for top, _names, files in os.walk(directory):
        for name in files:
            facts = os.lstat(os.path.join(top, name))
            total += facts.st_blocks * 512 if facts.st_nlink == 1 else 0
    return total
