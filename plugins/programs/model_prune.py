"""Takes away what earlier models of a hub left: commits that are not kept, and files that only those had."""

import os
import shutil

from report import main


def prune(question):
    """Bytes that were taken away; with `look` those that would be."""
    freed, kept = 0, {os.path.normpath(path) for path in question["keep"]}
    for home in folders(question["models"]):
        if not os.path.basename(home).startswith("models--"):
            continue
        staying = [path for path in folders(os.path.join(home, "snapshots")) if path in kept]
        needed = {os.path.realpath(os.path.join(path, name)) for path in staying for name in os.listdir(path)}
        doomed = [path for path in files(os.path.join(home, "blobs")) if path not in needed]
        freed += sum(os.stat(path).st_blocks * 512 for path in doomed)
        if not question.get("look"):
            remove(home, staying, doomed)
    return {"freed": freed}


def folders(path):
    return [os.path.join(path, name) for name in listed(path) if os.path.isdir(os.path.join(path, name))]


def files(path):
    return [os.path.join(path, name) for name in listed(path) if os.path.isfile(os.path.join(path, name))]


def listed(path):
    return sorted(os.listdir(path)) if os.path.isdir(path) else []


def remove(home, staying, doomed):
    if not staying:
        shutil.rmtree(home)
        return
    for path in folders(os.path.join(home, "snapshots")):
        if path not in staying:
            shutil.rmtree(path)
    for path in doomed:
        os.unlink(path)


if __name__ == "__main__":
    main(prune)
