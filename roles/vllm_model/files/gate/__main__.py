#!/usr/bin/python3
# webops: the gate in front of a model: keys, limits, figures.
"""Started by systemd with its two sockets (`gate` and `desk`), as a user of its own: `gate NAME`.

It reads, below /srv/webops/NAME, env/keys.json, env/gate.json and the pointer live/sock, and writes its figures into
$STATE_DIRECTORY.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys

from service import serve


def main() -> None:
    name = sys.argv[1]
    asyncio.run(serve(name, passed_sockets(), home=f"/srv/webops/{name}", run="/run",
                      state=os.environ["STATE_DIRECTORY"]))


def passed_sockets() -> dict[str, socket.socket]:
    """What systemd listens at, by name (sd_listen_fds)."""
    names = os.environ.get("LISTEN_FDNAMES", "").split(":")
    count = int(os.environ.get("LISTEN_FDS", "0"))
    return {name: socket.socket(fileno=3 + number) for number, name in enumerate(names[:count])}


if __name__ == "__main__":
    main()
