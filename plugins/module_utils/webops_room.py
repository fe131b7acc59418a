"""Whether two engines have room beside each other, as a change of models without an interruption wants it."""

from __future__ import annotations

import shutil
import subprocess

from ansible.module_utils.webops_unit import Refused


def refuse_narrow(release, slots):
    """Refused where the memory does not hold what serves and what shall serve at once."""
    if release.get("gpus"):
        _refuse_full_gpus(release)
        return
    wanted = release.get("needs") or 0
    memory = read_memory()
    # What an engine counts on and has not touched yet is not free either.
    free = min(memory["MemAvailable"], memory["MemTotal"] - slots.needed())
    if wanted > free:
        raise _refusal(f"it needs {gigabytes(wanted)} of memory, and {gigabytes(max(free, 0))} are free")


def _refuse_full_gpus(release):
    wanted = float(release.get("gpu_memory") or 0.9)
    known = read_gpus()
    for number in release["gpus"]:
        if number not in known:
            raise _refusal(f"nvidia-smi does not say how much memory GPU {number} has free")
        free, total = known[number]
        if free < wanted * total:
            raise _refusal(f"it needs {gigabytes(wanted * total)} of GPU {number}, and {gigabytes(free)} are free")


def _refusal(why):
    return Refused(f"There is no room for the new engine beside the old one: {why}.",
                   "Nothing was changed. Make room, or accept an interruption ('Accept an interruption', "
                   "accept_interruption): then the old engine ends first, and clients get 503 until the new one "
                   "answers.")


def read_memory():
    """Bytes by name, of /proc/meminfo."""
    with open("/proc/meminfo", encoding="ascii") as file:
        rows = (line.split() for line in file)
        return {row[0].rstrip(":"): int(row[1]) * 1024 for row in rows}


def read_gpus():
    """Free and total bytes by number, of the GPUs that tell them: parts of one, and those without memory of their own,
    say [N/A].
    """
    program = shutil.which("nvidia-smi", path="/usr/local/bin:/usr/bin:/bin") or "nvidia-smi"
    try:
        asked = subprocess.run([program, "--query-gpu=index,memory.free,memory.total", "--format=csv,noheader,nounits"],
                               capture_output=True, text=True, check=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError) as wrong:
        raise Refused("nvidia-smi does not answer, so nobody knows how much memory the GPUs have free.",
                      "Look at the driver on the server: nvidia-smi") from wrong
    rows = [[cell.strip() for cell in line.split(",")] for line in asked.splitlines()]
    known = [list(map(int, row)) for row in rows if len(row) == 3 and all(cell.isdigit() for cell in row)]
    return {number: (free << 20, total << 20) for number, free, total in known}


def gigabytes(number):
    return f"{number / 10**9:.1f} GB"
