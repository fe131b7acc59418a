"""`make demo`: the main job from nothing, through the API and as a person would do it. `bin/demo` starts this."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from cli import config, demo_world
from cli.demo_world import World
from cli.exits import Exit, Stop
from cli.panel import Panel, part
from panel.settings import ROOT
from sandbox import SandboxError

FOLDER = ROOT / "var" / "demo"
SUMMARY = ROOT / "var" / "demo.json"
LOGIN = FOLDER / "config.json"
ACCOUNT = FOLDER / "account.json"
ADMIN = "admin"
_BEGAN = time.monotonic()


def say(words: str) -> None:
    """A line of progress with the time since the start."""
    seconds = int(time.monotonic() - _BEGAN)
    click.echo(f"[{seconds // 60}:{seconds % 60:02d}] {words}")


def step(number: int, words: str) -> None:
    click.echo()
    say(f"{number}/5 {words}")


def settle() -> None:
    """WebOps' settings for the demo, for this process and all that it starts; nothing of yours is touched."""
    os.environ["WEBOPS_STATE"] = str(FOLDER / "state")
    os.environ["WEBOPS_CONFIG"] = os.environ.get("WEBOPS_CONFIG") or str(config.path())


@click.group(invoke_without_command=True)
@click.pass_context
def demo(ctx: click.Context) -> None:
    """Panel, a sandbox server and two sites on HTTPS."""
    settle()
    if ctx.invoked_subcommand is None:
        with _words_for_people():
            run()


@demo.command("stop")
def stop() -> None:
    """End and remove all that the demo started."""
    with _words_for_people():
        end()


@contextlib.contextmanager
def _words_for_people() -> Iterator[None]:
    try:
        yield
    except SandboxError as wrong:
        raise Stop(str(wrong)) from None


def run() -> None:
    """All five steps; what is done already is left alone."""
    if why := demo_world.why_not():
        raise Stop(why, Exit.FAILED)
    known = _known()
    step(1, "Requirements")
    demo_world.install_packages(say)
    step(2, "WebOps on embedded defaults: SQLite, an embedded Redis, a worker, the link, the panel")
    world = demo_world.ensure(FOLDER, say)
    panel, account = _panel(world, known)
    step(3, "A server: bare Debian, reached over SSH only")
    changed = _server(panel, world)
    step(4, "Two sites from git, each with a domain and a certificate")
    changed += _sites(panel, world)
    step(5, "Done" if changed or not known else "Done: nothing changed, all of it was there")
    _finish(world, account)


def _known() -> dict[str, Any]:
    """What an earlier run wrote down, be it the account alone; {} where there was none."""
    for path in (SUMMARY, ACCOUNT):
        with contextlib.suppress(OSError, ValueError):
            found: dict[str, Any] = json.loads(path.read_text())
            return found
    return {}


def _panel(world: World, known: dict[str, Any]) -> tuple[Panel, dict[str, str]]:
    """The running panel and the admin's account there."""
    from cli.processes import configured

    os.environ["WEBOPS_GIT_NETWORKS"] = world.subnet  # repositories may come from the sandbox's bridge, only there
    url = configured().base_url
    say(_webops("up", "--detach"))
    account = {"admin": known.get("admin", ADMIN), "password": known.get("password", ""),
               "token": known.get("token", "")}
    if not _is_good(url, account["token"]):
        account = _account(url, account)
    panel = Panel(url, account["token"])
    _save_login(url, account)
    return panel, account | {"panel": url}


def _webops(*words: str) -> str:
    """Run `webops` as a person would; its last line of output. Stop: it failed, with what it said."""
    done = subprocess.run([sys.executable, "-m", "cli", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Stop(f"`webops {' '.join(words)}` failed.", Exit.FAILED, next_step=done.stderr.strip())
    return done.stdout.strip().splitlines()[-1] if done.stdout.strip() else ""


def _is_good(url: str, token: str) -> bool:
    try:
        return bool(token) and bool(Panel(url, token).get("/tokens/current"))
    except Stop as stop:
        if stop.exit_code == Exit.SIGNED_OUT:
            return False
        raise


def _account(url: str, account: dict[str, str]) -> dict[str, str]:
    """Sign in as the admin, who is added (or given a new password) where that is not possible."""
    if not account["password"]:
        try:
            password = _webops("user", "add", ADMIN, "--admin")
        except Stop:
            password = _webops("user", "password", ADMIN)
        account = {"admin": ADMIN, "password": password, "token": ""}
        click.echo(f"       Admin: {ADMIN}   password: {password}   (shown once; also in {SUMMARY.relative_to(ROOT)})")
    made = Panel(url).post("/tokens", {"name": account["admin"], "password": account["password"], "label": "make demo"})
    account = account | {"token": str(made["token"])}
    _write(ACCOUNT, account)
    return account


def _write(path: Path, what: dict[str, Any]) -> None:
    """As JSON, for its owner alone; nothing happens where it is written already."""
    text = json.dumps(what, indent=2) + "\n"
    if path.exists() and path.read_text() == text:
        return
    half = path.with_suffix(".new")
    half.unlink(missing_ok=True)
    half.touch(0o600)
    half.write_text(text)
    half.replace(path)


def _save_login(url: str, account: dict[str, str]) -> None:
    """Sign `webops` in, unless this person uses it for another panel."""
    with contextlib.suppress(Stop):
        if config.load().url != url:
            os.environ["WEBOPS_CONFIG"] = str(LOGIN)
    config.save(config.Login(url, account["admin"], account["token"]))


def _server(panel: Panel, world: World) -> int:
    """The server added, its host key compared and accepted, and made ready; how many steps changed something."""
    one = world.server
    rows = {row["name"]: row for row in panel.get("/servers")["servers"]}
    row = rows.get(one.name) or panel.post("/servers", {"name": one.name, "address": one.address})
    offered = {key["fingerprint"] for key in row["host_key"]["offered"]}
    right = world.fingerprints()
    if not row["host_key"]["accepted"]:
        matching = sorted(offered & right)
        if not matching:
            raise Stop(f"{one.name} shows another host key than it has.", next_step="make demo-stop, then make demo")
        panel.post(f"/servers/{one.name}/host-key", {"fingerprint": matching[0]})
        say(f"Compared and accepted the host key {matching[0]}")
    body: dict[str, Any] = {"action": "main"}
    if not row["ready"]:
        body["login"] = {"user": one.ssh_user, "private_key": one.ssh_key.read_text()}
    return _watch(panel, panel.post(f"/servers/{one.name}/runs", body)["run"])


def _watch(panel: Panel, run: dict[str, Any]) -> int:
    """Follow a run; how many steps changed something. Stop: it did not succeed."""
    from cli.follow import follow

    code = follow(panel, run)
    if code is not Exit.OK:
        raise Stop(f"Run {run['id']} did not succeed.", code, next_step=f"{run['url']} shows all of it")
    ended = panel.get(f"/runs/{run['id']}")
    return sum(one["changed"] for one in ended["servers"])


def _sites(panel: Panel, world: World) -> int:
    changed = 0
    for site in world.sites:
        say(f"{site.name}: {site.kind} from {site.repository} at {site.url}")
        body = {"kind": site.kind, "server": world.server.name, "values": site.values}
        changed += _watch(panel, panel.put(f"/resources/{part(site.name)}", body)["run"])
        world.must_answer(site)
        say(f"{site.url} answers over HTTPS, its certificate checked against {world.ca}")
    return changed


def _finish(world: World, account: dict[str, str]) -> None:
    """Write var/demo.json and say how to go on."""
    summary = {
        "panel": account["panel"], "admin": account["admin"], "password": account["password"],
        "token": account["token"], "ca": str(world.ca),
        "sites": [{"kind": one.kind, "name": one.name, "url": one.url, "address": world.server.address}
                  for one in world.sites],
        "server": {"address": world.server.address, "user": world.server.ssh_user, "key": str(world.server.ssh_key)},
    }
    _write(SUMMARY, summary)
    webops = ".venv/bin/webops"
    if config.path() == LOGIN:
        webops = f"WEBOPS_CONFIG={LOGIN.relative_to(ROOT)} {webops}"
    lines = [("Panel", f"{account['panel']}   sign in as {account['admin']} (password in var/demo.json)")]
    lines += [(one.name, one.url) for one in world.sites]
    lines += [("", f"curl --cacert {world.ca} --resolve {one.domain}:443:{world.server.address} {one.url}")
              for one in world.sites[:1]]
    lines += [("Look", f"{webops} run list, {webops} status guestbook"), ("Stop", "make demo-stop")]
    for name, words in lines:
        click.echo(f"       {name:<10} {words}")


def end() -> None:
    """Everything away: processes, server, bridge, files. Running it twice does no harm."""
    if FOLDER.exists() and (FOLDER / "state").exists():
        say(_webops("down"))
    if FOLDER.exists():
        demo_world.remove(FOLDER)
        say("Removed the sandbox server, its network and the certificate authority")
    mine = _known().get("panel")
    with contextlib.suppress(Stop):
        if mine and config.load().url == mine:
            config.forget()
    shutil.rmtree(FOLDER, ignore_errors=True)
    SUMMARY.unlink(missing_ok=True)
    say("Nothing of the demo is left (images for the next one stay in the sandbox's cache).")


if __name__ == "__main__":
    demo(prog_name="bin/demo")
