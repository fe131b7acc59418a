"""The sandbox in the terminal: python3 -m sandbox up web1."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Sequence

from sandbox import cache, doctor, image, layer, server
from sandbox.errors import SandboxError
from sandbox.place import Place, find_place


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    try:
        return int(options.verb(find_place(), options) or 0)
    except SandboxError as error:
        print(error, file=sys.stderr)
    except PermissionError as error:
        print(f"{error.filename} belongs to root: try again with sudo.", file=sys.stderr)
    return 1


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python3 -m sandbox", description=__doc__)
    verbs = made.add_subparsers(required=True)

    def verb(action: object, name: str, words: str, *, server_name: bool = True) -> argparse.ArgumentParser:
        added = verbs.add_parser(name, help=words, description=words)
        added.set_defaults(verb=action)
        if server_name:
            added.add_argument("name", help="name of the server, like web1")
        return added

    booted = verb(up, "up", "boot a server, new or stopped")
    booted.add_argument("--release", choices=image.RELEASES, help="Debian 12 (bookworm, the default) or 13 (trixie)")
    booted.add_argument("--from", dest="layer", metavar="LAYER", help="boot over a saved layer")
    booted.add_argument("--stamp", help="refuse the layer unless it was saved with this stamp")
    verb(reset, "reset", "make a server bare again: same name, address and keys, an empty disk")
    verb(stop, "stop", "shut a server down and keep its disk")
    saved = verb(save, "save", "stop a server and keep its disk as a layer")
    saved.add_argument("layer")
    saved.add_argument("--stamp", default="", help="a hash of what prepared the server")
    ended = verb(down, "down", "delete a server, or everything of this sandbox", server_name=False)
    which = ended.add_mutually_exclusive_group(required=True)
    which.add_argument("name", nargs="?")
    which.add_argument("--all", action="store_true")
    verb(show_list, "list", "show the servers", server_name=False)
    verb(build, "build", "build the base images now", server_name=False)
    checked = verb(examine, "doctor", "say whether this machine can boot servers, and what lies in the cache",
                   server_name=False)
    checked.add_argument("--clear", action="store_true", help="delete old images and layers from the cache")
    return made


def up(place: Place, options: argparse.Namespace) -> None:
    began = time.monotonic()
    if options.layer:
        show(layer.up(place, options.name, options.layer, options.release, options.stamp), began)
    else:
        show(server.up(place, options.name, options.release, say=print), began)


def reset(place: Place, options: argparse.Namespace) -> None:
    began = time.monotonic()
    show(server.reset(place, options.name), began)


def show(one: server.Server, began: float) -> None:
    print(f"{one.name} ({one.release}) answers at {one.address} after {time.monotonic() - began:.1f} s")
    print(shlex.join(one.ssh()))


def stop(place: Place, options: argparse.Namespace) -> None:
    server.stop(place, options.name)
    print(f"{options.name} is stopped; `up {options.name}` boots it again")


def save(place: Place, options: argparse.Namespace) -> None:
    kept = layer.save(place, options.name, options.layer, options.stamp)
    cache.clear(place)
    print(f"Saved {kept.name} ({kept.release}): `up NAME --release {kept.release} --from {kept.name}` boots over it")


def down(place: Place, options: argparse.Namespace) -> None:
    if options.all:
        server.down_all(place)
    else:
        server.down(place, options.name)


def show_list(place: Place, options: argparse.Namespace) -> None:
    for one in server.servers(place):
        print(f"{one.name:16} {one.release:10} {one.address:15} {'running' if one.running else 'stopped'}")


def build(place: Place, options: argparse.Namespace) -> None:
    for release in image.RELEASES:
        print(image.ensure(place, release, print).root)


def examine(place: Place, options: argparse.Namespace) -> int:
    print("\n".join(doctor.report(place)))
    if options.clear:
        for path in cache.clear(place):
            print(f"deleted {path}")
    return 1 if doctor.why_not() else 0


if __name__ == "__main__":
    sys.exit(main())
