"""The one child process of a run, and the only place that runs ansible_runner. `python -m panel.runs.runner`

stdin: a Spec's `told` as JSON. stdout: one JSON line per event (panel.runs.translate.Row), at last {"end": …}.
It is started with a bare environment, holds no database and no Redis, and ends everything that it started.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import ansible_runner

from panel.runs import ahead, tree
from panel.runs.translate import Translator

_GRACE = 5.0


class _Stop:
    """Set by SIGTERM: the play ends now, with everything below it."""

    def __init__(self) -> None:
        self.asked = False

    def __call__(self, *_signal: object) -> None:
        if not self.asked:
            self.asked = True
            threading.Thread(target=tree.end, args=(tree.descendants, _GRACE), daemon=True).start()


def unsafe(value: Any) -> Any:
    """The value with every text in it marked as text: Ansible never takes it for a template."""
    if isinstance(value, str):
        return {"__ansible_unsafe": value}
    if isinstance(value, dict):
        if any(str(key).startswith("__ansible") for key in value):
            raise ValueError("A name may not begin with __ansible.")
        return {str(key): unsafe(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [unsafe(one) for one in value]
    return value


def main() -> None:
    out = os.dup(1)
    os.dup2(2, 1)  # whatever prints, prints to where it cannot be taken for an event
    for name in ("env", "tmp", "control", "ansible", "inventory"):
        (Path(os.environ["HOME"]) / name).mkdir(mode=0o700)
    ahead.read(ahead.by_runner())
    told = json.load(sys.stdin)
    stop = _Stop()
    signal.signal(signal.SIGTERM, stop)
    tree.adopt_orphans()
    tree.die_with_parent(told["parent"])
    _prepare(told)
    if not stop.asked:
        status, code = _play(told, out, stop)
    tree.end(tree.descendants, _GRACE)
    _say(out, {"end": {"status": "canceled" if stop.asked else status, "code": 254 if stop.asked else code}})
    sys.stderr.flush()
    os._exit(0)  # the directory goes with the run; to take apart what was imported would only take time


def _prepare(told: dict[str, Any]) -> None:
    directory = Path(told["directory"])
    # Inventory names are ours (ids and checked names); every value is marked.
    _write(directory / "inventory" / "hosts.json", json.dumps(_inventory(told["inventory"])))
    _write(directory / "env" / "extravars", json.dumps({key: unsafe(one) for key, one in told["variables"].items()}))
    for name, text in told["files"].items():
        _write(directory / name, text)


def _inventory(groups: dict[str, Any]) -> dict[str, Any]:
    children = {name: {"hosts": {host: {key: unsafe(one) for key, one in values.items()}
                                 for host, values in group["hosts"].items()}}
                for name, group in groups["all"]["children"].items()}
    return {"all": {"children": children}}


def _write(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)


def _play(told: dict[str, Any], out: int, stop: _Stop) -> tuple[str, int]:
    groups = told["inventory"]["all"]["children"].values()
    translator = Translator(several=sum(len(one["hosts"]) for one in groups) > 1)

    def handle(event: dict[str, Any]) -> bool:
        # Once per event of Ansible. What is raised here would end the run, or be swallowed with the event.
        for row in translator.rows(event):
            _say(out, row)
        return False  # no file per event

    ansible_runner.runner.pexpect.spawn = ahead.Spawn
    done = ansible_runner.run(
        private_data_dir=told["directory"], project_dir=told["project"], ident="run",
        inventory=f"{told['directory']}/inventory/hosts.json", playbook=told["playbook"],
        cmdline="--diff --check" if told["check"] else "--diff", event_handler=handle,
        cancel_callback=lambda: stop.asked, fact_cache_type="memory", quiet=True,
        settings={"suppress_output_file": True, "pexpect_timeout": 1})
    return done.status, done.rc


def _say(out: int, what: dict[str, Any]) -> None:
    line = json.dumps(what, default=str).encode() + b"\n"
    try:
        while line:
            line = line[os.write(out, line):]
    except OSError:
        # Whoever listened is gone, and with it the run.
        os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
