"""Fetches a model's files from a hub, at one commit, with the engine's own client, and says how far it is.

Run by the engine's Python as the model's own user. The token comes as a variable, from memory. The files lie as the
client's cache has them (blobs by their digests, links to them per commit), but what a broken or killed download left of
a file stays there and is used by the next one, which the client itself does not do.
"""

import concurrent.futures
import contextlib
import hashlib
import importlib
import os
import threading
import time
import urllib.parse

# Before the client is imported: its bars are for terminals.
os.environ.update(HF_HUB_DISABLE_PROGRESS_BARS="1", HF_HUB_DISABLE_TELEMETRY="1",
                  HF_HUB_DISABLE_IMPLICIT_TOKEN="1")  # noqa: S106  a switch

from report import Stop, main

EVERY = 10.0
TRIES = 5
AT_ONCE = 4
#: Larger files are given out in a protocol of their own alone, which the client speaks.
LARGEST = 50 * 1000**3
BLOBS = {}


def download(question):
    """Where the files are, once all are there."""
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    gone = (EntryNotFoundError, GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError)
    home = os.path.join(question["models"], "models--" + question["model"].replace("/", "--"))
    with Watch(os.path.join(home, "blobs"), question):
        for left in range(TRIES - 1, -1, -1):
            try:
                return {"directory": fetch(question, home)}
            except gone as wrong:
                raise Stop(f"The hub does not give {question['model']} any more: {first_line(wrong)}",
                           "Look at the model's page and at the hub token, then run this again.") from None
            except broken() as wrong:
                if getattr(wrong, "errno", None) == 28:
                    raise
                if not left:
                    raise Stop(f"The download broke off: {first_line(wrong)}",
                               "Run it again: what is there already is not fetched again.") from None
                print(f"The connection broke ({type(wrong).__name__}); it goes on from there.", flush=True)
                time.sleep(question.get("pause", 5))
    return {}


def broken():
    """What the client raises when a connection breaks; which library speaks for it changed over its versions."""
    found = [OSError]
    for name in ("httpx2", "httpx"):
        with contextlib.suppress(ImportError):
            found.append(importlib.import_module(name).HTTPError)
    return tuple(found)


def first_line(wrong):
    return (str(wrong).strip().splitlines() or [type(wrong).__name__])[0][:300]


def fetch(question, home):
    """All files, some at a time. Nobody else writes here: a model has one such unit."""
    snapshot = os.path.join(home, "snapshots", question["commit"])
    for place in (snapshot, os.path.join(home, "blobs")):
        os.makedirs(place, exist_ok=True)
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as several:
        for _ in several.map(lambda name: fetch_file(question, home, name), question["files"]):
            pass
    return snapshot


def fetch_file(question, home, name):
    """One file as a link to its blob."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

    link, endpoint = os.path.join(home, "snapshots", question["commit"], name), question["hub"].rstrip("/")
    if os.path.exists(link):
        return
    token = os.environ.get("HF_TOKEN") or False
    url = hf_hub_url(question["model"], name, revision=question["commit"], endpoint=endpoint)
    about = get_hf_file_metadata(url, token=token, endpoint=endpoint)
    if (about.size or 0) > LARGEST:
        hf_hub_download(question["model"], name, revision=question["commit"], cache_dir=question["models"],
                        endpoint=endpoint, token=token)
        return
    blob = os.path.join(home, "blobs", os.path.basename(about.etag))
    # Two files of the same content are one blob.
    with BLOBS.setdefault(blob, threading.Lock()):
        if not os.path.exists(blob):
            fetch_blob(url, about, blob, token)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(link)
    os.symlink(os.path.join("..", "..", "blobs", os.path.basename(blob)), link)


def fetch_blob(url, about, blob, token):
    """The content, from where an earlier download of it ended; whole, or not there."""
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    part = blob + ".incomplete"
    # Large files come from another host, which has no business with the token.
    other = urllib.parse.urlsplit(about.location).netloc != urllib.parse.urlsplit(url).netloc
    headers = build_hf_headers(token=False if other else token)
    with open(part, "ab") as file:
        http_get(about.location, file, resume_size=file.tell(), headers=headers, expected_size=about.size)
    if not is_whole(part, about):
        os.unlink(part)
        raise OSError(f"{os.path.basename(blob)} came damaged")
    os.rename(part, blob)


def is_whole(path, about):
    """A large file is named by its digest; of others the hub tells the size."""
    if about.size is not None and os.stat(path).st_size != about.size:
        return False
    if len(about.etag) != 64:
        return True
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest() == about.etag


class Watch:
    """Says now and then how much is there and how fast it comes."""

    def __init__(self, blobs, question):
        self.blobs, self.total, self.every = blobs, question["bytes"], question.get("every", EVERY)
        self.over, self.thread = threading.Event(), None

    def __enter__(self):
        self.over.clear()
        self.thread = threading.Thread(target=self.tell, daemon=True)
        self.thread.start()

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()

    def tell(self):
        began, first, every = time.monotonic(), self.there(), self.every
        while not self.over.wait(every):
            here, seconds = self.there(), time.monotonic() - began
            print(words(here, self.total, (here - first) / seconds), flush=True)
            # What takes hours need not be told about each moment.
            every = min(every * 1.1, 6 * self.every)

    def there(self):
        """Bytes on the disk: some clients make the whole file first and fill it in."""
        try:
            with os.scandir(self.blobs) as blobs:
                return sum(min(one.stat().st_blocks * 512, one.stat().st_size) for one in blobs)
        except OSError:
            return 0


def words(here, total, speed):
    left = f", about {duration((total - here) / speed)} left" if speed > 0 and here < total else ""
    return f"{gib(here)} of {gib(total)} GiB, {speed / (1 << 20):.0f} MiB/s{left}"


def gib(count):
    return f"{count / (1 << 30):.1f}"


def duration(seconds):
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


if __name__ == "__main__":
    main(download)
