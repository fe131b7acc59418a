"""A copy of nginx's whole configuration with what is new in it, for nginx to judge before anything is replaced."""

from __future__ import annotations

import contextlib
import os
import re
import shutil

from ansible.module_utils.webops_place import Refused, ask

STAGE = "/etc/nginx/.webops-test"


def test(changes, root, folders):
    """`changes`: (Entry, Seen) below `folders` of `root`. Refused: nginx does not accept them, with its words."""
    shutil.rmtree(STAGE, ignore_errors=True)
    main_copy = STAGE + ".conf"
    try:
        for folder in folders:
            shutil.copytree(os.path.join(root, folder), os.path.join(STAGE, folder),
                            ignore_dangling_symlinks=True, dirs_exist_ok=True)
        for entry, _seen in changes:
            put_copy(entry, os.path.join(STAGE, os.path.relpath(entry.path, root)))
        with open(main_copy, "w", encoding="utf-8") as file:
            file.write(staged_main(root, folders))
        ask(["nginx", "-q", "-t", "-c", main_copy], "nginx does not accept the new configuration.")
    finally:
        shutil.rmtree(STAGE, ignore_errors=True)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(main_copy)


def put_copy(entry, path):
    if entry.state in ("absent", "link"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
    if entry.state == "absent":
        return
    if entry.state == "link":
        # The copy lies elsewhere, from where a relative link would lead to nothing.
        os.symlink(os.path.join(os.path.dirname(entry.path), entry.link), path)
        return
    with open(path, "wb") as file:
        file.write(entry.content)


def staged_main(root, folders):
    with open(os.path.join(root, "nginx.conf"), encoding="utf-8", errors="surrogateescape") as file:
        text = file.read()
    pattern = r"(\binclude\s+)(?:/etc/nginx/)?(conf\.d|sites-enabled)/"
    staged, found = re.subn(pattern, rf"\g<1>{STAGE}/\g<2>/", text)
    if found < len(folders):
        raise Refused("/etc/nginx/nginx.conf does not include conf.d/*.conf and sites-enabled/*.",
                      "Let it include both inside http { }, as Debian's own file does, then apply again.")
    return staged
