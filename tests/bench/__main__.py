"""python -m tests.bench: measures the ways side by side, round by round, and writes docs/performance.md."""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence

from sandbox.errors import SandboxError
from tests.bench import recording, report
from tests.bench.ground import Ground, ground
from tests.bench.report import Wanted
from tests.bench.ways import Failed, PlainAnsible, Pyinfra, Script, Way, WebOps

FIRST, NOTHING, CODE = "first deploy", "redeploy, nothing new", "redeploy, new code"
NEEDS, BACK = "redeploy, new requirements", "rollback"
#: What the redeploy with new requirements needs more.
MORE = ("markdown==3.10", "pillow==12.0.0")
RECORDING = "what recording costs: apply, nothing to change"
WANTED = (
    Wanted(FIRST, PlainAnsible.name, 0.4),
    Wanted(NOTHING, Script.name, 4, over=True), Wanted(NOTHING, Pyinfra.name, 1),
    Wanted(CODE, Script.name, 4, over=True), Wanted(CODE, Pyinfra.name, 1),
    Wanted(NEEDS, Script.name, 1.5),
    Wanted(BACK, Script.name, 4, over=True), Wanted(BACK, Pyinfra.name, 1),
    Wanted(RECORDING, recording.BARE, 1.05),
)
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
    text = report.tables(measured, WANTED)
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
    """A B C D, A B C D, …: each on a fresh server, first deploy, the redeploys, the way back."""
    ways = [WAYS[name](found) for name in names]
    measured: report.Measured = defaultdict(lambda: defaultdict(list))
    for number in range(rounds):
        for way in ways:
            for step, seconds in one_round(found, way):
                measured[step][way.name].append(seconds)
                print(f"round {number + 1} · {way.name} · {step}: {seconds:.2f} s", flush=True)
    return measured


def one_round(found: Ground, way: Way) -> Iterator[tuple[str, float]]:
    found.require()
    found.fresh()
    yield FIRST, way.first()
    found.check()
    yield NOTHING, way.again()
    found.change()
    yield CODE, way.again()
    found.check()
    found.require(*MORE)
    yield NEEDS, way.again()
    found.check()
    yield BACK, way.back()
    found.check(before=1)


if __name__ == "__main__":
    sys.exit(main())
