"""How a program tells the waiting module what came of it: one line of JSON among its output."""

import json
import sys


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
        send({"failed": str(stop), "next": stop.next})
        sys.exit(1)
    send(result)


def send(result):
    print("\nwebops-result " + json.dumps(result), flush=True)
