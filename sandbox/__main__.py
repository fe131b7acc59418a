"""The sandbox in the terminal: python3 -m sandbox up web1."""

from __future__ import annotations

import argparse
import shlex
import sys
import time

from sandbox import host, image, server
from sandbox.errors import SandboxError
from sandbox.place import find_place


def main() -> int:
    parser = argparse.ArgumentParser(prog="python3 -m sandbox", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="boot a server")
    up.add_argument("name")
    up.add_argument("--release", default="bookworm", choices=image.RELEASES)
    for verb, words in (("reset", "make a server bare again"), ("stop", "shut a server down and keep its disk")):
        commands.add_parser(verb, help=words).add_argument("name")
    down = commands.add_parser("down", help="delete a server, or all that this sandbox has")
    down.add_argument("name", nargs="?")
    down.add_argument("--all", action="store_true")
    commands.add_parser("list", help="show the servers")
    options = parser.parse_args()
    try:
        return run(options)
    except SandboxError as error:
        print(error, file=sys.stderr)
        return 1


def run(options: argparse.Namespace) -> int:
    place = find_place()
    began = time.monotonic()
    if options.command == "up":
        show(server.up(place, options.name, options.release, say=print), began)
    elif options.command == "reset":
        show(server.reset(place, options.name), began)
    elif options.command == "stop":
        server.stop(place, options.name)
    elif options.command == "down" and options.all:
        server.down_all(place)
    elif options.command == "down":
        server.down(place, options.name)
    else:
        for one in server.servers(place):
            print(one.name, one.release, one.address, "running" if one.running else "stopped")
    return 0


def show(one: server.Server, began: float) -> None:
    print(f"{one.name} ({one.release}) answers at {one.address} after {time.monotonic() - began:.1f} s")
    print(shlex.join(one.ssh()))


if __name__ == "__main__":
    sys.exit(main())
