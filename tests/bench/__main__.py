"""python -m tests.bench: measures the ways side by side, round by round, and writes docs/performance.md."""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Sequence

from sandbox.errors import SandboxError
from tests.bench import recording, report
from tests.bench.ground import Ground, ground
from tests.bench.ways import Failed, PlainAnsible, Pyinfra, Script, Way, WebOps

FIRST, NOTHING, CODE = "first deploy", "redeploy, nothing new", "redeploy, new code"
RECORDING = "what recording costs: apply, nothing to change"
WAYS: dict[str, type[Way]] = {"webops": WebOps, "plain": PlainAnsible, "script": Script, "pyinfra": Pyinfra}


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    try:
        with ground() as found:
            measured = deploys(found, options.ways, options.rounds) if "deploys" in options.parts else {}
            if "recording" in options.parts:
                found.fresh()
                measured[RECORDING] = recording.rounds(found, options.rounds)
    except (SandboxError, Failed) as error:
        print(error, file=sys.stderr)
        return 1
    text = report.tables(measured)
    print(text)
    if options.write:
        report.write(text)
    return 0


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    made.add_argument("--rounds", type=int, default=5)
    made.add_argument("--parts", nargs="+", choices=("deploys", "recording"), default=["deploys", "recording"])
    made.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    made.add_argument("--no-write", dest="write", action="store_false", help="leave docs/performance.md as it is")
    return made


def deploys(found: Ground, names: Sequence[str], rounds: int) -> report.Measured:
    """A B C D, A B C D, …: each on a fresh server, first deploy and both redeploys."""
    ways = [WAYS[name](found) for name in names]
    measured: report.Measured = defaultdict(lambda: defaultdict(list))
    for number in range(rounds):
        for way in ways:
            found.fresh()
            measured[FIRST][way.name].append(way.first())
            found.check()
            measured[NOTHING][way.name].append(way.again())
            found.change()
            measured[CODE][way.name].append(way.again())
            found.check()
            print(f"round {number + 1} · {way.name}: " + " · ".join(
                f"{step} {measured[step][way.name][-1]:.2f} s" for step in (FIRST, NOTHING, CODE)), flush=True)
    return measured


if __name__ == "__main__":
    sys.exit(main())
