"""Put files, directories and links where they belong: validated first, atomically, and back again on failure."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import shutil
import stat
import subprocess
import tempfile

MARK = "webops"
# Whatever lies here was put there by WebOps; files elsewhere say so on their first lines.
OURS = ("/etc/webops/", "/opt/webops/", "/run/webops/", "/srv/webops/", "/usr/local/lib/webops/", "/var/lib/webops/")


class Refused(Exception):
    """What was asked is not done. `next` says what to do, `journal` holds the last lines of who refused."""

    def __init__(self, message, then="", journal=()):
        super().__init__(message)
        self.next = then
        self.journal = list(journal)


class Entry:
    """One thing that shall be (or not be) at a path."""

    def __init__(self, wish):
        self.path = os.path.normpath(wish["path"])
        self.content = None if wish.get("content") is None else wish["content"].encode()
        self.link = wish.get("link")
        self.state = wish.get("state") or ("link" if self.link else "file")
        self.owner = wish.get("owner") or None
        self.group = wish.get("group") or None
        self.mode = None if wish.get("mode") in (None, "") else int(str(wish["mode"]), 8)
        self.secret = bool(wish.get("secret"))
        self.once = bool(wish.get("once"))
        self.mark = wish.get("mark", True)
        self.validate = wish.get("validate") or []
        self._check_form()

    def _check_form(self):
        if not self.path.startswith("/"):
            raise Refused(f"{self.path} is not an absolute path.")
        if self.state == "file" and self.content is None:
            raise Refused(f"{self.path} has no content.")
        if self.state == "link" and not self.link:
            raise Refused(f"{self.path} does not say what it links to.")

    def ids(self):
        """Numbers of owner and group; None leaves as is, and stands for an account that is still to come."""
        return _number(pwd.getpwnam, self.owner, 2), _number(grp.getgrnam, self.group, 2)

    def accounts_exist(self):
        owner, group = self.ids()
        return not ((self.owner and owner is None) or (self.group and group is None))


def _number(find, name, index):
    if name is None:
        return None
    if str(name).isdigit():
        return int(name)
    try:
        return find(str(name))[index]
    except KeyError:
        return None


class Seen:
    """What lies at a path now, enough to compare with a wish, to show a diff, and to bring back."""

    def __init__(self, path):
        self.path = path
        try:
            self.stat = os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            self.stat = None
            self.kind = "absent"
            return
        mode = self.stat.st_mode
        self.kind = (
            "link" if stat.S_ISLNK(mode)
            else "directory" if stat.S_ISDIR(mode)
            else "file" if stat.S_ISREG(mode)
            else "other"
        )
        self.target = os.readlink(path) if self.kind == "link" else None
        self.content = _read(path) if self.kind == "file" else None

    def differs(self, entry):
        """Whether the wish is not yet fulfilled."""
        if entry.state == "absent":
            return self.kind != "absent"
        if self.kind != entry.state:
            return True
        if entry.once:
            return False
        if entry.state == "link":
            return self.target != entry.link
        if entry.state == "file" and self.content != entry.content:
            return True
        return self._attributes_differ(entry)

    def _attributes_differ(self, entry):
        if not entry.accounts_exist():
            return True
        owner, group = entry.ids()
        return (
            (owner is not None and owner != self.stat.st_uid)
            or (group is not None and group != self.stat.st_gid)
            or (entry.mode is not None and entry.mode != stat.S_IMODE(self.stat.st_mode))
        )

    def is_ours(self):
        """Whether WebOps wrote it: by its place, or by the mark on its first lines."""
        if self.kind != "file" or self.path.startswith(OURS):
            return True
        return MARK in self.content[:400].decode(errors="replace").lower()


def _read(path):
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(handle, "rb") as file:
        return file.read()


def refuse_unsafe_parent(path):
    """Root never writes below a directory that somebody else may change: a planted link would lead it astray."""
    if os.geteuid() != 0:
        return
    parent = os.path.dirname(path)
    while not os.path.lexists(parent):
        parent = os.path.dirname(parent)
    parent = os.path.realpath(parent)
    while True:
        found = os.stat(parent)
        open_to_all = found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX
        if found.st_uid != 0 or open_to_all:
            raise Refused(
                f"Root does not write {path}: {parent} can be changed by others.",
                "Give the directory to root, or let its owner write the file.",
            )
        if parent == "/":
            return
        parent = os.path.dirname(parent)


def put(entry):
    """Fulfil one wish. Files and links are renamed into place, so that nobody ever sees half of one."""
    if entry.state == "absent":
        _remove(entry.path)
    elif entry.state == "directory":
        _make_directory(entry)
    elif entry.state == "link":
        _replace(entry.path, lambda temporary: os.symlink(entry.link, temporary))
    else:
        _replace(entry.path, lambda temporary: _write(temporary, entry))


def _remove(path):
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
        return
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _make_directory(entry):
    if not os.path.lexists(entry.path):
        os.makedirs(os.path.dirname(entry.path), mode=0o755, exist_ok=True)
        os.mkdir(entry.path, 0o700)
        default = 0o755
    else:
        default = None
    handle = os.open(entry.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        _attributes(handle, entry, default)
    finally:
        os.close(handle)


def _replace(path, make):
    directory = os.path.dirname(path)
    os.makedirs(directory, mode=0o755, exist_ok=True)
    temporary = os.path.join(directory, f".{os.path.basename(path)[:200]}.{os.getpid()}.webops")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)
    try:
        make(temporary)
        os.rename(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    sync(directory)


def _write(path, entry):
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(entry.content)
        file.flush()
        _attributes(file.fileno(), entry, 0o644)
        os.fsync(file.fileno())


def _attributes(handle, entry, default_mode):
    if not entry.accounts_exist():
        raise Refused(f"{entry.path} shall belong to {entry.owner}:{entry.group}, and there is no such account.")
    owner, group = entry.ids()
    os.fchown(handle, -1 if owner is None else owner, -1 if group is None else group)
    mode = entry.mode if entry.mode is not None else default_mode
    if mode is not None:
        os.fchmod(handle, mode)


def sync(directory):
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def bring_back(seen):
    """Undo: what was there before is there again."""
    if seen.kind in ("absent", "file", "link"):
        put(like(seen, seen.path))


def like(seen, path):
    """The wish that at `path` shall be what was seen: nothing, a link, or a file with its owner and mode."""
    entry = Entry({
        "path": path,
        "state": seen.kind,
        "content": "" if seen.kind == "file" else None,
        "link": seen.target if seen.kind == "link" else None,
        "mode": f"{stat.S_IMODE(seen.stat.st_mode):o}" if seen.kind == "file" else None,
        "owner": str(seen.stat.st_uid) if seen.kind == "file" else None,
        "group": str(seen.stat.st_gid) if seen.kind == "file" else None,
    })
    if seen.kind == "file":
        entry.content = seen.content
    return entry


def validate(entries):
    """Ask each file's validator about a copy; raises Refused with its words before anything was replaced."""
    with tempfile.TemporaryDirectory(prefix="webops-") as stage:
        for entry in entries:
            if entry.state == "file":
                copy = os.path.join(stage, os.path.basename(entry.path))
                with open(copy, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
                    file.write(entry.content)
        for entry in entries:
            if entry.state == "file" and entry.validate:
                copy = os.path.join(stage, os.path.basename(entry.path))
                ask([part.replace("%s", copy).replace("%d", stage) for part in entry.validate],
                    f"{entry.path} was not replaced: its new content is not valid.")


def ask(argv, sentence):
    """Run a program that judges; raises Refused with its last lines when it says no."""
    try:
        ended = subprocess.run(argv, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    except FileNotFoundError:
        raise Refused(f"{argv[0]} is not installed on this server.",
                      "Apply the server itself first: it installs what WebOps needs.") from None
    if ended.returncode:
        lines = (ended.stdout + ended.stderr).strip().splitlines()[-15:]
        raise Refused(sentence, "Nothing was changed. Correct what the lines below name, then apply again.", lines)
