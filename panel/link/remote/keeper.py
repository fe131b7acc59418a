"""Runs as an app's user: starts one program through the app's launcher and leaves nothing of it behind.

Sent as a text to `python3 -c`, so it stands alone. Its one argument is what the launcher gets, as JSON.
"""

# ruff: noqa: PTH123, PTH208, S606  it starts quickly and runs as what it starts
import ctypes
import os
import select
import signal
import sys
import time

LAUNCH = "/usr/local/lib/webops/launch"
_SUBREAPER = 36


def main() -> None:
    # What loses its parent becomes our child: so nothing that was started here can hide from us.
    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
    child = os.fork()
    if child == 0:
        start(sys.argv[1])
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGTTOU, signal.SIGTTIN):
        signal.signal(number, signal.SIG_IGN)  # typed for the program, not for us
    for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGPIPE):
        signal.signal(number, lambda *_: leave(129))
    leave(wait(child))


def start(wanted: str) -> None:
    """The launcher reads the variables as this user; it gets its description in memory, so no file stays."""
    paper = os.memfd_create("webops", 0)
    os.write(paper, wanted.encode())
    try:
        os.execv(LAUNCH, [LAUNCH, f"/proc/self/fd/{paper}"])
    except OSError as wrong:
        print(f"{LAUNCH}: {wrong.strerror}", file=sys.stderr)
        os._exit(126)


def wait(child: int) -> int:
    """How the program ended, as a shell would say it. Ends it when nobody is left who reads what it writes."""
    reader = select.poll()
    reader.register(1, 0)
    pause = 1
    while True:
        ended, status = os.waitpid(-1, os.WNOHANG)
        if ended == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code
        if reader.poll(pause):
            return 129
        pause = min(50, pause + 1)


def leave(code: int) -> None:
    """With everything that was started here, politely and then not."""
    for number, patience in ((signal.SIGTERM, 0.5), (signal.SIGKILL, 1.0)):
        until = time.monotonic() + patience
        while time.monotonic() < until:
            below = descendants()
            if not below:
                os._exit(code)
            for one in below:
                send(one, number)
            time.sleep(0.02)
    os._exit(code)


def send(process: int, number: int) -> None:
    try:
        os.kill(process, number)
        os.kill(process, signal.SIGCONT)
    except OSError:
        return


def descendants() -> "list[int]":
    while True:
        try:
            if not os.waitpid(-1, os.WNOHANG)[0]:
                break
        except ChildProcessError:
            break
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    state, parent = file.read().rpartition(b")")[2].split()[:2]
            except OSError:
                continue
            if state != b"Z":
                parents[int(name)] = int(parent)
    found = {os.getpid()}
    while True:
        more = {one for one, parent in parents.items() if parent in found} - found
        if not more:
            return sorted(found - {os.getpid()}, reverse=True)
        found |= more


if __name__ == "__main__":
    main()
