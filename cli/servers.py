"""`webops server …`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from cli import asking, options, tables
from cli.doors import Remote, door
from cli.exits import Exit, Stop
from cli.panel import part


@click.group()
def server() -> None:
    """The machines that WebOps manages."""


def _panel(ctx: click.Context) -> Remote:
    found = door(ctx)
    assert isinstance(found, Remote)
    return found


def _is_local(ctx: click.Context) -> bool:
    return bool(ctx.find_root().meta.get("webops.local"))


_OF_A_LOGIN = ("user", "key_file", "ask_password", "password_file", "ask_sudo_password", "sudo_password_file")


def _login_options(command: Any) -> Any:
    for option in (
        click.option("--user", metavar="USER", help="Who signs in for the first contact (root, or one with sudo)."),
        click.option("--key-file", type=click.Path(exists=True, dir_okay=False), help="Their private key."),
        click.option("--ask-password", is_flag=True, help="Ask for their password."),
        click.option("--password-file", metavar="FILE", help="Read their password from a file ('-': stdin)."),
        click.option("--ask-sudo-password", is_flag=True, help="Ask for their sudo password."),
        click.option("--sudo-password-file", metavar="FILE", help="Read it from a file ('-': stdin)."),
        click.option("--no-wait", is_flag=True, help="Do not wait for the run's end."),
        click.option("--json", "as_json", is_flag=True, help="Print the result as JSON."),
    ):
        command = option(command)
    return command


@server.command("add")
@click.argument("name")
@click.option("--address", required=True, metavar="HOST", help="IP address or host name.")
@click.option("--port", default=22, show_default=True, type=click.IntRange(1, 65535), help="Port of its SSH.")
@click.option("--accept-host-key", metavar="FINGERPRINT", help="Accept the host key with this fingerprint, unasked.")
@click.option("--local", is_flag=True, expose_value=False, help="Add it to inventory/ instead of a panel.")
@_login_options
@click.pass_context
def add(ctx: click.Context, /, name: str, address: str, port: int, accept_host_key: str | None, no_wait: bool,
        as_json: bool, **how: Any) -> None:
    """Add a server, compare its host key, and make it ready where a login (--user) is given.

    --user alone stands for WebOps' own key: its public line is shown, to be put among that user's authorized keys.
    """
    if _is_local(ctx):
        from cli.local import servers

        ctx.exit(int(servers.add(name, address, port, accept_host_key, _login(how))))
    login = _login(how)
    panel = _panel(ctx).panel
    row = panel.post("/servers", {"name": name, "address": address, "port": port})
    accepted = accept(row["host_key"]["offered"], accept_host_key)
    if not accepted:
        raise Stop(f"The host key of {name} was not accepted, so nothing can be done there yet.", Exit.REFUSED,
                   next_step=f"webops server accept {name}")
    row = panel.post(f"/servers/{part(name)}/host-key", {"fingerprint": accepted})
    if login and len(login) == 1 and not _is_let_in(name, login["user"], row["public_key"]):
        raise Stop(f"{name} was added, and is not ready yet.", Exit.REFUSED,
                   next_step=f"webops server ready {name} --user {login['user']}, once the line is there")
    if login:
        ctx.exit(int(_ready(ctx, name, login, {}, no_wait, as_json)))
    if as_json:
        tables.as_json(row)
    else:
        click.echo(f"Added {name}. Next: webops server ready {name} --user root --key-file FILE\n"
                   f"or let this key in there, and then: webops server ready {name} --user root\n"
                   f"  {row['public_key'].strip()}")


def accept(offered: list[dict[str, str]], fingerprint: str | None) -> str:
    """The fingerprint that the person takes for the right one, "" for none. Stop: the given one is not offered."""
    if not offered:
        raise Stop("The server offered no host key.", Exit.REFUSED, next_step="check address and port")
    if fingerprint:
        if fingerprint not in {one["fingerprint"] for one in offered}:
            shown = ", ".join(f"{one['fingerprint']} ({one['type']})" for one in offered)
            raise Stop(f"The server offers another host key than {fingerprint}: {shown}.", Exit.REFUSED,
                       next_step="find out why before you go on; somebody may stand between")
        return fingerprint
    best = offered[0]
    # Only one is shown, since only what was compared is accepted.
    click.echo("The server shows this host key. Compare it with what the server itself says:\n"
               f"  {best['type']}  {best['fingerprint']}\n"
               "There, at its console: for key in /etc/ssh/ssh_host_*_key.pub; do ssh-keygen -lf $key; done")
    return best["fingerprint"] if click.confirm("Is it this server?", default=False) else ""


def _login(how: dict[str, Any]) -> dict[str, str] | None:
    """The login for the first contact, as the API takes it; None where none was given."""
    if not how["user"]:
        if any(how[one] for one in _OF_A_LOGIN):
            raise click.UsageError("A key or a password needs --user, too.")
        return None
    login = {"user": str(how["user"])}
    if how["key_file"]:
        login["private_key"] = Path(how["key_file"]).read_text()
    if how["ask_password"] or how["password_file"]:
        login["password"] = _secret(how["password_file"], f"Password of {how['user']}")
    if how["ask_sudo_password"] or how["sudo_password_file"]:
        login["sudo_password"] = _secret(how["sudo_password_file"], "Sudo password")
    return login


def _is_let_in(name: str, user: str, public_key: str) -> bool:
    """Show WebOps' public key for the server, and wait until the person has put it there."""
    click.echo(f"On {name}, as {user}, let WebOps' key for it in:", err=True)
    click.echo(f"  mkdir -p -m 700 ~/.ssh && echo '{public_key.strip()}' >> ~/.ssh/authorized_keys", err=True)
    return sys.stdin.isatty() and click.confirm("Is it there?", default=True, err=True)


def _secret(file: str | None, words: str) -> str:
    if file is None:
        return asking.hidden(words)
    return asking.from_stdin() if file == "-" else asking.from_file(file)


def _ready(ctx: click.Context, name: str, login: dict[str, str] | None, values: dict[str, Any], no_wait: bool,
           as_json: bool) -> Exit:
    from cli.follow import follow

    panel = _panel(ctx).panel
    body = {"action": "main", **({"login": login} if login else {}), **({"values": values} if values else {})}
    run = panel.post(f"/servers/{part(name)}/runs", body)["run"]
    return follow(panel, run, wait=not no_wait, as_json=as_json)


@server.command("accept")
@click.argument("name")
@click.argument("fingerprint", required=False)
@click.pass_context
def accept_key(ctx: click.Context, name: str, fingerprint: str | None) -> None:
    """Accept the host key that NAME offers: after `add`, or when it has changed."""
    panel = _panel(ctx).panel
    row = panel.get(f"/servers/{part(name)}")
    if not row["host_key"]["offered"]:
        click.echo(f"{name} offers no new host key.")
        return
    accepted = accept(row["host_key"]["offered"], fingerprint)
    if not accepted:
        raise Stop("Not accepted; nothing was changed.", Exit.REFUSED)
    panel.post(f"/servers/{part(name)}/host-key", {"fingerprint": accepted})
    click.echo(f"Accepted the host key of {name}.")


class Ready(click.Command):
    """`webops server ready NAME`: what can be said of the server itself, the kind `server` decides."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        try:
            more = options.options(_settings(ctx))
        except Stop:  # said when it is run; its help is there without a panel
            more = []
        return [*super().get_params(ctx), *more]


def _settings(ctx: click.Context) -> dict[str, Any]:
    """The action that makes a server ready, without the keys: those are WebOps' own."""
    if "webops.server" not in ctx.meta:
        action = door(ctx).kind("server")["actions"]["main"]
        named = [one for one in action["parameters"] if one["name"] != "server_public_keys"]
        ctx.meta["webops.server"] = {**action, "parameters": named}
    return dict(ctx.meta["webops.server"])


@server.command("ready", cls=Ready)
@click.argument("name")
@click.option("--local", is_flag=True, expose_value=False, help="Run the playbook from here, without a panel.")
@_login_options
@click.pass_context
def ready(ctx: click.Context, /, name: str, no_wait: bool, as_json: bool, **how: Any) -> None:
    """Make a server ready (again). Without a login WebOps uses its own account, which the first time made.

    --user alone: that user has WebOps' public key (`webops server show NAME`) among its authorized keys. What is not
    said of the server stays there as it is.
    """
    values = options.given(_settings(ctx), how)
    if _is_local(ctx):
        from cli.local import servers

        ctx.exit(int(servers.ready(name, _login(how), values)))
    ctx.exit(int(_ready(ctx, name, _login(how), values, no_wait, as_json)))


@server.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def list_servers(ctx: click.Context, as_json: bool) -> None:
    """All servers with what was seen of them."""
    rows = _panel(ctx).everything("/servers", "servers")
    if as_json:
        tables.as_json(rows)
        return
    tables.table(("NAME", "ADDRESS", "READY", "STATE", "SEEN", ""),
                 [(one["name"], f"{one['address']}:{one['port']}", "yes" if one["ready"] else "no",
                   tables.state(one["observed"]), tables.ago(one["observed_at"]), one["observed_text"])
                  for one in rows], "No server yet. Next: webops server add NAME --address HOST --user root …")


@server.command("show")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def show(ctx: click.Context, name: str, as_json: bool) -> None:
    """One server: host key, WebOps' own public key, facts."""
    row = _panel(ctx).panel.get(f"/servers/{part(name)}")
    if as_json:
        tables.as_json(row)
        return
    keys = ", ".join(f"{one['fingerprint']} ({one['type']})" for one in row["host_key"]["accepted"])
    tables.facts([("Name", row["name"]), ("Address", f"{row['address']}:{row['port']}"),
                  ("State", tables.state(row["observed"])), ("", row["observed_text"]),
                  ("Ready", row["ready_at"] or "no"), ("Host key", keys or "not accepted"),
                  ("Public key", row["public_key"].strip()),
                  *((f"Fact {key}", value) for key, value in sorted(row["facts"].items())), ("Page", row["url"])])


@server.command("test")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def test(ctx: click.Context, name: str, as_json: bool) -> None:
    """See whether a server can be reached and used, check by check. The exit code is 0 when it can."""
    found = _panel(ctx).panel.post(f"/servers/{part(name)}/test")
    if as_json:
        tables.as_json(found)
    else:
        for one in found["checks"]:
            click.echo(f"{tables.state('ok' if one['ok'] else 'failed')}  {one['name']}: {one['text']}")
        click.echo(found["text"])
    ctx.exit(int(Exit.OK if found["ok"] else Exit.FAILED))


@server.command("remove")
@click.argument("name")
@click.option("--check", is_flag=True, help="Show what would go, and change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask whether you are sure.")
@click.option("--no-wait", is_flag=True, help="Do not wait for the run's end.")
@click.option("--local", is_flag=True, expose_value=False, help="Run the playbook from here, without a panel.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.pass_context
def remove(ctx: click.Context, name: str, check: bool, yes: bool, no_wait: bool, as_json: bool) -> None:
    """Take WebOps off a server: accounts, rights, programs, directories. Debian packages stay, and so does data.

    Refused while a resource is on it. For a server that is gone: `webops server forget`.
    """
    if not (yes or check):
        click.confirm(f"Remove {name}? All that WebOps made there goes, its accounts with it", abort=True)
    if _is_local(ctx):
        from cli.local import servers

        ctx.exit(int(servers.remove(name, check)))
    from cli.follow import follow

    panel = _panel(ctx).panel
    run = panel.post(f"/servers/{part(name)}/runs", {"action": "remove", "mode": "check" if check else "apply"})["run"]
    ctx.exit(int(follow(panel, run, wait=not no_wait, as_json=as_json)))


@server.command("forget")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask whether you are sure.")
@click.option("--local", is_flag=True, expose_value=False, help="Strike it from inventory/.")
@click.pass_context
def forget(ctx: click.Context, name: str, yes: bool) -> None:
    """Forget a server that is gone, here only. On the machine itself nothing changes."""
    if not yes:
        click.confirm(f"Forget {name} here only? What WebOps made there stays there", abort=True)
    if _is_local(ctx):
        from cli.local import servers

        servers.forget(name)
    else:
        _panel(ctx).panel.delete(f"/servers/{part(name)}")
    click.echo(f"Forgot {name}. On the server itself nothing was changed.")
