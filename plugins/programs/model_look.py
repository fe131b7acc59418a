"""What a server has, and what a model is: read, never changed. The one place that looks; plugins/model judges.

Runs as the model's own user (before there is one: as nobody), because it reads what a hub answers and what lies in
directories of others, and because what this user may not read the engine could not read either.
"""

import contextlib
import json
import os
import platform
import pwd
import re
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request

from report import send

LONGEST = 16 << 20          # of a hub's answer, and of a config.json
FIELDS = "index,uuid,name,memory.total,memory.used,memory.free,driver_version,compute_cap"
FLAGS = ("avx2", "avx512f", "amx_tile")
WAIT = 30


def look(question):
    """Everything that plugins/model asks of a server, for a question of webops_model_preflight."""
    seen = {**gpus(question["user"]), "cpu": cpu(), "memory": memory(question["user"])}
    seen["engine"] = question["engine"] if question["engine"] != "auto" else "gpu" if seen["gpus"] else "cpu"
    engine = seen["engine_directory"] = question["engines"][seen["engine"]]
    seen["disk"] = disk(question["models"])
    seen["engine_disk"] = None if os.path.isdir(engine) else disk(engine)
    seen["architectures"] = architectures(engine)
    seen["sockets"] = [one for one in question["sockets"] if not os.path.exists(one["unit"]) and in_use(one["path"])]
    seen["model"] = directory(question["model"]) if question["model"].startswith("/") else hub(question)
    return seen


def gpus(user):
    """What nvidia-smi says; without one there are none."""
    said, error = nvidia("--query-gpu=" + FIELDS)
    found = [gpu(line) for line in said]
    if not found:
        return {"gpus": [], "gpu_error": error or "nvidia-smi shows no GPU", "processes": []}
    running, _ = nvidia("--query-compute-apps=gpu_uuid,pid,used_memory,process_name")
    return {"gpus": [one for one, _ in found], "driver": found[0][1], "cuda": cuda(),
            "processes": [process(line, user) for line in running]}


def nvidia(*arguments):
    """Lines of its answer, each a list of words, and why there are none."""
    if not shutil.which("nvidia-smi"):
        return [], "nvidia-smi was not found"
    try:
        asked = subprocess.run(["nvidia-smi", *arguments, "--format=csv,noheader,nounits"], capture_output=True,
                               text=True, check=False, timeout=WAIT, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired) as wrong:
        return [], f"nvidia-smi did not answer ({type(wrong).__name__})"
    lines = [line for line in asked.stdout.splitlines() if line.strip()]
    if asked.returncode:
        return [], ((lines or asked.stderr.splitlines() or ["nvidia-smi failed"])[-1]).strip()
    return [[word.strip() for word in line.split(",")] for line in lines], ""


def gpu(words):
    index, uuid, name, total, used, free, driver, capability = (words + [""] * 8)[:8]
    return {"index": number(index), "uuid": uuid, "name": name, "total": number(total) << 20,
            "used": number(used) << 20, "free": number(free) << 20,
            "capability": float(capability) if re.fullmatch(r"\d+\.\d+", capability) else 0.0}, driver


def number(word):
    return int(word) if word.isdigit() else 0


def cuda():
    """The newest CUDA that the driver speaks, which only the table shows."""
    try:
        shown = subprocess.run(["nvidia-smi"], capture_output=True, text=True, check=False, timeout=WAIT,
                               stdin=subprocess.DEVNULL).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
    found = re.search(r"CUDA(?: UMD)? Version\s*:\s*(\d+\.\d+)", shown)
    return found[1] if found else ""


def process(words, user):
    uuid, pid, used, name = (words + [""] * 4)[:4]
    owner = owner_of(pid)
    return {"uuid": uuid, "pid": number(pid), "used": number(used) << 20, "name": os.path.basename(name),
            "user": owner, "own": owner == user}


def owner_of(pid):
    try:
        return pwd.getpwuid(os.stat(f"/proc/{int(pid)}").st_uid).pw_name
    except (OSError, KeyError, ValueError):
        return ""


def cpu():
    flags = ""
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as file:
        flags = next((line for line in file if line.startswith(("flags", "Features"))), "")
    words = set(flags.split())
    return {"machine": platform.machine(), "flags": [one for one in FLAGS if one in words], "count": os.cpu_count()}


def memory(user):
    """Of the machine, in bytes; `own` is what processes of this user hold and no other could have."""
    with open("/proc/meminfo", encoding="utf-8") as file:
        said = dict(line.split(":", 1) for line in file)
    return {"total": kilobytes(said.get("MemTotal")), "available": kilobytes(said.get("MemAvailable")),
            "own": sum(held_by(pid, user) for pid in os.listdir("/proc") if pid.isdigit())}


def kilobytes(text):
    return int(text.split()[0]) << 10 if text else 0


def held_by(pid, user):
    if owner_of(pid) != user:
        return 0
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8") as file:
            said = dict(line.split(":", 1) for line in file if ":" in line)
    except OSError:
        return 0
    return kilobytes(said.get("RssAnon")) + kilobytes(said.get("RssShmem"))


def disk(path):
    """The file system that a path is on, or will be."""
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    space = os.statvfs(path)
    return {"path": path, "free": space.f_bavail * space.f_frsize, "device": str(os.stat(path).st_dev)}


def architectures(engine):
    """What an installed vLLM lists, itself or through transformers. Read as text: importing it takes half a minute."""
    found = set()
    for place, part, name in (
        ("vllm/model_executor/models/registry.py", r"^_(?:TEXT_GENERATION|MULTIMODAL)_MODELS = \{.*?^\}",
         r'^    "(\w+)":'),
        ("transformers/models/auto/modeling_auto.py", r"^MODEL_FOR_CAUSAL_LM_MAPPING_NAMES\b.*?^\)", r', "(\w+)"\)'),
    ):
        for path in files_of(engine, place):
            with contextlib.suppress(OSError), open(path, encoding="utf-8") as file:
                for lines in re.findall(part, file.read(), re.MULTILINE | re.DOTALL):
                    found.update(re.findall(name, lines, re.MULTILINE))
    return sorted(found) or None


def files_of(engine, place):
    libraries = os.path.join(engine, "lib")
    with contextlib.suppress(OSError):
        return [os.path.join(libraries, one, "site-packages", place) for one in os.listdir(libraries)]
    return []


def in_use(path):
    """Whether somebody listens there; the kernel tells it of sockets that are closed to us, too."""
    with contextlib.suppress(OSError), open("/proc/net/unix", encoding="utf-8") as file:
        # Num RefCount Protocol Flags Type St Inode Path: the flag is that it takes connections.
        return any(words[7:] == [path] and int(words[3], 16) & 0x10000 for words in map(str.split, file))
    return False


def directory(path):
    """A model that lies on the server."""
    seen = {"source": "directory", "id": path}
    try:
        with os.scandir(path) as entries:
            # A cache of the hub holds links to its files.
            files = [{"name": one.name, "size": one.stat().st_size} for one in entries if one.is_file()]
        if not any(one["name"] == "config.json" for one in files):
            return {**seen, "problem": {"code": "no_config"}}
        unreadable = [one["name"] for one in files if one["name"].endswith((".json", ".safetensors"))
                      and not os.access(os.path.join(path, one["name"]), os.R_OK)]
        if unreadable:
            return {**seen, "problem": {"code": "not_readable", "detail": unreadable[0]}}
        with open(os.path.join(path, "config.json"), "rb") as file:
            return understood({**seen, "files": files}, file.read(LONGEST))
    except (FileNotFoundError, NotADirectoryError):
        return {**seen, "problem": {"code": "no_directory"}}
    except PermissionError as wrong:
        return {**seen, "problem": {"code": "not_readable", "detail": os.path.basename(wrong.filename or "")}}


def understood(seen, text):
    try:
        config = json.loads(text)
    except ValueError:
        config = None
    return {**seen, "config": config} if isinstance(config, dict) else {**seen, "problem": {"code": "bad_config"}}


def hub(question):
    """A model of a hub, at the commit that its revision means now."""
    base, model = question["hub"].rstrip("/"), question["model"]
    revision = question["revision"] or "main"
    seen = {"source": "hub", "id": model}
    try:
        about = json.loads(fetch(question, f"{base}/api/models/{model}/revision/{quoted(revision)}?blobs=true"))
        commit = str(about["sha"])
        files = [{"name": one["rfilename"], "size": int(one.get("size") or (one.get("lfs") or {}).get("size") or 0)}
                 for one in about.get("siblings") or []]
        if not any(one["name"] == "config.json" for one in files):
            return {**seen, "commit": commit, "problem": {"code": "no_config"}}
        text = fetch(question, f"{base}/{model}/resolve/{commit}/config.json")
    except Unanswered as wrong:
        return as_it_lies(question, seen) or {**seen, "problem": {"code": wrong.code, "detail": str(wrong)}}
    except (ValueError, KeyError, TypeError) as wrong:
        return {**seen, "problem": {"code": "no_answer", "detail": f"it answered something else ({wrong!r})"[:300]}}
    return understood({**seen, "commit": commit, "files": files, "gated": bool(about.get("gated")),
                       **downloaded(question["models"], model, commit, files)}, text)


def as_it_lies(question, seen):
    """A commit that is here needs no hub: where that does not answer, an apply and a look for drift go on."""
    commit = question["revision"]
    place = os.path.join(question["models"], "models--" + question["model"].replace("/", "--"), "snapshots", commit)
    if not re.fullmatch(r"[0-9a-f]{40}", commit) or not os.path.isfile(os.path.join(place, "config.json")):
        return None
    here = directory(place)
    names = sorted(one["name"] for one in here.get("files", []))
    return {**here, **seen, "commit": commit, "snapshot": place, "here": names, "cached": names, "unfinished": 0}


def quoted(revision):
    return urllib.parse.quote(revision, safe="")


class Unanswered(Exception):
    """The hub did not give what was asked for: `code` says why."""

    def __init__(self, code, said=""):
        super().__init__(said)
        self.code = code


class SameHost(urllib.request.HTTPRedirectHandler):
    """The token goes along to the hub itself and to nobody else."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        other = super().redirect_request(req, fp, code, msg, headers, newurl)
        if other is not None and other.host == req.host and other.type == req.type:
            for name, value in req.unredirected_hdrs.items():
                other.add_unredirected_header(name, value)
        return other


def fetch(question, address):
    request = urllib.request.Request(address, headers={"User-Agent": "webops"})  # noqa: S310  https_url, checked
    if question.get("token"):
        request.add_unredirected_header("Authorization", "Bearer " + question["token"])
    try:
        with urllib.request.build_opener(SameHost).open(request, timeout=WAIT) as answer:
            return answer.read(LONGEST)
    except urllib.error.HTTPError as wrong:
        raise refused(question, wrong) from None
    except (OSError, ValueError) as wrong:
        raise Unanswered("no_answer", str(getattr(wrong, "reason", wrong))) from None


def refused(question, wrong):
    """The hub's own codes first (X-Error-Code), as its client reads them; then the status."""
    said, code = wrong.headers.get("X-Error-Message") or wrong.reason or "", wrong.headers.get("X-Error-Code")
    if "Invalid credentials" in said or ("Invalid username or password" in said and question.get("token")):
        return Unanswered("token_refused", said)
    if code == "GatedRepo":
        return Unanswered("not_let_in" if question.get("token") else "gated", said)
    known = {"RevisionNotFound": "no_revision", "RepoNotFound": "no_model", "EntryNotFound": "no_config"}
    if code in known:
        return Unanswered(known[code], said)
    if wrong.code in (401, 403) and question.get("token"):
        return Unanswered("token_refused", said)
    return Unanswered({401: "no_model", 404: "no_model", 429: "busy"}.get(wrong.code, "no_answer"),
                      f"{wrong.code} {said}".strip())


def downloaded(models, model, commit, files):
    """What earlier downloads left: files of this commit, of other commits, and bytes of unfinished ones. Known by name
    and size; the engine's own client compares digests."""
    cache, sizes = os.path.join(models, "models--" + model.replace("/", "--")), {}
    snapshots, unfinished = os.path.join(cache, "snapshots"), 0
    with contextlib.suppress(OSError):
        for one in os.listdir(snapshots):
            sizes[one] = {file["name"] for file in files
                          if size_of(os.path.join(snapshots, one, file["name"])) == file["size"]}
    with contextlib.suppress(OSError), os.scandir(os.path.join(cache, "blobs")) as blobs:
        # Some clients make the whole file first, so what counts is what is on the disk.
        unfinished = sum(one.stat().st_blocks * 512 for one in blobs if one.name.endswith(".incomplete"))
    return {"snapshot": os.path.join(snapshots, commit), "here": sorted(sizes.get(commit, ())),
            "cached": sorted(set().union(*sizes.values())), "unfinished": unfinished}


def size_of(path):
    try:
        return os.stat(path).st_size
    except OSError:
        return -1


def main():
    send(look(QUESTION))  # noqa: F821  set by who starts it: it may hold a token, which is no argument


if __name__ == "__main__":
    main()
