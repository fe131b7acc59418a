"""What WebOps says to nginx as a whole, and who answers for names that nobody claims. Somebody else's word wins."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
import re
import subprocess

from ansible.module_utils.webops_place import Entry, Seen, like
from ansible.module_utils.webops_replaced import kept_as, nameless, plain, served, text_of

OURS = "/etc/nginx/sites-enabled/webops-default.conf"
SETTINGS = "/etc/nginx/conf.d/webops.conf"
# nginx takes it once.
ONCE = "server_names_hash_bucket_size"
# Stands where the name of a resource stands for what a resource took; no resource has such a name.
SERVER = "_"


def is_changed(path, package):
    """Whether somebody made a site of their own of a file that came with a package; a link to nowhere is none."""
    try:
        with open(path, "rb") as file:
            digest = hashlib.md5(file.read(), usedforsecurity=False).hexdigest()
    except OSError:
        return False
    return digest not in delivered(package)


def delivered(package):
    """Digests of a package's files of configuration, as dpkg wrote them down."""
    try:
        ended = subprocess.run(["dpkg-query", "-W", "-f", "${Conffiles}", package], capture_output=True, text=True,
                               check=False)
    except FileNotFoundError:
        return set()
    return {words[1] for words in map(str.split, ended.stdout.splitlines()) if len(words) > 1}


def off(path):
    """(Entry, Seen) for each change by which nginx does not read it any more; what was there is kept beside it."""
    seen, kept = Seen(path), Seen(kept_as(path, SERVER))
    if seen.kind == "absent":
        return []
    return [(like(seen, kept.path), kept), (Entry({"path": path, "state": "absent"}), seen)]


def on(path, texts):
    """What undoes `off`. It stays off where nginx would refuse it: beside `texts`, or because it leads nowhere."""
    seen, kept = Seen(path), Seen(kept_as(path, SERVER))
    if kept.kind == "absent":
        return []
    text = text_of(kept)
    is_free = seen.kind == "absent" and text and not said_default(text) & set().union(*map(said_default, texts))
    return ([(like(kept, path), seen)] if is_free else []) + [(Entry({"path": kept.path, "state": "absent"}), kept)]


def leaving_out(entries, texts):
    """The entries, with our own settings without the one that nginx takes once, where one of `texts` says it."""
    if any(re.search(rf"(?:^|[{{;}}])\s*{ONCE}\s", plain(text)) for text in texts):
        for entry in entries:
            if entry.path == SETTINGS and entry.state == "file":
                entry.content = re.sub(rf"(?m)^{ONCE} [^;]*;\n", "", entry.content.decode()).encode()
    return entries


def main_texts(root, folders):
    """nginx's main file, and what it includes besides `folders`."""
    texts, paths, done = [], [os.path.join(root, "nginx.conf")], set()
    while paths:
        path = os.path.normpath(paths.pop())
        if path in done or os.path.dirname(path) in folders:
            continue
        done.add(path)
        with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
            texts.append(plain(file.read()))
            for pattern in re.findall(r"\binclude\s+([^;]+);", texts[-1]):
                paths += glob.glob(os.path.join(root, pattern.strip("\"' ")))
    return texts


def stepping_back(entries, texts):
    """The entries, with our own default server on just those sockets where none of `texts`, somebody else's, is one."""
    own = next((one for one in entries if one.path == OURS), None)
    if own is None:
        with contextlib.suppress(OSError), open(OURS, encoding="utf-8") as file:
            own = Entry({"path": OURS, "content": file.read(), "owner": "root", "group": "root", "mode": "0644"})
            entries = [*entries, own]
    if own is not None and own.state == "file":
        own.content = answering(own.content.decode(), set().union(*map(claimed, texts))).encode()
    return entries


def answering(text, others):
    """Our file with `default_server` on each socket that is not among `others`."""
    def line(found):
        rest = found["rest"].replace(" default_server", "")
        return f"{found['listen']}{'' if socket(found['where']) in others else ' default_server'}{rest};"

    return re.sub(r"(?P<listen>^ *listen (?P<where>[^\s;]+))(?P<rest>[^;\n]*);", line, text, flags=re.MULTILINE)


def claimed(text):
    """Sockets on which a file has the default server: it says so, or has a server without a name."""
    if nameless(text) or served(text) & {"_", ""}:
        return {socket(words[0]) for words in listens(text)} or {"80"}
    return said_default(text)


def said_default(text):
    """Sockets of which a file says so; nginx refuses two of them."""
    return {socket(words[0]) for words in listens(text) if {"default_server", "default"} & set(words[1:])}


def listens(text):
    return [one.split() for one in re.findall(r"\blisten\s+([^;]+);", plain(text))]


def socket(where):
    """One way of writing an address with its port: 80 for *:80 and 0.0.0.0:80, [::]:80 for [::]."""
    whole = where if where.isdigit() or re.search(r":\d+$", where) else f"{where}:80"
    return re.sub(r"^(\*|0\.0\.0\.0):", "", whole)
