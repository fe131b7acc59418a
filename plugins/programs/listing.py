"""What a commit holds, as far as it matters: names of files, and the text of some. Nothing is checked out.

Which files matter is said by expressions that come along (plugins/contract/repository.py). Everything has its bound.
"""

import re
import subprocess

MOST_PATHS = 20_000
MOST_NAMES = 2_000
MOST_TEXTS = 120
LONGEST = 64 * 1024
MOST_BYTES = 1 << 20
PLAIN = ("100644", "100755")


def rows(repository, commit):
    """(mode, object, path) of the files nearest to the top, links and submodules among them; how many are left out."""
    text = repository.git("ls-tree", "-r", "-z", "--full-tree", commit).stdout
    found = sorted((line.partition("\t") for line in text.split("\0") if "\t" in line),
                   key=lambda parts: (parts[2].count("/"), parts[2]))
    kept = [(facts.split()[0], facts.split()[2], path) for facts, _tab, path in found[:MOST_PATHS]]
    return kept, len(found) - len(kept)


def describe(repository, files, wanted, missing=False):
    """`listing`: names that matter; `files`: texts of those to be read. `missing`: contents are still to be fetched."""
    skipped, read, named = (re.compile(wanted[key]) for key in ("skipped", "read", "named"))
    mine = [row for row in files if not skipped.match(row[2]) and "\ufffd" not in row[2]]
    texts = [row for row in mine if row[0] in PLAIN and read.fullmatch(row[2])][:MOST_TEXTS]
    names = [path for _mode, _id, path in mine if read.fullmatch(path) or named.fullmatch(path)][:MOST_NAMES]
    if missing and texts:
        bring(repository, sorted({row[1] for row in texts}))
    return {"listing": names, "files": contents(repository, texts)}


def bring(repository, objects):
    """All at once, as git itself does it; otherwise it would ask for one after the other."""
    repository.git("-c", "fetch.negotiationAlgorithm=noop", "fetch", "--quiet", "--no-tags", "--no-write-fetch-head",
                   "--recurse-submodules=no", "--filter=blob:none", "--", repository.address, *objects)


def contents(repository, texts):
    """One process of git tells them all; what is too large is cut just beyond its bound, so that it is noticed."""
    if not texts:
        return {}
    done = subprocess.run(
        ["git", f"--git-dir={repository.mirror}", "cat-file", "--batch"], env=repository.environment,
        input="".join(f"{row[1]}\n" for row in texts).encode(), capture_output=True, check=False,
    )
    found, place, room = {}, 0, MOST_BYTES
    for _mode, _id, path in texts:
        head = done.stdout[place:place + 200].partition(b"\n")[0]
        place += len(head) + 1
        words = head.split()
        if len(words) != 3 or words[1] != b"blob":
            continue
        size = int(words[2])
        if room > 0:
            found[path] = done.stdout[place:place + min(size, LONGEST + 1)].decode("utf-8", "replace")
            room -= min(size, LONGEST)
        place += size + 1
    return found
