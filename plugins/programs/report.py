"""How a program tells the waiting module what came of it: one line of JSON among its output."""

import errno
import json
import os
import sys

# With less than this free (bytes), whatever failed did so for want of space; few programs say it themselves.
FULL = 1 << 20


class Stop(Exception):
    """The work cannot go on: what happened, and what to do next."""

    def __init__(self, message, then=""):
        super().__init__(message)
        self.next = then


def main(work):
    """Call `work` with the arguments of the command line; report what it returns or why it stopped."""
    try:
        result = work(json.loads(sys.argv[1]))
    except Stop as stop:
        send({"failed": str(stop), "next": stop.next} if not full() else out_of_space(stop))
        sys.exit(1)
    except OSError as error:
        if error.errno != errno.ENOSPC and not full():
            raise
        send(out_of_space(error))
        sys.exit(1)
    send(result)


def full():
    """Whether a disk that the resource writes to is full."""
    places = (".", "releases", "public", "shared")
    spaces = [os.statvfs(place) for place in places if os.path.isdir(place)]
    return any(space.f_bavail * space.f_frsize < FULL for space in spaces)


def out_of_space(error):
    return {"failed": f"The disk of the server is full: {error}",
            "next": "Make room on the server, or keep fewer releases, then run this again."}


def send(result):
    print("\nwebops-result " + json.dumps(result), flush=True)
